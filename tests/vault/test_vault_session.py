"""A session has a token when it is needed: renewed, obtained anew, given back, never shared."""

from __future__ import annotations

import base64
import logging
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import ClosedError
from keyhinge.testing._support import in_fork, in_threads
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._lease import Lease
from keyhinge_vault._renewal import Renewal

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, Seen, TokenReviewStub

    from keyhinge_vault._session import Session

Open = Callable[..., "Session"]
RelayTo = Callable[[str], "Relay"]
PLAINTEXT = {"plaintext": base64.b64encode(b"secret").decode()}


@pytest.fixture(scope="session")
def key(bao: Bao) -> str:
    """A key of the shared server."""
    return bao.key()


@pytest.fixture(scope="session")
def policy(bao: Bao, key: str) -> str:
    """What an application needs for it."""
    return bao.transit_policy(key)


@pytest.fixture
def relay(bao: Bao, relay_to: RelayTo) -> Relay:
    """The shared server through a proxy that sees each request."""
    return relay_to(bao.url)


def encrypt(session: Session, key: str) -> None:
    """Encrypt something."""
    answer = session.request("POST", f"transit/encrypt/{key}", json=PLAINTEXT)
    assert answer.data["ciphertext"].startswith("vault:v1:")


def token_of(session: Session) -> str:
    """Give the token that a session uses."""
    assert session._tokens.lease is not None
    assert session._tokens.lease.token is not None
    return session._tokens.lease.token


def threads() -> list[threading.Thread]:
    """Give the renewal threads that run."""
    return [t for t in threading.enumerate() if t.name == "keyhinge-vault-renewal"]


def logins(relay: Relay) -> int:
    """Count the logins that went by."""
    return sum("/login" in seen.path for seen in relay.seen)


def use_until(session: Session, key: str, done: Callable[[], bool], seconds: float = 20) -> None:
    """Use a session all the time, every request with success, until something has happened."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it didn't happen"
        encrypt(session, key)
        time.sleep(0.05)


def wait_for(done: Callable[[], object], seconds: float = 10) -> None:
    """Wait without using anything."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.02)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the names of what was logged."""
    return [getattr(record, "event", "") for record in caplog.records]


