"""Readers and writers go on through what happens to a server: nothing lost, nothing wrong.

Each of these is a row of the table in docs/how-to/outage.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import EncryptedValue, KeyManager, OperationError, ThrottledError, UnavailableError
from keyhinge_vault import vault

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Tls
    from typing_extensions import Self


class Traffic:
    """Threads that encrypt, and decrypt what was encrypted, until they are told to stop."""

    def __init__(self, keys: KeyManager) -> None:
        self._keys = keys
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.values: dict[bytes, EncryptedValue] = {}
        self.errors: list[OperationError] = []
        self.wrong: list[bytes] = []
        self.done = 0
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self._threads)

    def _work(self, number: int) -> None:
        count = 0
        while not self._stop.wait(0.005):
            count += 1
            plaintext = b"secret %d %d" % (number, count)
            context = {"row": plaintext.decode().replace(" ", "_")}
            try:
                value = self._keys.encrypt(plaintext, context=context)
                with self._lock:
                    self.values[plaintext] = value
                if self._keys.decrypt(value, context=context) != plaintext:
                    self.wrong.append(plaintext)
            except OperationError as error:
                with self._lock:
                    self.errors.append(error)
                continue
            with self._lock:
                self.done += 1

    def works(self, seconds: float = 15) -> None:
        """Wait until operations succeed, after whatever happened."""
        end, before = time.monotonic() + seconds, self.done
        while self.done < before + 8:
            assert time.monotonic() < end, "nothing works again"
            time.sleep(0.02)

    def check(self) -> None:
        """See that everything that was encrypted opens to what it was, and nothing else."""
        assert self.wrong == []
        for plaintext, value in self.values.items():
            context = {"row": plaintext.decode().replace(" ", "_")}
            assert self._keys.decrypt(value, context=context) == plaintext


@contextmanager
def traffic(bao: Bao, **settings: Any) -> Iterator[Traffic]:
    """Run traffic against a server; afterwards everything opens."""
    block = {"endpoint": bao.url, "retryFor": 1, "timeout": 1, **settings}
    config = {"keyManagement": {"provider": "vault", "vault": block}}
    with KeyManager.open(config, providers={"vault": vault}, environ={}) as keys:
        with Traffic(keys) as running:
            running.works()
            yield running
            running.works()
        running.check()


def only(running: Traffic, *kinds: type[OperationError]) -> None:
    """See that callers met no other errors, and that all of these may pass."""
    assert {type(error) for error in running.errors} <= set(kinds)
    assert all(error.retryable for error in running.errors)


@pytest.fixture
def raft(start_bao: Callable[..., Bao]) -> Bao:
    """A server that keeps its data when it is killed."""
    return start_bao("raft")


@pytest.fixture
def raft_settings(raft: Bao) -> dict[str, Any]:
    """A key and a token on it."""
    key = raft.key()
    return {"keyID": key, "token": raft.token([raft.transit_policy(key)])}


class TestServer:
    def test_sealed_and_unsealed(self, raft: Bao, raft_settings: dict[str, Any]):
        with traffic(raft, **raft_settings) as running:
            raft.seal()
            time.sleep(2)
            raft.unseal()
        assert running.errors
        only(running, UnavailableError)

    def test_killed_and_started_again(self, raft: Bao, raft_settings: dict[str, Any]):
        with traffic(raft, **raft_settings) as running:
            raft.kill()
            time.sleep(1.5)
            raft.start()
        assert running.errors
        only(running, UnavailableError)

    def test_frozen_for_longer_than_the_time_out(self, raft: Bao, raft_settings: dict[str, Any]):
        with traffic(raft, **raft_settings) as running:
            raft.freeze()
            time.sleep(3.5)
            raft.thaw()
        assert running.errors
        only(running, UnavailableError)

    def test_patience_hides_a_short_outage(self, raft: Bao, raft_settings: dict[str, Any]):
        """What is over within `retryFor` is never seen by a caller."""
        with traffic(raft, **{**raft_settings, "retryFor": 20}) as running:
            raft.seal()
            time.sleep(1)
            raft.unseal()
        assert running.errors == []

    def test_too_many_requests_for_a_while(self, bao: Bao):
        mount = bao.mount()
        key = bao.key(mount=mount)
        token = bao.token([bao.transit_policy(key, mount=mount)])
        with traffic(bao, keyID=key, mount=mount, token=token) as running:
            quota = bao.limit_requests(f"{mount}/", 2, "1s")
            time.sleep(3)
            bao.unlimit(quota)
        only(running, ThrottledError)

    def test_one_bound_for_a_batch(self, raft: Bao, raft_settings: dict[str, Any]):
        """A batch of many requests waits for an outage once, not once for each of them."""
        block = {"endpoint": raft.url, "retryFor": 2, "timeout": 1, **raft_settings}
        config = {"keyManagement": {"provider": "vault", "vault": block}}
        with KeyManager.open(config, providers={"vault": vault}, environ={}) as keys:
            from keyhinge import Encrypt

            assert keys.encrypt_many([Encrypt(b"x", {})])[0].error is None
            raft.kill()
            started = time.monotonic()
            outcomes = keys.encrypt_many([Encrypt(b"x", {})] * 5000)
            assert time.monotonic() - started < 20
            assert all(isinstance(outcome.error, UnavailableError) for outcome in outcomes)


class TestToken:
    def test_a_short_lease_in_use_for_long(self, bao: Bao):
        """A token of 2 seconds, used for 7: renewed, and logged in for anew at its last end."""
        key = bao.key()
        login = bao.userpass([bao.transit_policy(key)], token_ttl="2s", token_max_ttl="4s")
        with traffic(bao, keyID=key, **login) as running:
            time.sleep(7)
        assert running.errors == []

    def test_revoked_under_way(self, bao: Bao):
        """One login anew, which no caller notices."""
        key = bao.key()
        login = bao.approle([bao.transit_policy(key)], token_ttl="1h")
        path = f"auth/{login['authMount']}/login"
        with traffic(bao, keyID=key, **login) as running:
            assert bao.count(path) == 1
            bao.api("POST", "sys/leases/revoke-prefix/" + path)
            time.sleep(1)
        assert running.errors == []
        assert bao.count(path) == 2

    def test_its_file_replaced(self, bao: Bao, tmp_path: Path):
        key = bao.key()
        policy = bao.transit_policy(key)
        file = tmp_path / "token"
        old = bao.token([policy])
        file.write_text(old)
        with traffic(bao, keyID=key, tokenFile=str(file)) as running:
            again = tmp_path / "new"
            again.write_text(bao.token([policy]))
            again.replace(file)
            time.sleep(0.5)
            bao.revoke(old)
        assert running.errors == []


class TestCertificates:
    def test_client_certificate_and_authority_replaced(
        self, tls_bao: Bao, tls: Tls, tmp_path: Path
    ):
        """Files that are replaced by others that are good, while they are in use."""
        key = tls_bao.key()
        token = tls_bao.token([tls_bao.transit_policy(key)])
        names = ("tlsCertificatePath", "tlsKeyPath", "tlsCAPath")
        found: dict[str, Any] = dict(tls.settings("client.example"))
        files = {name: tmp_path / name for name in names}
        for name, path in files.items():
            path.write_bytes(Path(found[name]).read_bytes())
        settings = {name: str(path) for name, path in files.items()}
        with traffic(tls_bao, keyID=key, token=token, **settings) as running:
            other: dict[str, Any] = dict(tls.settings("admin.example"))
            # The key first, as tools write them: until both are there, the old pair goes on.
            for name in ("tlsKeyPath", "tlsCertificatePath", "tlsCAPath"):
                again = tmp_path / "new"
                again.write_bytes(Path(other[name]).read_bytes())
                again.replace(files[name])
                time.sleep(0.2)
        assert running.errors == []
