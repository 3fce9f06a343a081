"""Nothing that a session does shows a token, password, secret id or JWT, at any log level."""

from __future__ import annotations

import base64
import copy
import gc
import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import ClosedError, KeyhingeError, Secret
from keyhinge_vault._errors import ServiceError, operation_error

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, Seen, TokenReviewStub

    from keyhinge_vault._session import Session

Open = Callable[..., "Session"]
PLAINTEXT = {"plaintext": base64.b64encode(b"secret").decode()}


class Everything(logging.Handler):
    """Keeps all that is logged, with arguments, extras and tracebacks."""

    def __init__(self) -> None:
        super().__init__(0)
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.text += [record.getMessage(), repr(record.__dict__)]
        if record.exc_info:
            self.text += traceback.format_exception(*record.exc_info)


@pytest.fixture
def logged() -> Iterator[Everything]:
    """All that any library logs, and what they print beside their loggers."""
    handler = Everything()
    root = logging.getLogger()
    names = ["keyhinge", "keyhinge.vault", "hvac", "requests", "urllib3", "urllib3.connectionpool"]
    before = {name: logging.getLogger(name).level for name in names}
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    for name in names:
        logging.getLogger(name).setLevel(1)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
    for name, old in before.items():
        logging.getLogger(name).setLevel(old)


class Watch:
    """Knows every token that the server gave out through a relay, and all other secrets."""

    def __init__(self, relay: Relay) -> None:
        self.secrets: set[str] = set()
        relay.alter = self._note

    def know(self, keys: dict[str, Any]) -> dict[str, Any]:
        """Know the secrets of a configuration."""
        secret = ("token", "password", "secretID")
        self.secrets |= {keys[name] for name in secret if name in keys}
        files = (keys[name] for name in keys if name in {"tokenFile", "secretIDFile"})
        self.secrets |= {Path(path).read_text() for path in files}
        return keys

    def _note(self, seen: Seen, reply: Any) -> Any:
        if seen.headers.get("x-vault-token"):
            self.secrets.add(seen.headers["x-vault-token"])
        answer = json.loads(reply[2]) if reply[2] else {}
        auth = answer.get("auth") or {}
        data = answer.get("data") or {}
        found = (auth.get("client_token"), auth.get("accessor"), data.get("accessor"))
        self.secrets |= {secret for secret in found if secret}
        return reply

    def assert_not_in(self, text: str) -> None:
        """Look for all of them, as they are and in other spellings."""
        for secret in self.secrets:
            raw = secret.encode()
            encoded = base64.b64encode(raw).decode().rstrip("=")
            for form in (secret, repr(secret)[1:-1], encoded, raw.hex()):
                # Not the text itself in the message: a failed test must not show it either.
                assert (form in text) is False, "a secret shows"


@pytest.fixture
def relay(bao: Bao, relay_to: Callable[[str], Relay]) -> Relay:
    """The shared server through a proxy that knows what went by."""
    return relay_to(bao.url)


@pytest.fixture
def watch(relay: Relay) -> Watch:
    """What must not show."""
    return Watch(relay)


def encrypt(session: Session, key: str) -> KeyhingeError | None:
    """Encrypt something; give the public error that a provider would raise."""
    failure: ServiceError | None = None
    closed: KeyhingeError | None = None
    try:
        session.request("POST", f"transit/encrypt/{key}", json=PLAINTEXT)
    except ServiceError as error:
        failure = error
    except ClosedError as error:
        closed = error
    if failure is None:
        return closed
    # What it shows itself, too, though it never leaves the provider.
    assert failure.__cause__ is None
    assert failure.__context__ is None
    return raised(failure)


def _always(reply: Any, seen: Seen) -> Any:
    return reply


def raised(failure: ServiceError) -> KeyhingeError:
    """Raise the public error as a provider does."""
    try:
        raise operation_error(failure, request="update on transit/encrypt/app")
    except KeyhingeError as error:
        return error


def shown(error: BaseException) -> str:
    """All that an error shows and refers to."""
    parts = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    parts.append(repr(pickle.dumps(error)))
    parts += [str(thing) for thing in referred(error) if isinstance(thing, (str, bytes))]
    return "\n".join(parts)


def referred(error: BaseException) -> Iterator[object]:
    """Walk over what an error refers to, our own frames' variables included."""
    queue: list[object] = [error]
    step = error.__traceback__
    while step is not None:
        queue.append(step.tb_frame)
        step = step.tb_next
    seen: set[int] = set()
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, (type, ModuleType, logging.Logger, Secret)):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, FrameType):
            name = thing.f_code.co_filename
            if "keyhinge" in name and "/tests/" not in name:
                queue += thing.f_locals.values()
        elif not callable(thing):
            queue += gc.get_referents(thing)


