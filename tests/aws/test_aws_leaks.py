"""With everything logged and everything going wrong, no secret shows anywhere."""

from __future__ import annotations

import base64
import gc
import io
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest

from keyhinge import Decrypt, Encrypt, EncryptedValue, KeyhingeError, KeyManager, Secret
from keyhinge_aws import AwsProvider
from keyhinge_aws._quiet import _LIBRARIES, quiet

Configure = Callable[..., AwsProvider]
ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLAINTEXT = b"pl41nt3xt-marker"
SECRETS = {"accessKey": "AKIAM4RK3R", "secretKey": "s3cr3t-marker", "sessionToken": "t0k3n-marker"}
MARKS = (
    PLAINTEXT,
    base64.b64encode(PLAINTEXT),
    b"c1ph3rt3xt-marker",
    base64.b64encode(b"c1ph3rt3xt-marker"),
    *(text.encode() for text in SECRETS.values()),
)


def marks_in(text: str) -> list[bytes]:
    return [mark for mark in MARKS if mark.decode() in text]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, at the lowest level, with tracebacks."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    before = root.level
    names = ("", *_LIBRARIES, "botocore.endpoint", "urllib3.connectionpool", "keyhinge")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(1)
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)
    root.setLevel(before)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def reachable(error: BaseException) -> Iterator[object]:
    """Give everything that an error refers to, through its traceback's frames as far as ours go."""
    seen: set[int] = set()
    queue: list[object] = [error]
    skipped = (type, ModuleType, logging.Logger)
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, skipped):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, FrameType):
            if "keyhinge" in thing.f_code.co_filename and "/tests/" not in thing.f_code.co_filename:
                queue += thing.f_locals.values()
            continue
        if isinstance(thing, (EncryptedValue, Encrypt, Decrypt, AwsProvider, Secret)):
            continue  # what the caller gave, and what it holds itself
        if isinstance(thing, KeyManager) or callable(thing):
            continue
        queue += gc.get_referents(thing)
        if thing is error and error.__traceback__ is not None:
            step = error.__traceback__
            while step is not None:
                queue.append(step.tb_frame)
                step = step.tb_next  # type: ignore[assignment]


FAILURES: dict[str, tuple[int, Any]] = {
    "denied": (400, {"__type": "AccessDeniedException", "message": "pl41nt3xt-marker"}),
    "expired": (400, {"__type": "ExpiredTokenException", "message": "t0k3n-marker"}),
    "tampered": (400, {"__type": "InvalidCiphertextException"}),
    "disabled": (400, {"__type": "DisabledException"}),
    "throttled": (400, {"__type": "ThrottlingException"}),
    "internal": (500, {"__type": "KMSInternalException"}),
    "unknown": (400, {"__type": "s3cr3t-marker", "message": "s3cr3t-marker"}),
    "html": (502, b"<html>pl41nt3xt-marker</html>"),
    "garbled": (200, b'{"Plaintext": "cGw0MW50M3h0LW1hcmtlcg==", "KeyI'),
    "another key": (200, {"KeyId": "x", "Plaintext": base64.b64encode(PLAINTEXT).decode()}),
}


