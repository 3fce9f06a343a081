"""One thread finds out or logs in for all: what the others get, how long they wait, and forks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import UnavailableError
from keyhinge.testing._support import in_fork
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._single import SingleFlight

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, Seen

    from keyhinge_vault._provider import VaultProvider
    from keyhinge_vault._session import Session

Open = Callable[..., "VaultProvider"]
RelayTo = Callable[[str], "Relay"]
CONTEXT = {"account": "acct_1"}
FOR_EVER = 60.0


@pytest.fixture
def relay(bao: Bao, relay_to: RelayTo) -> Relay:
    """The shared server through a proxy that sees each request."""
    return relay_to(bao.url)


def in_child(work: Callable[[], object]) -> bytes:
    """Do something in a child; "done" if it came to an end."""

    def child() -> bytes:
        signal.alarm(20)  # what waits for a lock of the parent's waits for ever
        work()
        return b"done"

    return in_fork(child)


@contextmanager
def held_up(relay: Relay, path: str, work: Callable[[], object]) -> Iterator[None]:
    """Let a thread do something that the server's answer to a path is missing for."""
    arrived, go_on = threading.Event(), threading.Event()

    def hold(seen: Seen) -> None:
        if path in seen.path and not arrived.is_set():
            arrived.set()
            go_on.wait(30)

    relay.intercept = hold
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert arrived.wait(10)
        yield
    finally:
        go_on.set()
        thread.join()


class TestSingleFlight:
    def test_nobody_waits_for_ever(self):
        single: SingleFlight[int] = SingleFlight()
        arrived, go_on = threading.Event(), threading.Event()

        def long() -> int:
            arrived.set()
            go_on.wait(30)
            return 1

        thread = threading.Thread(target=lambda: single.run(lambda: None, long, FOR_EVER))
        thread.start()
        assert arrived.wait(10)
        try:
            with pytest.raises(ServiceError) as caught:
                single.run(lambda: None, lambda: 2, 0.01)
            assert caught.value.kind == "timeout"
        finally:
            go_on.set()
            thread.join()
        assert single.run(lambda: None, lambda: 3, FOR_EVER) == 3

    def test_no_wait_is_too_long_to_be_asked_for(self):
        single: SingleFlight[int] = SingleFlight()
        assert single.run(lambda: None, lambda: 3, float("1e300")) == 3


class TestWaiting:
    """Through a provider: a thread that is stuck doesn't take the others with it."""

    @pytest.fixture
    def provider(self, bao: Bao, relay: Relay, open_provider: Open) -> VaultProvider:
        key = bao.key()
        keys = {**bao.userpass([bao.transit_policy(key)]), "keyID": key}
        return open_provider(relay.url, {**keys, "timeout": 0.2, "retryFor": 0.0})

    def test_for_what_is_known_of_a_key(self, provider: VaultProvider):
        with provider.key.single._lock, pytest.raises(UnavailableError) as raised:
            provider.keyhinge_encrypt(b"x", CONTEXT)
        assert raised.value.retryable
        assert raised.value.failure is not None
        assert raised.value.failure.code == "timeout"

    def test_for_a_login(self, provider: VaultProvider):
        with provider.session._tokens._single._lock, pytest.raises(UnavailableError):
            provider.keyhinge_encrypt(b"x", CONTEXT)


class TestFork:
    """Of a provider that somebody holds by itself; core makes another one after a fork."""

    @pytest.fixture
    def provider(self, bao: Bao, relay: Relay, open_provider: Open) -> VaultProvider:
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        return open_provider(relay.url, {"keyID": key, "token": token})

    def test_while_another_thread_finds_out(self, provider: VaultProvider, relay: Relay):
        def use() -> object:
            return provider.keyhinge_encrypt(b"x", CONTEXT)

        with held_up(relay, f"/keys/{provider.key.name}", use):
            assert in_child(use) == b"done"

    def test_while_another_thread_notes_something(self, provider: VaultProvider):
        sealed = provider.keyhinge_encrypt(b"x", CONTEXT)

        def use() -> None:
            provider.keyhinge_encrypt(b"x", CONTEXT)
            provider.key.saw(sealed.version)
            provider.key.forget()

        with provider.key._lock:
            assert in_child(use) == b"done"

    def test_a_child_finds_out_for_itself(self, provider: VaultProvider, relay: Relay):
        provider.keyhinge_encrypt(b"x", CONTEXT)
        looks = relay.count(f"transit/keys/{provider.key.name}")
        assert in_child(lambda: provider.keyhinge_encrypt(b"x", CONTEXT)) == b"done"
        assert relay.count(f"transit/keys/{provider.key.name}") == looks + 1
        provider.keyhinge_encrypt(b"x", CONTEXT)
        assert relay.count(f"transit/keys/{provider.key.name}") == looks + 1

    def test_while_another_thread_pauses(self, provider: VaultProvider, relay: Relay):
        """A child that tries again waits for an event of its own."""
        session: Session = provider.session
        failed: list[str] = []

        def fail(seen: Seen) -> Any:
            if failed:
                return None
            failed.append(seen.path)
            return 503, {}, b'{"errors": ["Vault is sealed"]}'

        relay.intercept = fail
        with session._tokens._closing._cond:  # type: ignore[attr-defined]
            assert in_child(lambda: provider.keyhinge_encrypt(b"x", CONTEXT)) == b"done"
        assert failed

    def test_the_event_that_ends_a_pause(self, provider: VaultProvider):
        """It is the child's own from the first call on, which comes before the first request."""
        before = provider.session._tokens._closing

        def child() -> bytes:
            provider.session.patience()
            return b"own" if provider.session._tokens._closing is not before else b"the parent's"

        assert in_fork(child) == b"own"