@pytest.mark.parametrize("method", ["token", "userpass", "approle", "jwt", "kubernetes"])
def test_life_of_a_session(
    bao: Bao,
    relay: Relay,
    kubernetes: TokenReviewStub,
    watch: Watch,
    logged: Everything,
    open_session: Open,
    tmp_path: Path,
    method: str,
    capfd: pytest.CaptureFixture[str],
):
    """Login, use, denial, renewal, revocation, outage, refusal, close: nothing shows."""
    key, other = bao.key(), bao.key()
    policies = [bao.transit_policy(key)]
    options: dict[str, Any] = {"token_ttl": "3s"}
    keys: dict[str, Any] = {
        "token": lambda: {"token": bao.token(policies, ttl="3s")},
        "userpass": lambda: bao.userpass(policies, **options),
        "approle": lambda: bao.approle(policies, **options),
        "jwt": lambda: bao.jwt(policies, **options)[0],
        "kubernetes": lambda: bao.kubernetes(kubernetes, tmp_path / "jwt", policies, **options),
    }[method]()
    session = open_session(relay.url, {**watch.know(keys), "retryFor": 0.0})
    errors: list[KeyhingeError | None] = [encrypt(session, key), encrypt(session, other)]
    end = time.monotonic() + 10
    while not relay.count("auth/token/renew-self"):
        assert time.monotonic() < end
        time.sleep(0.05)
    lease = session._tokens.lease
    assert lease is not None
    assert lease.token is not None
    texts = [repr(session.look()), repr(session), repr(lease), str(lease.__class__)]
    texts += [repr(session.credentials), repr(session.connection), repr(session._tokens._renewal)]
    bao.revoke(lease.token)
    errors.append(encrypt(session, key))
    replies: list[Any] = [(503, {}, b"{}"), (200, {}, b"rubbish"), "drop"]
    replies.append((400, {}, b'{"errors": ["x"]}'))
    for reply in replies:
        relay.intercept = partial(_always, reply)
        errors.append(encrypt(session, key))
    relay.intercept = lambda seen: None
    session.close()
    errors.append(encrypt(session, key))

    assert len(watch.secrets) >= 2, "the test would find nothing"
    assert sum(error is not None for error in errors) >= 6
    texts += [shown(error) for error in errors if error is not None]
    texts += logged.text
    texts += capfd.readouterr()
    watch.assert_not_in("\n".join(texts))


@pytest.mark.parametrize("method", ["userpass", "approle", "jwt"])
def test_refused_logins(
    bao: Bao, relay: Relay, watch: Watch, logged: Everything, open_session: Open, method: str
):
    """Neither do wrong credentials, which are often nearly right ones."""
    keys = {
        "userpass": lambda: {**bao.userpass(), "password": "nearly-the-right-password"},
        "approle": lambda: {**bao.approle(), "secretID": "nearly-the-right-secret-id"},
        "jwt": lambda: {**bao.jwt()[0], "token": "eyJhbGciOiJSUzI1NiJ9.nearly.right"},
    }[method]()
    session = open_session(relay.url, watch.know(keys))
    error = encrypt(session, "app")
    assert error is not None
    watch.assert_not_in("\n".join([shown(error), *logged.text]))


def test_unreachable(bao: Bao, watch: Watch, logged: Everything, open_session: Open):
    """Nor does a connection that fails: the client library's errors hold the whole request."""
    keys = watch.know(bao.userpass())
    session = open_session("http://127.0.0.1:9", {**keys, "retryFor": 0.0})
    error = encrypt(session, "app")
    assert error is not None
    watch.assert_not_in("\n".join([shown(error), *logged.text]))


def test_internal_errors(bao: Bao, relay: Relay, watch: Watch, open_session: Open):
    """What a session raises inside of the provider shows and pickles nothing either."""
    session = open_session(relay.url, watch.know(bao.approle()))
    with pytest.raises(ServiceError) as caught:
        session.request("POST", "transit/encrypt/app", json=PLAINTEXT)
    error = caught.value
    watch.assert_not_in("\n".join([str(error), repr(error), repr(vars(error))]))
    watch.assert_not_in("".join(traceback.format_exception(error)))


def test_no_copies(bao: Bao, open_session: Open):
    """What holds a token is neither pickled nor copied."""
    session = open_session(bao.url, {"token": bao.token()})
    session.look()
    for thing in (session, session._tokens.lease, session.connection, session.connection.server):
        for work in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                work(thing)
