"""How a running process learns of a changed key file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyhinge import Decrypt, EncryptedValue, KeyUnavailableError, Sealed
from keyhinge_local import LocalProvider, keyfile
from keyhinge_local._keyring import FileSource, Keyring

Configure = Callable[..., LocalProvider]


def as_value(sealed: Sealed) -> EncryptedValue:
    """What core makes of a provider's answer."""
    return EncryptedValue("local", sealed.key_id, sealed.version, sealed.ciphertext)


def age(path: Path) -> None:
    """Make a file look as if nobody had changed it for an hour."""
    past = time.time() - 3600
    os.utime(path, (past, past))


class CountingSource(FileSource):
    """A key file that counts how often it is looked at and read."""

    looks = 0
    reads = 0

    def stamp(self) -> object:
        self.looks += 1
        return super().stamp()

    def load(self) -> Any:
        self.reads += 1
        return super().load()


class TestDelay:
    """At most one look a second."""

    def test_activation_is_noticed(self, configure: Configure, key_path: Path, clock: Any) -> None:
        """A new active version encrypts after a second, not before."""
        provider = configure(clock, keyFile=key_path)
        old = provider.keyhinge_current_key()
        new = keyfile.rotate(key_path, activate=True).active
        clock.now += 0.9
        assert provider.keyhinge_encrypt(b"x", {}).version == old.version
        clock.now += 0.2
        assert provider.keyhinge_encrypt(b"x", {}).version == new
        assert provider.keyhinge_current_key().version == new

    def test_rotation_only_decrypts(self, configure: Configure, key_path: Path, clock: Any) -> None:
        """A version that isn't active opens values and makes none."""
        provider = configure(clock, keyFile=key_path)
        old = provider.keyhinge_current_key()
        keyfile.rotate(key_path)
        clock.now += 5
        assert provider.keyhinge_encrypt(b"x", {}).version == old.version

    def test_unknown_version_looks_at_once(
        self, configure: Configure, key_path: Path, clock: Any
    ) -> None:
        """A value of a host that is ahead opens without a delay."""
        behind = configure(clock, keyFile=key_path)
        behind.keyhinge_encrypt(b"x", {})
        keyfile.rotate(key_path, activate=True)
        ahead = as_value(configure(clock, keyFile=key_path).keyhinge_encrypt(b"x", {}))
        assert behind.keyhinge_decrypt(ahead, {}) == b"x"

    def test_unknown_version_in_a_batch(
        self, configure: Configure, key_path: Path, clock: Any
    ) -> None:
        """So does one in a batch."""
        behind = configure(clock, keyFile=key_path)
        old = as_value(behind.keyhinge_encrypt(b"old", {}))
        keyfile.rotate(key_path, activate=True)
        new = as_value(configure(clock, keyFile=key_path).keyhinge_encrypt(b"new", {}))
        items = [Decrypt(old, {}), Decrypt(new, {})]
        assert behind.keyhinge_decrypt_many(items) == [b"old", b"new"]

    def test_reads_are_few(self, key_path: Path, clock: Any) -> None:
        """The file is read when it changed, and looked at once a second."""
        age(key_path)
        source = CountingSource(key_path, allow_group_read=False)
        ring = Keyring(source, clock)
        for _ in range(10):
            ring.current()
        assert (source.looks, source.reads) == (1, 1)
        for _ in range(3):
            clock.now += 1
            ring.current()
            ring.current()
        assert (source.looks, source.reads) == (4, 1)
        for _ in range(3):
            ring.newer(ring.current())
        assert (source.looks, source.reads) == (7, 1)
        keyfile.rotate(key_path)
        clock.now += 1
        ring.current()
        assert (source.looks, source.reads) == (8, 2)

    def test_a_fresh_stamp_is_not_believed(self, key_path: Path, clock: Any) -> None:
        """A file that changed just now may change again unseen, so it is read again."""
        source = CountingSource(key_path, allow_group_read=False)
        ring = Keyring(source, clock)
        ring.current()
        clock.now += 1
        ring.current()
        assert source.reads == 2

    def test_threads_load_once(self, key_path: Path, clock: Any) -> None:
        """Threads that start together cause one read."""
        source = CountingSource(key_path, allow_group_read=False)
        ring, start = Keyring(source, clock), threading.Barrier(16)

        def use() -> None:
            start.wait()
            ring.current()

        threads = [threading.Thread(target=use) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert source.reads == 1

    def test_nobody_waits_for_a_slow_disk(self, key_path: Path, clock: Any) -> None:
        """While one thread looks, those that have keys go on."""
        looking, finish = threading.Event(), threading.Event()

        class SlowSource(FileSource):
            slow = False

            def stamp(self) -> object:
                if self.slow:
                    looking.set()
                    assert finish.wait(10)
                return super().stamp()

        source = SlowSource(key_path, allow_group_read=False)
        ring = Keyring(source, clock)
        loaded = ring.current()
        source.slow = True
        clock.now += 1
        thread = threading.Thread(target=ring.current)
        thread.start()
        assert looking.wait(10)
        clock.now += 1
        assert ring.current() is loaded
        finish.set()
        thread.join()


class TestBadChange:
    """A change that can't be used."""

    @pytest.mark.parametrize("kind", ["gone", "damaged", "open to all"])
    def test_loaded_keys_stay(
        self,
        configure: Configure,
        key_path: Path,
        clock: Any,
        caplog: pytest.LogCaptureFixture,
        kind: str,
    ) -> None:
        """They stay in use, the log says so once, check says it is an error."""
        provider = configure(clock, keyFile=key_path)
        value = as_value(provider.keyhinge_encrypt(b"x", {}))
        text = key_path.read_text()
        if kind == "gone":
            key_path.unlink()
        elif kind == "damaged":
            key_path.write_text(text[:100])
        else:
            key_path.chmod(0o666)
        for _ in range(3):
            clock.now += 1
            assert provider.keyhinge_decrypt(value, {}) == b"x"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert str(key_path) in caplog.text
        assert not provider.keyhinge_check().ok
        key_path.write_text(text)
        key_path.chmod(0o600)
        clock.now += 1
        assert provider.keyhinge_decrypt(value, {}) == b"x"
        assert provider.keyhinge_check().ok
        assert len(caplog.records) == 1

    def test_another_key_set(self, configure: Configure, key_path: Path, clock: Any) -> None:
        """A file with another id is what the operator wants: old values need the old file."""
        provider = configure(clock, keyFile=key_path)
        value = as_value(provider.keyhinge_encrypt(b"x", {}))
        key_path.unlink()
        other = keyfile.init(key_path)
        clock.now += 1
        assert provider.keyhinge_current_key().key_id == other.key_id
        with pytest.raises(KeyUnavailableError, match=value.key_id):
            provider.keyhinge_decrypt(value, {})

    def test_older_copy(self, configure: Configure, key_path: Path, clock: Any) -> None:
        """An older copy put back: what it doesn't know is named."""
        provider = configure(clock, keyFile=key_path)
        old_text = key_path.read_text()
        keyfile.rotate(key_path, activate=True)
        value = as_value(provider.keyhinge_encrypt(b"x", {}))
        key_path.write_text(old_text)
        clock.now += 1
        with pytest.raises(KeyUnavailableError, match="older copy of the file"):
            provider.keyhinge_decrypt(value, {})


class TestExchangedFile:
    """A valid file in the place of another one: it counts, and the log says what is lost."""

    def test_another_key_set(
        self,
        configure: Configure,
        key_path: Path,
        clock: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        provider = configure(clock, keyFile=key_path)
        value = as_value(provider.keyhinge_encrypt(b"x", {}))
        keyfile.init(key_path.with_name("other.key"))
        key_path.with_name("other.key").replace(key_path)
        clock.now += 2
        assert provider.keyhinge_encrypt(b"x", {}).key_id != value.key_id
        [record] = caplog.records
        assert value.key_id in record.getMessage()
        assert value.version in record.getMessage()
        with pytest.raises(KeyUnavailableError):
            provider.keyhinge_decrypt(value, {})

    def test_an_older_copy(
        self,
        configure: Configure,
        key_path: Path,
        clock: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        old = key_path.read_bytes()
        newest = keyfile.rotate(key_path, activate=True).active
        provider = configure(clock, keyFile=key_path)
        provider.keyhinge_encrypt(b"x", {})
        key_path.write_bytes(old)
        clock.now += 2
        provider.keyhinge_encrypt(b"x", {})
        [record] = caplog.records
        assert newest in record.getMessage()

    def test_more_versions_are_no_reason_to_warn(
        self,
        configure: Configure,
        key_path: Path,
        clock: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        provider = configure(clock, keyFile=key_path)
        provider.keyhinge_encrypt(b"x", {})
        keyfile.rotate(key_path, activate=True)
        clock.now += 2
        provider.keyhinge_encrypt(b"x", {})
        assert caplog.records == []