class TestRenewal:
    def test_renewable(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """A token of 3 s is renewed, time and again, and stays the same one."""
        session = open_session(relay.url, bao.userpass([policy], token_ttl="3s"))
        encrypt(session, key)
        token = token_of(session)
        use_until(session, key, lambda: relay.count("auth/token/renew-self") >= 3)
        assert logins(relay) == 1
        assert token_of(session) == token

    def test_max_ttl(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """Where renewing ends, another login comes before the token's end: no request notices."""
        keys = bao.userpass([policy], token_ttl="2s", token_max_ttl="4s")
        session = open_session(relay.url, keys)
        use_until(session, key, lambda: logins(relay) >= 3)
        assert relay.count("auth/token/renew-self") >= 1
        # The look-up after a 403 was never needed.
        assert relay.count("auth/token/lookup-self") == 0

    def test_batch(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """Batch tokens can't be renewed: a login shortly before the end, and none is revoked."""
        keys = bao.approle([policy], token_ttl="4s", token_type="batch")
        session = open_session(relay.url, keys)
        use_until(session, key, lambda: logins(relay) >= 2)
        session.close()
        assert relay.count("auth/token/renew-self") == 0
        assert relay.count("auth/token/lookup-self") == 0
        assert relay.count("auth/token/revoke-self") == 0

    def test_idle(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """A process that does nothing keeps its token, too."""
        session = open_session(relay.url, bao.userpass([policy], token_ttl="2s"))
        encrypt(session, key)
        wait_for(lambda: relay.count("auth/token/renew-self") >= 2)
        encrypt(session, key)
        assert logins(relay) == 1

    def test_given_token(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """A renewable token of the configuration is renewed as well."""
        session = open_session(relay.url, {"token": bao.token([policy], ttl="2s")})
        use_until(session, key, lambda: relay.count("auth/token/renew-self") >= 2)

    def test_given_token_that_ends(
        self,
        open_session: Open,
        bao: Bao,
        key: str,
        policy: str,
        caplog: pytest.LogCaptureFixture,
    ):
        """One that can't be renewed is warned of, once; at its end the error says so."""
        token = bao.token([policy], ttl="2s", renewable=False)
        session = open_session(bao.url, {"token": token})
        with caplog.at_level(logging.WARNING, "keyhinge.vault"):
            encrypt(session, key)
            encrypt(session, key)
        assert events(caplog) == ["keyhinge.vault.token_ending"]
        assert threads() == []
        wait_for(lambda: not bao.lives(token))
        with pytest.raises(ServiceError) as caught:
            encrypt(session, key)
        assert caught.value.kind == "token-gone"

    def test_outage(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """A renewal that fails costs nothing while the token is good, and is tried again."""

        def fault(seen: Seen) -> Any:
            return (503, {}, b"{}") if seen.path.endswith("renew-self") and down else None

        down = True
        relay.intercept = fault
        keys = bao.userpass([policy], token_ttl="4s")
        session = open_session(relay.url, {**keys, "retryFor": 0.0})
        encrypt(session, key)
        token = token_of(session)
        use_until(session, key, lambda: relay.count("auth/token/renew-self") >= 2)
        down = False
        before = relay.count("auth/token/renew-self")
        use_until(session, key, lambda: relay.count("auth/token/renew-self") > before)
        assert token_of(session) == token
        assert logins(relay) == 1

    def test_no_thread_without_need(self, open_session: Open, bao: Bao, key: str):
        """A token that doesn't end starts no thread."""
        session = open_session(bao.url, {"token": bao.root_token})
        encrypt(session, key)
        assert threads() == []

    def test_thread_ends_with_close(self, open_session: Open, bao: Bao, key: str, policy: str):
        """The thread is a daemon, and ends with the session."""
        session = open_session(bao.url, bao.approle([policy], token_ttl="60s"))
        encrypt(session, key)
        (thread,) = threads()
        assert thread.daemon
        session.close()
        thread.join(5)
        assert threads() == []

    def test_full_length_counts(self):
        """A token found near its end isn't renewed ever after as often as its rest asked for."""

        class Keeper:
            def say(self, event: str, level: int, text: str) -> None:
                pass

            def renew(self, lease: Lease) -> float:
                lease.renewed(0.0, 3600.0, renewable=True)
                return 3600.0

        lease = Lease("t", now=0.0, ttl=100.0, renewable=True)
        renewal = Renewal(Keeper(), lease, lambda: 0.0)  # type: ignore[arg-type]
        assert renewal._pause(renewal._renewed(100.0)) > 2000


class TestGone:
    def test_revoked(self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str):
        """A token revoked under way costs one look-up, one login and one retry."""
        session = open_session(relay.url, bao.approle([policy]))
        for _ in range(2):
            encrypt(session, key)
            bao.revoke(token_of(session))
            before = len(relay.seen)
            encrypt(session, key)
            paths = [seen.path.rsplit("/", 1)[-1] for seen in relay.seen[before:]]
            assert [p for p in paths if p != "lookup-self"] == [key, "login", key]
            assert paths[1] == "lookup-self"

    def test_denied(self, open_session: Open, bao: Bao, relay: Relay, key: str):
        """A missing right costs one look-up each time, never a login."""
        session = open_session(relay.url, bao.approle())
        for _ in range(3):
            with pytest.raises(ServiceError) as caught:
                encrypt(session, key)
            assert caught.value.kind == "denied"
        assert logins(relay) == 1
        assert relay.count("auth/token/lookup-self") == 3

    def test_lookup_forbidden(self, open_session: Open, bao: Bao, relay: Relay, key: str):
        """Where a token may not look itself up, a missing right causes no series of logins."""
        session = open_session(relay.url, bao.approle(token_no_default_policy=True))
        for _ in range(5):
            with pytest.raises(ServiceError) as caught:
                encrypt(session, key)
            assert caught.value.kind == "denied"
        assert logins(relay) <= 2

    def test_lookup_forbidden_and_revoked(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str
    ):
        """There, too, a revoked token is replaced."""
        session = open_session(relay.url, bao.approle([policy], token_no_default_policy=True))
        encrypt(session, key)
        bao.revoke(token_of(session))
        encrypt(session, key)
        assert logins(relay) == 2

    def test_lookup_forbidden_to_a_given_token(
        self, open_session: Open, bao: Bao, key: str, policy: str, caplog: Any
    ):
        """A given one works, and the log says what can't be known."""
        token = bao.token([policy], no_default_policy=True)
        session = open_session(bao.url, {"token": token})
        with caplog.at_level(logging.INFO, "keyhinge.vault"):
            encrypt(session, key)
        assert "keyhinge.vault.lookup_denied" in events(caplog)
        lease, shown = session.look()
        assert not lease.known
        assert shown is None

    @pytest.mark.parametrize("uses", [1, 2, 3, 5])
    def test_num_uses(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str, uses: int
    ):
        """Tokens for a few requests are replaced before a request is denied."""
        session = open_session(relay.url, bao.approle([policy], token_num_uses=uses))
        for _ in range(7):
            encrypt(session, key)
        assert relay.count("auth/token/lookup-self") == 0

    def test_num_uses_of_threads(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str
    ):
        """Neither are they overdrawn by threads."""
        session = open_session(relay.url, bao.approle([policy], token_num_uses=5))
        assert in_threads(32, lambda _: encrypt(session, key)) == []
        assert relay.count("auth/token/lookup-self") == 0

    def test_32_threads_log_in_once(self, open_session: Open, bao: Bao, key: str, policy: str):
        """However many threads wait, at the start and after a revocation: one login each."""
        keys = bao.userpass([policy])
        session = open_session(bao.url, keys)
        assert in_threads(32, lambda _: encrypt(session, key)) == []
        assert bao.count(f"auth/{keys['authMount']}/login") == 1
        bao.revoke(token_of(session))
        assert in_threads(32, lambda _: encrypt(session, key)) == []
        assert bao.count(f"auth/{keys['authMount']}/login") == 2

    def test_refused_login_of_threads(self, open_session: Open, bao: Bao, key: str):
        """A refused login isn't repeated by those who waited for it."""
        keys = {**bao.userpass(), "password": "guessed"}
        session = open_session(bao.url, keys)
        together = threading.Barrier(16)

        def use(_: int) -> None:
            together.wait(10)
            with pytest.raises(ServiceError) as caught:
                encrypt(session, key)
            assert caught.value.kind == "bad-login"

        assert in_threads(16, use) == []
        assert bao.count(f"auth/{keys['authMount']}/login") < 16


class TestFiles:
    def test_token_file_replaced(
        self, open_session: Open, bao: Bao, key: str, policy: str, tmp_path: Path
    ):
        """Another token in the file is used with the next request; the old one isn't revoked."""
        path = tmp_path / "token"
        old, new = bao.token([policy]), bao.token([policy])
        path.write_text(old)
        session = open_session(bao.url, {"tokenFile": path})
        encrypt(session, key)
        replace(path, new)
        encrypt(session, key)
        assert token_of(session) == new
        assert bao.lives(old)

    def test_token_file_replaced_after_a_revocation(
        self, open_session: Open, bao: Bao, key: str, policy: str, tmp_path: Path
    ):
        """An agent's token that was revoked is one error; with the next one all goes on."""
        path = tmp_path / "token"
        path.write_text(bao.token([policy]))
        session = open_session(bao.url, {"tokenFile": path})
        encrypt(session, key)
        bao.revoke(path.read_text())
        with pytest.raises(ServiceError) as caught:
            encrypt(session, key)
        assert caught.value.kind == "token-gone"
        replace(path, bao.token([policy]))
        encrypt(session, key)

    def test_token_file_missing_for_a_moment(
        self, open_session: Open, bao: Bao, key: str, policy: str, tmp_path: Path
    ):
        """While the file is away, the token at hand goes on."""
        path = tmp_path / "token"
        path.write_text(bao.token([policy]))
        session = open_session(bao.url, {"tokenFile": path})
        encrypt(session, key)
        path.unlink()
        encrypt(session, key)

    def test_service_account_token_replaced(
        self,
        open_session: Open,
        bao: Bao,
        kubernetes: TokenReviewStub,
        key: str,
        policy: str,
        tmp_path: Path,
    ):
        """Each login reads the service account's token anew."""
        path = tmp_path / "token"
        keys = bao.kubernetes(kubernetes, path, [policy])
        session = open_session(bao.url, keys)
        encrypt(session, key)
        replace(path, "rubbish")
        encrypt(session, key)
        bao.revoke(token_of(session))
        with pytest.raises(ServiceError) as caught:
            encrypt(session, key)
        assert caught.value.kind == "bad-login"
        replace(path, kubernetes.token())
        encrypt(session, key)


class TestFork:
    def test_child_logs_in_for_itself(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str
    ):
        """A child neither uses nor revokes its parent's token."""
        session = open_session(bao.url, bao.userpass([policy]))
        encrypt(session, key)
        token = token_of(session)

        def child() -> bytes:
            encrypt(session, key)
            own = token_of(session)
            session.close()
            return own.encode()

        own = in_fork(child).decode()
        assert own != token
        assert not bao.lives(own)
        assert bao.lives(token)
        encrypt(session, key)
        assert token_of(session) == token

    def test_child_that_only_closes(self, open_session: Open, bao: Bao, key: str, policy: str):
        """Closing in a child gives nothing back."""
        session = open_session(bao.url, bao.userpass([policy]))
        encrypt(session, key)

        def child() -> bytes:
            session.close()
            return b"closed"

        assert in_fork(child) == b"closed"
        assert bao.lives(token_of(session))
        encrypt(session, key)

    def test_fork_while_another_thread_logs_in(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str
    ):
        """A child isn't held up by a login that was under way in its parent."""
        arrived, go_on = threading.Event(), threading.Event()

        def hold(seen: Seen) -> None:
            if "/login" in seen.path and not arrived.is_set():
                arrived.set()
                go_on.wait(10)

        relay.intercept = hold
        session = open_session(relay.url, bao.approle([policy]))
        thread = threading.Thread(target=encrypt, args=(session, key))
        thread.start()
        assert arrived.wait(10)

        def child() -> bytes:
            encrypt(session, key)
            return b"done"

        try:
            assert in_fork(child) == b"done"
        finally:
            go_on.set()
            thread.join()


class TestClose:
    def test_gives_back_what_it_logged_in_for(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str
    ):
        """The token of a login is revoked, once; afterwards nothing works."""
        session = open_session(relay.url, bao.approle([policy]))
        encrypt(session, key)
        token = token_of(session)
        session.close()
        session.close()
        assert not bao.lives(token)
        assert relay.count("auth/token/revoke-self") == 1
        with pytest.raises(ClosedError):
            encrypt(session, key)

    def test_leaves_given_tokens(self, open_session: Open, bao: Bao, key: str, policy: str):
        """A token of the configuration isn't ours to revoke."""
        token = bao.token([policy])
        session = open_session(bao.url, {"token": token})
        encrypt(session, key)
        session.close()
        assert bao.lives(token)

    def test_unused(self, open_session: Open, relay: Relay, bao: Bao):
        """A session that was never used logs in nowhere to close."""
        open_session(relay.url, bao.approle()).close()
        assert relay.seen == []

    def test_frozen_server(self, open_session: Open, start_bao: Callable[..., Bao]):
        """A server that doesn't answer doesn't hold it up, however long requests may take."""
        bao = start_bao("inmem")
        key = bao.key()
        session = open_session(bao.url, {**bao.approle([bao.transit_policy(key)]), "timeout": 60.0})
        encrypt(session, key)
        bao.freeze()
        started = time.monotonic()
        session.close()
        assert time.monotonic() - started < 30
        bao.thaw()

    def test_ends_what_waits(self, open_session: Open, bao: Bao, relay: Relay, key: str):
        """A request that tries again and again in an outage ends with the session."""
        relay.intercept = lambda seen: (503, {}, b"{}")
        session = open_session(relay.url, {**bao.approle(), "retryFor": 60.0})
        caught: list[BaseException] = []

        def use() -> None:
            try:
                encrypt(session, key)
            except (ServiceError, ClosedError) as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        wait_for(lambda: len(relay.seen) >= 2)
        session.close()
        thread.join(8)
        assert not thread.is_alive()
        assert len(caught) == 1

    def test_login_under_way(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str
    ):
        """A token that arrives while the session closes isn't left behind."""
        arrived, go_on = threading.Event(), threading.Event()
        given: list[str] = []

        def hold(seen: Seen) -> None:
            if "/login" in seen.path:
                arrived.set()
                go_on.wait(10)

        def note(seen: Seen, reply: Any) -> Any:
            if "/login" in seen.path:
                import json

                given.append(json.loads(reply[2])["auth"]["client_token"])
            return reply

        relay.intercept, relay.alter = hold, note
        session = open_session(relay.url, bao.approle([policy]))
        caught: list[BaseException] = []

        def use() -> None:
            try:
                encrypt(session, key)
            except (ServiceError, ClosedError) as error:
                caught.append(error)

        user = threading.Thread(target=use)
        user.start()
        assert arrived.wait(10)
        closer = threading.Thread(target=session.close)
        closer.start()
        wait_for(lambda: session._tokens._closed)
        go_on.set()
        closer.join(10)
        user.join(10)
        assert isinstance(caught[0], ClosedError)
        assert not bao.lives(given[0])
        assert session._tokens.lease is None
        assert threads() == []

    def test_renewal_under_way(
        self,
        open_session: Open,
        bao: Bao,
        relay: Relay,
        key: str,
        policy: str,
        caplog: pytest.LogCaptureFixture,
    ):
        """A renewal that the close cuts off isn't reported as a failure."""
        arrived, go_on = threading.Event(), threading.Event()

        def hold(seen: Seen) -> Any:
            if not seen.path.endswith("renew-self"):
                return None
            arrived.set()
            go_on.wait(10)
            return (503, {}, b"{}")

        relay.intercept = hold
        session = open_session(relay.url, bao.approle([policy], token_ttl="2s"))
        encrypt(session, key)
        (thread,) = threads()
        assert arrived.wait(10)
        with caplog.at_level(logging.WARNING, "keyhinge.vault"):
            session.close()
            go_on.set()
            thread.join(10)
        assert not thread.is_alive()
        assert events(caplog) == []


class TestOutage:
    def test_sealed_for_a_while(self, open_session: Open, start_bao: Callable[..., Bao]):
        """A login against a sealed server goes on by itself once it is unsealed."""
        bao = start_bao("inmem")
        key = bao.key()
        session = open_session(bao.url, bao.approle([bao.transit_policy(key)]))
        bao.seal()
        timer = threading.Timer(0.7, bao.unseal)
        timer.start()
        try:
            encrypt(session, key)
        finally:
            timer.join()

    def test_bounded(self, open_session: Open, bao: Bao):
        """A login is tried again for as long as `retryFor` says, and then it is an outage."""
        session = open_session("http://127.0.0.1:9", {**bao.approle(), "retryFor": 1.0})
        with pytest.raises(ServiceError) as caught:
            encrypt(session, "app")
        assert caught.value.kind == "connection"
        assert caught.value.request.startswith("update on auth/approle")

    def test_killed_and_restarted(self, open_session: Open, own_bao: Bao):
        """After a restart the token that was there is used further."""
        key = own_bao.key()
        keys = own_bao.approle([own_bao.transit_policy(key)])
        session = open_session(own_bao.url, keys)
        encrypt(session, key)
        token = token_of(session)
        own_bao.kill()
        timer = threading.Timer(0.3, own_bao.start)
        timer.start()
        try:
            encrypt(session, key)
        finally:
            timer.join()
        assert token_of(session) == token


class TestShown:
    def test_no_pickles_and_bare_reprs(self, open_session: Open, bao: Bao, key: str, policy: str):
        """What holds a token refuses to be pickled, and shows nothing."""
        session = open_session(bao.url, bao.approle([policy]))
        encrypt(session, key)
        for thing in (session, session._tokens.lease):
            with pytest.raises(TypeError):
                pickle.dumps(thing)
            assert token_of(session) not in repr(thing)

    def test_look(self, open_session: Open, bao: Bao, policy: str):
        """What check is told has neither token nor accessor."""
        session = open_session(bao.url, bao.approle([policy], token_ttl="60s"))
        lease, shown = session.look()
        assert shown is not None
        assert policy in shown["policies"]
        assert 0 < shown["ttl"] <= 60
        assert lease.renewable
        assert not {"id", "accessor"} & set(shown)
        assert token_of(session) not in repr(shown)

    def test_events(
        self, open_session: Open, bao: Bao, relay: Relay, key: str, policy: str, caplog: Any
    ):
        """What happens to the token is logged under stable names, each with its section."""
        with caplog.at_level(logging.DEBUG, "keyhinge.vault"):
            session = open_session(relay.url, bao.approle([policy], token_ttl="2s"))
            encrypt(session, key)
            wait_for(lambda: "keyhinge.vault.renewed" in events(caplog))
            bao.revoke(token_of(session))
            encrypt(session, key)
            session.close()
        names = {"login", "renewed", "token_gone", "revoked"}
        assert {f"keyhinge.vault.{name}" for name in names} <= set(events(caplog))
        assert {getattr(record, "section", None) for record in caplog.records} == {"vault"}


def replace(path: Path, text: str) -> None:
    """Replace a file in one step, as agents and kubelets do."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def test_a_thread_that_cannot_start_costs_nothing_but_renewal(
    bao: Bao, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A container's limit on threads mustn't fail an operation whose login worked."""

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    from keyhinge import KeyManager
    from keyhinge_vault import _renewal, vault

    monkeypatch.setattr(_renewal.Renewal, "start", no_thread)
    key = bao.key()
    block = {"endpoint": bao.url, "keyID": key, **bao.userpass([bao.transit_policy(key)])}
    config = {"keyManagement": {"provider": "vault", "vault": block}}
    with KeyManager.open(config, providers={"vault": vault}, environ={}) as keys:
        assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"
    assert any(getattr(r, "event", "") == "keyhinge.vault.no_renewal" for r in caplog.records)