@pytest.mark.parametrize("failure", [*FAILURES, "down"])
def test_errors(
    configure: Configure,
    stub: Any,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
) -> None:
    """Messages, reprs, pickles, tracebacks, frames, attributes."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    stub.answer = lambda *_: FAILURES.get(failure, (200, {}))
    url = "http://127.0.0.1:1" if failure == "down" else stub.url
    provider = configure(endpoint=url, keyID=ARN, **SECRETS)
    value = EncryptedValue("aws", ARN, "", b"c1ph3rt3xt-marker")
    errors: list[BaseException] = []
    for call in (
        lambda: provider.keyhinge_encrypt(PLAINTEXT, {"a": "b"}),
        lambda: provider.keyhinge_decrypt(value, {"a": "b"}),
        provider.keyhinge_current_key,
    ):
        with pytest.raises(KeyhingeError) as raised:
            call()
        errors.append(raised.value)
    results: list[object] = [
        *provider.keyhinge_encrypt_many([Encrypt(PLAINTEXT, {})] * 3),
        *provider.keyhinge_decrypt_many([Decrypt(value, {})] * 3),
        *provider.keyhinge_rewrap_many([Decrypt(value, {})] * 3),
    ]
    for result in results:
        assert isinstance(result, KeyhingeError)
        errors.append(result)
    report = repr(provider.keyhinge_check())
    assert marks_in(report) == []
    for error in errors:
        assert isinstance(error, KeyhingeError)
        assert error.__cause__ is None
        assert error.__context__ is None
        shown = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        own = [line for line in shown if "tests/aws" not in line]
        assert marks_in("\n".join(own)) == []
        assert marks_in(pickle.dumps(error).decode("latin-1")) == []
        for thing in reachable(error):
            if isinstance(thing, (str, bytes)):
                text = thing if isinstance(thing, str) else thing.decode("latin-1")
                assert marks_in(text) == [], f"{failure}: {type(error).__name__}"
    assert marks_in(logged.getvalue()) == []


def test_the_search_would_find_something() -> None:
    """A frame of the library that holds a plaintext is found."""

    class Holder:
        def __init__(self) -> None:
            self.kept = {"x": [PLAINTEXT]}

    error = KeyhingeError("x")
    error.holder = Holder()  # type: ignore[attr-defined]
    assert PLAINTEXT in list(reachable(error))


def test_logs_of_what_works(configure: Configure, key_arn: str, logged: io.StringIO) -> None:
    provider = configure(keyID=key_arn, **SECRETS)
    sealed = provider.keyhinge_encrypt(PLAINTEXT, {"a": "b"})
    value = EncryptedValue("aws", sealed.key_id, "", sealed.ciphertext)
    provider.keyhinge_decrypt(value, {"a": "b"})
    provider.keyhinge_rewrap_many([Decrypt(value, {"a": "b"})] * 3)
    provider.keyhinge_check()
    text = logged.getvalue()
    assert marks_in(text) == []
    assert base64.b64encode(sealed.ciphertext).decode() not in text
    assert "botocore" not in text


def test_logs_of_a_role(configure: Configure, key_arn: str, moto: Any, logged: io.StringIO) -> None:
    """Neither the source's secrets nor the role's own."""
    role = "arn:aws:iam::123456789012:role/keyhinge"
    provider = configure({"AWS_ENDPOINT_URL_STS": moto.url}, keyID=key_arn, roleARN=role, **SECRETS)
    provider.keyhinge_encrypt(PLAINTEXT, {})
    frozen = provider._kms.clients.credentials().get_frozen_credentials()
    text = logged.getvalue()
    assert marks_in(text) == []
    assert frozen.secret_key is not None
    assert frozen.secret_key not in text
    assert str(frozen.token) not in text


def test_logs_of_a_new_process(moto: Any, key_arn: str) -> None:
    """Also of the first call, which imports the client library and makes the loggers."""
    program = f"""
import logging
logging.basicConfig(level=1)
from keyhinge import KeyManager
block = {{"region": "us-east-1", "endpoint": {moto.url!r}, "keyID": {key_arn!r}, **{SECRETS!r}}}
with KeyManager.open({{"keyManagement": {{"provider": "aws", "aws": block}}}}) as keys:
    value = keys.encrypt({PLAINTEXT!r}, context={{"a": "b"}})
    assert keys.decrypt(value, context={{"a": "b"}}) == {PLAINTEXT!r}
    keys.check()
logging.getLogger("botocore.endpoint").debug("the application's own")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert marks_in(done.stderr) == []
    assert "botocore.endpoint:the application's own" in done.stderr


class TestQuiet:
    """What the filter drops, and what it leaves alone."""

    def test_only_while_a_call_runs(self, logged: io.StringIO) -> None:
        logger = logging.getLogger("botocore.endpoint")
        with quiet():
            logger.debug("one")
            logger.info("two")
            logger.warning("three")
            with quiet():
                logger.debug("four")
            logger.debug("five")
        logger.debug("six")
        assert [line.split()[-1] for line in logged.getvalue().splitlines()] == ["three", "six"]

    def test_not_in_other_threads(self, logged: io.StringIO) -> None:
        from keyhinge.testing._support import in_threads

        with quiet():
            done = in_threads(1, lambda _: logging.getLogger("urllib3.connectionpool").debug("hi"))
        assert done == []
        assert "hi" in logged.getvalue()

    def test_not_the_application_s_own(self, logged: io.StringIO) -> None:
        with quiet():
            logging.getLogger("application").debug("hi")
        assert "hi" in logged.getvalue()

    def test_warnings_lose_their_traceback(self, logged: io.StringIO) -> None:
        logger = logging.getLogger("botocore.credentials")
        try:
            raise ValueError("s3cr3t-marker")
        except ValueError:
            with quiet():
                logger.warning("failed", exc_info=True)
        assert "failed" in logged.getvalue()
        assert "s3cr3t-marker" not in logged.getvalue()

    def test_loggers_that_come_later(self, logged: io.StringIO) -> None:
        with quiet():
            pass
        logger = logging.getLogger("botocore.made_in_a_test")
        with quiet():
            logger.debug("hi")
        assert "hi" not in logged.getvalue()
