"""The hooks of the `local` provider."""

from __future__ import annotations

import copy
import json
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyhinge import (
    ClosedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    Sealed,
    UnavailableError,
    encode_context,
)
from keyhinge_local import LocalProvider, keyfile

Configure = Callable[..., LocalProvider]
ROW = {"table": "secrets", "account_id": "acct_1", "secret_id": "sec_1"}


def as_value(sealed: Sealed) -> EncryptedValue:
    """What core makes of a provider's answer."""
    return EncryptedValue("local", sealed.key_id, sealed.version, sealed.ciphertext)


def changed(value: EncryptedValue, **parts: Any) -> EncryptedValue:
    """The value with other parts."""
    known = {name: getattr(value, name) for name in ("section", "key_id", "version", "ciphertext")}
    return EncryptedValue(**(known | parts))


@pytest.fixture
def value(provider: LocalProvider) -> EncryptedValue:
    """A value of the provider, bound to a row."""
    return as_value(provider.keyhinge_encrypt(b"access-token", ROW))


class TestValues:
    """One value."""

    @pytest.mark.parametrize(
        "plaintext",
        [b"", b"x", "\u00fc\U0001f511".encode(), bytes(range(256)), b"a" * 100_000, bytes(1 << 20)],
    )
    def test_round_trip(self, provider: LocalProvider, key_path: Path, plaintext: bytes) -> None:
        """What goes in comes out, with the key's labels on it."""
        sealed = provider.keyhinge_encrypt(plaintext, ROW)
        info = keyfile.show(key_path)
        assert (sealed.key_id, sealed.version) == (info.key_id, info.active)
        assert len(sealed.ciphertext) == 1 + 24 + len(plaintext) + 16
        assert provider.keyhinge_decrypt(as_value(sealed), ROW) == plaintext

    def test_never_the_same(self, provider: LocalProvider) -> None:
        """Equal values don't look equal."""
        made = {provider.keyhinge_encrypt(b"x", ROW).ciphertext for _ in range(100)}
        assert len({ciphertext[1:25] for ciphertext in made}) == 100

    def test_every_changed_bit(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """Whatever bit of the ciphertext changes, it is refused with the one message."""
        for at in range(len(value.ciphertext)):
            for bit in range(8):
                ciphertext = bytearray(value.ciphertext)
                ciphertext[at] ^= 1 << bit
                with pytest.raises(InvalidCiphertextError) as caught:
                    provider.keyhinge_decrypt(changed(value, ciphertext=bytes(ciphertext)), ROW)
                assert str(caught.value) == InvalidCiphertextError.MESSAGE
                assert caught.value.__cause__ is None
                assert caught.value.__context__ is None

    def test_every_length(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """Cut anywhere, at either end, or longer, it is refused."""
        whole = value.ciphertext
        others = [whole[:at] for at in range(1, len(whole))]
        others += [whole[at:] for at in range(1, len(whole))]
        others += [whole + b"\0", b"\1" + whole, whole + whole]
        for ciphertext in others:
            with pytest.raises(InvalidCiphertextError):
                provider.keyhinge_decrypt(changed(value, ciphertext=ciphertext), ROW)

    @pytest.mark.parametrize(
        "context",
        [
            {},
            ROW | {"secret_id": "sec_2"},
            ROW | {"account_id": "acct_2"},
            ROW | {"table": "other"},
            ROW | {"more": "x"},
            {key: value for key, value in ROW.items() if key != "table"},
            {"table": "secretsaccount_id", "account_id": "acct_1", "secret_id": "sec_1"},
        ],
    )
    def test_another_context(
        self, provider: LocalProvider, value: EncryptedValue, context: dict[str, str]
    ) -> None:
        """A value of one row doesn't open in another."""
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value, context)

    def test_order_of_context(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """The order of a mapping is no part of it."""
        assert provider.keyhinge_decrypt(value, dict(reversed(ROW.items()))) == b"access-token"


class TestLabels:
    """Key id and version: compared, authenticated, never tried."""

    def test_key_of_another_file(
        self, provider: LocalProvider, configure: Configure, tmp_path: Path, value: EncryptedValue
    ) -> None:
        """Another key set says which one is needed."""
        other_id = keyfile.init(tmp_path / "other.key").key_id
        other = configure(keyFile=tmp_path / "other.key")
        with pytest.raises(KeyUnavailableError, match=f"{value.key_id}.*{other_id}") as caught:
            other.keyhinge_decrypt(value, ROW)
        assert not caught.value.retryable

    def test_same_labels_another_key(
        self, provider: LocalProvider, configure: Configure, tmp_path: Path, value: EncryptedValue
    ) -> None:
        """A key set that borrows the id doesn't open the value."""
        text = (tmp_path / "keyhinge.key").read_text()
        keyfile.init(tmp_path / "other.key")
        other_text = (tmp_path / "other.key").read_text()
        own, foreign = json.loads(text), json.loads(other_text)
        (tmp_path / "other.key").write_text(json.dumps(foreign | {"id": own["id"]}))
        other = configure(keyFile=tmp_path / "other.key")
        with pytest.raises(KeyUnavailableError, match="rotated apart"):
            other.keyhinge_decrypt(value, ROW)
        label = other.keyhinge_current_key().version
        with pytest.raises(InvalidCiphertextError):
            other.keyhinge_decrypt(changed(value, version=label), ROW)

    def test_exchanged_version(self, provider: LocalProvider, key_path: Path) -> None:
        """A version of the same set in place of the right one: refused, not tried."""
        old = as_value(provider.keyhinge_encrypt(b"x", ROW))
        newer = keyfile.rotate(key_path).versions[1].label
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(changed(old, version=newer), ROW)

    @pytest.mark.parametrize("version", ["2.00000000", "1.00000000", "999999.abcdef01"])
    def test_unknown_version(
        self, provider: LocalProvider, value: EncryptedValue, version: str
    ) -> None:
        """A version that isn't there is named."""
        with pytest.raises(KeyUnavailableError, match="the value was encrypted with version"):
            provider.keyhinge_decrypt(changed(value, version=version), ROW)

    @pytest.mark.parametrize("key_id", ["x", "ks-0", "a" * 64])
    def test_unknown_key_id(
        self, provider: LocalProvider, value: EncryptedValue, key_id: str
    ) -> None:
        """So is a key set."""
        with pytest.raises(KeyUnavailableError, match=f"'{key_id}'.*needs the key file"):
            provider.keyhinge_decrypt(changed(value, key_id=key_id), ROW)

    @pytest.mark.parametrize(
        "labels",
        [{"version": v} for v in ("", "1", "1.", "01.00000000", "1.ABCDEF01", "9" * 64)]
        + [{"key_id": key_id} for key_id in ("", "a:b", "../x", "~" * 512, "a" * 65)],
    )
    def test_impossible_labels(
        self, provider: LocalProvider, value: EncryptedValue, labels: dict[str, str]
    ) -> None:
        """What no key file ever had is a changed value, not a missing key."""
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(changed(value, **labels), ROW)

    def test_versions_authenticated(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """Even with the right key, other labels don't open a value."""
        from keyhinge_local._sealing import Sealer

        (version,) = provider._keyring.current().key_set.versions
        right = Sealer(value.key_id, value.version, version.key)
        assert right.open(value.ciphertext, ROW) == b"access-token"
        for key_id, label in [("other", value.version), (value.key_id, "1")]:
            with pytest.raises(InvalidCiphertextError):
                Sealer(key_id, label, version.key).open(value.ciphertext, ROW)


class TestBatches:
    """Many values at once."""

    def test_round_trip(self, provider: LocalProvider) -> None:
        """Results come in the items' order."""
        items = [Encrypt(b"%d" % number, {"row": str(number)}) for number in range(50)]
        sealed = provider.keyhinge_encrypt_many(items)
        values = [as_value(one) for one in sealed if isinstance(one, Sealed)]
        opened = provider.keyhinge_decrypt_many(
            [Decrypt(value, item.context) for value, item in zip(values, items, strict=True)]
        )
        assert opened == [item.plaintext for item in items]

    def test_bad_items(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """A bad item fails alone."""
        items = [
            Decrypt(value, ROW),
            Decrypt(value, {}),
            Decrypt(changed(value, key_id="other"), ROW),
            Decrypt(changed(value, version="other"), ROW),
            Decrypt(changed(value, version="7.00000000"), ROW),
            Decrypt(changed(value, ciphertext=b"\1"), ROW),
            Decrypt(value, ROW),
        ]
        kinds = [InvalidCiphertextError, KeyUnavailableError]
        expected = [bytes, kinds[0], kinds[1], kinds[0], kinds[1], kinds[0], bytes]
        assert [type(one) for one in provider.keyhinge_decrypt_many(items)] == expected
        rewrapped = provider.keyhinge_rewrap_many(items)
        expected = [Sealed if kind is bytes else kind for kind in expected]
        assert [type(one) for one in rewrapped] == expected

    def test_bad_context(self, provider: LocalProvider) -> None:
        """So does one that can't be encrypted."""
        good, bad = provider.keyhinge_encrypt_many([Encrypt(b"x", {}), Encrypt(b"x", {"": "x"})])
        assert isinstance(good, Sealed)
        assert isinstance(bad, OperationError)

    def test_rewrap(self, provider: LocalProvider, key_path: Path, value: EncryptedValue) -> None:
        """Values come under the version that encrypts, bound to the same context."""
        info = keyfile.rotate(key_path, activate=True)
        provider._keyring._next_look = 0
        (sealed,) = provider.keyhinge_rewrap_many([Decrypt(value, ROW)])
        assert isinstance(sealed, Sealed)
        assert sealed.version == info.active
        assert provider.keyhinge_decrypt(as_value(sealed), ROW) == b"access-token"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(as_value(sealed), {})

    def test_empty(self, provider: LocalProvider) -> None:
        """No items, no results."""
        assert list(provider.keyhinge_encrypt_many([])) == []
        assert list(provider.keyhinge_decrypt_many([])) == []
        assert list(provider.keyhinge_rewrap_many([])) == []


class TestNowait:
    """For callers in an event loop."""

    def test_first_use_is_io(self, provider: LocalProvider) -> None:
        """Nothing is loaded yet: None, and nothing happens."""
        assert provider.keyhinge_encrypt_nowait(b"x", ROW) is None
        assert provider._keyring._loaded is None

    def test_at_hand(
        self, configure: Configure, key_path: Path, clock: Any, tmp_path: Path
    ) -> None:
        """What is loaded is used at once, until it is time to look at the file."""
        provider = configure(clock, keyFile=key_path)
        value = as_value(provider.keyhinge_encrypt(b"x", ROW))
        sealed = provider.keyhinge_encrypt_nowait(b"y", ROW)
        assert sealed is not None
        assert provider.keyhinge_decrypt_nowait(as_value(sealed), ROW) == b"y"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt_nowait(value, {})
        clock.now += 1
        assert provider.keyhinge_encrypt_nowait(b"y", ROW) is None
        assert provider.keyhinge_decrypt_nowait(value, ROW) is None

    def test_unknown_key(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """A key that isn't known needs a look at the file."""
        other = changed(value, version="2.00000000")
        assert provider.keyhinge_decrypt_nowait(other, ROW) is None

    def test_large(self, provider: LocalProvider) -> None:
        """What takes long is left to a thread."""
        large = bytes(300_000)
        value = as_value(provider.keyhinge_encrypt(large, ROW))
        assert provider.keyhinge_encrypt_nowait(large, ROW) is None
        assert provider.keyhinge_decrypt_nowait(value, ROW) is None


class TestThreadsAndProcesses:
    """Used from everywhere at once."""

    def test_threads(self, provider: LocalProvider, key_path: Path) -> None:
        """32 threads that start together, while the file is rotated."""
        start, failures = threading.Barrier(33), []

        def work(number: int) -> None:
            start.wait()
            try:
                for turn in range(100):
                    plaintext, context = b"%d %d" % (number, turn), {"thread": str(number)}
                    value = as_value(provider.keyhinge_encrypt(plaintext, context))
                    assert provider.keyhinge_decrypt(value, context) == plaintext
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        start.wait()
        for _ in range(5):
            keyfile.rotate(key_path, activate=True)
            provider._keyring._next_look = 0
        for thread in threads:
            thread.join()
        assert failures == []

    def test_fork(self, provider: LocalProvider) -> None:
        """Children don't repeat their parent's nonces, and open each other's values."""
        provider.keyhinge_encrypt(b"warm", ROW)
        values = []
        for _ in range(4):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    made = [as_value(provider.keyhinge_encrypt(b"x", ROW)) for _ in range(20)]
                    os.write(writing, pickle.dumps(made))
                finally:
                    os._exit(0)
            os.close(writing)
            with os.fdopen(reading, "rb") as pipe:
                values += pickle.loads(pipe.read())
            os.waitpid(child, 0)
        values += [as_value(provider.keyhinge_encrypt(b"x", ROW)) for _ in range(20)]
        assert len({value.ciphertext[1:25] for value in values}) == 100
        assert {provider.keyhinge_decrypt(value, ROW) for value in values} == {b"x"}

    def test_close(self, provider: LocalProvider, value: EncryptedValue) -> None:
        """Closing twice is fine; using it afterwards isn't; the keys are gone."""
        provider.keyhinge_close()
        provider.keyhinge_close()
        assert provider._keyring._loaded is None
        assert provider.keyhinge_encrypt_nowait(b"x", ROW) is None
        with pytest.raises(ClosedError):
            provider.keyhinge_encrypt(b"x", ROW)
        with pytest.raises(ClosedError):
            provider.keyhinge_decrypt(value, ROW)


class TestUnusableFile:
    """A file that can't be loaded is an error of the operation, and it gets well by itself."""

    def test_missing(self, configure: Configure, tmp_path: Path) -> None:
        """The path and what to do are in the message."""
        path = tmp_path / "a.key"
        provider = configure(keyFile=path)
        with pytest.raises(KeyUnavailableError, match=r"a\.key.*keyhinge local init") as caught:
            provider.keyhinge_encrypt(b"x", ROW)
        assert caught.value.failure is not None
        assert caught.value.failure.code == "missing"
        assert caught.value.__context__ is None
        keyfile.init(path)
        assert provider.keyhinge_encrypt(b"x", ROW).ciphertext

    def test_malformed(self, configure: Configure, key_path: Path) -> None:
        """A damaged file is named with its reason."""
        text = key_path.read_text()
        key_path.write_text(text[:-9])
        provider = configure(keyFile=key_path)
        with pytest.raises(KeyUnavailableError, match=r"keyhinge\.key: not a valid key file"):
            provider.keyhinge_encrypt_many([])
        key_path.write_text(text)
        assert provider.keyhinge_encrypt(b"x", ROW).ciphertext

    def test_io(self, configure: Configure, tmp_path: Path) -> None:
        """What the operating system can't do now may work later."""
        (tmp_path / "a").symlink_to("a")
        with pytest.raises(UnavailableError) as caught:
            configure(keyFile=tmp_path / "a").keyhinge_current_key()
        assert caught.value.retryable

    def test_relative_path(self, configure: Configure, key_path: Path) -> None:
        """Relative paths start at the configuration's folder."""
        assert configure(keyFile=Path("keyhinge.key")).keyhinge_encrypt(b"x", ROW).ciphertext


class TestLeaks:
    """Keys show up nowhere."""

    def test_objects(self, provider: LocalProvider, key_path: Path, value: EncryptedValue) -> None:
        """No repr shows a key, and nothing that holds one can be copied or pickled."""
        loaded = provider._keyring.current()
        (version,) = loaded.key_set.versions
        holders: list[Any] = [
            provider,
            provider._keyring,
            loaded,
            loaded.key_set,
            version,
            loaded.active,
            loaded.active._cipher,
            loaded.active._cipher._blocks,
        ]
        text = json.loads(key_path.read_text())["versions"][0]["key"]
        for holder in holders:
            for shown in (repr(holder), str(holder), f"{holder}"):
                assert text not in shown
                assert repr(version.key)[2:-1] not in shown
                assert version.key.hex() not in shown
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError):
                    pickle.dumps(holder, protocol)
            with pytest.raises(TypeError):
                copy.copy(holder)
            with pytest.raises(TypeError):
                copy.deepcopy(holder)

    def test_report_and_log(
        self,
        configure: Configure,
        key_path: Path,
        clock: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Neither a report nor a log record holds a part of a key."""
        provider = configure(clock, keyFile=key_path)
        key = json.loads(key_path.read_text())["versions"][0]["key"]
        seen = repr(provider.keyhinge_check()) + repr(provider.keyhinge_current_key())
        key_path.write_text(key_path.read_text().replace("created", "made"))
        clock.now += 1
        provider.keyhinge_encrypt(b"x", ROW)
        seen += caplog.text + repr([vars(record) for record in caplog.records])
        assert "keys that were loaded before stay in use" in seen
        assert not any(key[at : at + 8] in seen for at in range(len(key) - 8))


def test_context_is_encoded_once(provider: LocalProvider) -> None:
    """A context that core froze is not encoded again."""
    from keyhinge._context import check_context

    frozen = check_context(ROW)
    value = as_value(provider.keyhinge_encrypt(b"x", frozen))
    assert encode_context(frozen) is frozen.encoded
    assert provider.keyhinge_decrypt(value, ROW) == b"x"
