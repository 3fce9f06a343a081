"""The conformance tests: what every provider must do, chosen by its declared capabilities."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from keyhinge import (
    Capabilities,
    CheckReport,
    ClosedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidPlaintextError,
    KeyManager,
    KeyUnavailableError,
    OperationError,
)
from keyhinge._contract import check_module
from keyhinge.testing._support import in_fork, in_threads, opened, reachable_text

__all__ = ["ProviderConformance"]

CONTEXT = {"account": "acct_1", "secret": "sec_1"}
MARKER = b"k3yh1nge-conformance-plaintext"
# Every position of the first and last bytes is tried; of longer ciphertexts, this many between.
POSITIONS = 200
THREADS = 32
# A value that doesn't open is one of these: which one depends on what the service can tell.
REFUSED = (InvalidCiphertextError, KeyUnavailableError)


class ProviderConformance:
    """Subclass this, name your provider's module, give two settings; inherit all tests.

    ```python
    class TestMine(ProviderConformance):
        provider = keyhinge_mine

        def settings(self): return {"keyFile": str(self.tmp / "one.key")}
        def other_settings(self): return {"keyFile": str(self.tmp / "other.key")}
    ```

    Fixtures are pytest's own: an autouse fixture of the subclass can prepare a service.
    """

    provider: Any
    """The module that the entry point names."""

    def settings(self) -> Mapping[str, Any]:
        """Give the section's block as in the YAML file."""
        raise NotImplementedError

    def other_settings(self) -> Mapping[str, Any]:
        """Give another block, with a key of its own: values of one mustn't open in the other."""
        raise NotImplementedError

    @pytest.fixture
    def keys(self) -> Iterator[KeyManager]:
        """Open the sections `one`, `twin` (equal settings) and `stranger` (other settings)."""
        with opened(self.provider, self.settings(), self.other_settings()) as keys:
            yield keys

    @pytest.fixture
    def capabilities(self, keys: KeyManager) -> Capabilities:
        """Give what the provider declares."""
        return keys.capabilities()

    @pytest.fixture
    def plaintext(self, capabilities: Capabilities) -> bytes:
        """Give a plaintext that the provider takes and that is easy to find again."""
        return MARKER.ljust(capabilities.min_plaintext, b".")[: capabilities.max_plaintext]

    # The module

    def test_module_implements_the_hook_api(self) -> None:
        """The module has `keyhinge_configure`, marked and with the specified arguments."""
        assert check_module(self.provider) is None

    def test_configure_is_pure_and_repeatable(self, keys: KeyManager) -> None:
        """Configuring the same settings once more gives a provider that works as well."""
        with keys.clone() as again:
            value = keys.encrypt(MARKER, context={})
            assert again.decrypt(value, context={}) == MARKER

    # One value

    @pytest.mark.parametrize(
        "plaintext",
        [b"", b"x", "pässwörd – 密码".encode(), bytes(range(256)), b"\0" * 100, b"kh1:one:::eA=="],
        ids=["empty", "one byte", "unicode", "binary", "zeros", "looks like a value"],
    )
    def test_round_trip(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """What was encrypted decrypts to the same bytes, through both encodings."""
        if len(plaintext) < capabilities.min_plaintext:
            with pytest.raises(InvalidPlaintextError):
                keys.encrypt(plaintext, context={})
            return
        value = keys.encrypt(plaintext, context={})
        assert keys.decrypt(EncryptedValue.from_text(value.to_text()), context={}) == plaintext
        assert keys.decrypt(EncryptedValue.from_bytes(value.to_bytes()), context={}) == plaintext

    def test_size_limits(self, keys: KeyManager, capabilities: Capabilities) -> None:
        """The declared largest size works, one byte more is refused; a megabyte if no limit."""
        limit = capabilities.max_plaintext
        largest = os.urandom(1024 * 1024 if limit is None else limit)
        value = keys.encrypt(largest, context=self._context(capabilities))
        assert keys.decrypt(value, context=self._context(capabilities)) == largest
        if limit is not None:
            with pytest.raises(InvalidPlaintextError):
                keys.encrypt(largest + b"x", context={})

    def test_plaintext_does_not_show(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A provider that encrypts doesn't leave the plaintext in the ciphertext."""
        value = keys.encrypt(plaintext, context={})
        assert (plaintext in value.ciphertext) is not capabilities.encrypts

    def test_equal_plaintexts_differ(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Encrypting the same thing often gives another ciphertext each time."""
        made = {keys.encrypt(plaintext, context={}).ciphertext for _ in range(20)}
        assert len(made) == (20 if capabilities.encrypts else 1)

    # The context

    def test_value_opens_only_under_its_context(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Another context, a part of it, more than it, or none doesn't open a value."""
        if not capabilities.binds_context:
            pytest.skip("the provider declares that it doesn't bind a context")
        value = keys.encrypt(plaintext, context=CONTEXT)
        assert keys.decrypt(value, context=dict(reversed(CONTEXT.items()))) == plaintext
        for wrong in (
            {},
            {"account": "acct_1"},
            {**CONTEXT, "account": "acct_2"},
            {**CONTEXT, "more": "x"},
            {"account": "acct_1secret", "secret": "sec_1"},
            {"account": "sec_1", "secret": "acct_1"},
        ):
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(value, context=wrong)

    def test_unbound_context_is_not_ignored(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Encrypting without binding a context that was given is refused, never done silently."""
        if capabilities.binds_context or not capabilities.encrypts:
            pytest.skip("only for providers that encrypt and can't bind a context")
        with pytest.raises(OperationError):
            keys.encrypt(plaintext, context=CONTEXT)

    def test_context_uses_all_its_room(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """The largest context that the rules allow works, also with other alphabets."""
        if not capabilities.binds_context:
            pytest.skip("the provider declares that it doesn't bind a context")
        for context in (
            {f"k{number}": "v" * 250 for number in range(16)},
            {"k": "ü" * 512},
            {"name": "密码 – a b"},
        ):
            value = keys.encrypt(plaintext, context=context)
            assert keys.decrypt(value, context=context) == plaintext

    # Hostile values

    def test_changed_bytes_are_refused(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A change of any single byte of the ciphertext is found out."""
        if not capabilities.encrypts:
            pytest.skip("a provider that doesn't encrypt can't find out changes")
        value = keys.encrypt(plaintext, context=self._context(capabilities))
        for position in _positions(len(value.ciphertext)):
            changed = bytearray(value.ciphertext)
            changed[position] ^= 1 << (position % 8)
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(
                    _with(value, ciphertext=bytes(changed)), context=self._context(capabilities)
                )

    def test_cut_and_lengthened_values_are_refused(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A ciphertext that is cut short, lengthened or made up is refused."""
        if not capabilities.encrypts:
            pytest.skip("a provider that doesn't encrypt can't find out changes")
        context = self._context(capabilities)
        value = keys.encrypt(plaintext, context=context)
        whole = value.ciphertext
        for made_up in (
            whole[:-1],
            whole[1:],
            whole[: len(whole) // 2],
            whole[:1],
            whole + b"\0",
            b"\0" + whole,
            whole + whole,
            b"x",
            b"\0" * len(whole),
            os.urandom(len(whole)),
        ):
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(_with(value, ciphertext=made_up), context=context)

    def test_changed_labels_never_give_other_bytes(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """With another key id or version a value is refused, or opens to the same plaintext."""
        if not capabilities.encrypts:
            pytest.skip("a provider that doesn't encrypt has no keys")
        context = self._context(capabilities)
        value = keys.encrypt(plaintext, context=context)
        forgeries = [_with(value, key_id=key) for key in ("", "x", "../x", value.key_id + "x")]
        forgeries += [_with(value, version=v) for v in ("", "0", "99", "1.deadbeef", "-1")]
        for forged in forgeries:
            try:
                opened_bytes = keys.decrypt(forged, context=context)
            except REFUSED:
                continue
            assert opened_bytes == plaintext

    def test_sections_with_equal_settings_open_each_others_values(
        self, keys: KeyManager, plaintext: bytes
    ) -> None:
        """A section has no state of its own that its values depend on."""
        value = keys.encrypt(plaintext, context={})
        assert keys.decrypt(_with(value, section="twin"), context={}) == plaintext

    def test_a_strangers_key_opens_nothing(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A value doesn't open in a section with another key, whatever its labels say."""
        if not capabilities.encrypts:
            pytest.skip("a provider that doesn't encrypt has no keys")
        value = keys.encrypt(plaintext, context={})
        theirs = keys.encrypt(plaintext, context={}, section="stranger")
        for forged in (
            _with(value, section="stranger"),
            _with(value, section="stranger", key_id=theirs.key_id, version=theirs.version),
            _with(theirs, section="one"),
            _with(theirs, section="one", key_id=value.key_id, version=value.version),
        ):
            with pytest.raises(REFUSED):
                keys.decrypt(forged, context={})

    # Batches

    def test_batches_keep_order_and_fail_item_by_item(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Each item of a batch has its own answer, in order; one bad item fails alone."""
        context = self._context(capabilities)
        plaintexts = [plaintext[:-2].ljust(2, b".") + b"%02d" % n for n in range(20)]
        outcomes = keys.encrypt_many([Encrypt(p, context) for p in plaintexts])
        items = [Decrypt(outcome.value, context) for outcome in outcomes]
        assert [outcome.value for outcome in keys.decrypt_many(items)] == plaintexts
        items[7] = Decrypt(_with(items[7].value, ciphertext=b"\x01bad"), context)
        again = keys.decrypt_many(items)
        assert [n for n, outcome in enumerate(again) if outcome.error] == [7]
        assert isinstance(again[7].error, InvalidCiphertextError)
        assert again[8].value == plaintexts[8]
        assert keys.encrypt_many([]) == []
        assert keys.decrypt_many([]) == []

    def test_rewrap_gives_the_same_plaintext_under_the_current_key(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Rewrapped values open as before and are under what `current_key` tells."""
        context = self._context(capabilities)
        values = [keys.encrypt(plaintext, context=context) for _ in range(3)]
        again = [out.value for out in keys.rewrap_many([Decrypt(v, context) for v in values])]
        again.append(keys.rewrap(values[0], context=context))
        current = keys.current_key()
        for value in again:
            assert keys.decrypt(value, context=context) == plaintext
            assert (value.key_id, value.version or current.version) == (
                current.key_id,
                current.version,
            )

    # Telling

    def test_current_key_is_what_encrypts(self, keys: KeyManager, plaintext: bytes) -> None:
        """`current_key` tells the key id and version that a new value really gets."""
        value = keys.encrypt(plaintext, context={})
        current = keys.current_key()
        assert value.key_id == current.key_id
        assert value.version in {"", current.version}

    def test_check_reports(self, keys: KeyManager, capabilities: Capabilities) -> None:
        """`check` gives findings, without an error where all is well."""
        report = keys.check()
        assert isinstance(report, CheckReport)
        assert report.ok, [finding for finding in report.findings if finding.level == "error"]
        codes = {finding.code for finding in report.findings}
        assert ("not-encrypted" in codes) is not capabilities.encrypts

    # Living together

    def test_many_threads(self, keys: KeyManager, capabilities: Capabilities) -> None:
        """Threads that begin together get their own plaintexts back."""
        context = self._context(capabilities)

        def work(number: int) -> None:
            mine = MARKER + b"%d" % number
            for _ in range(3):
                assert keys.decrypt(keys.encrypt(mine, context=context), context=context) == mine

        assert in_threads(THREADS, work) == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
    def test_forked_child(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A forked child encrypts and decrypts, and its parent goes on."""
        context = self._context(capabilities)
        value = keys.encrypt(plaintext, context=context)

        def child() -> bytes:
            assert keys.decrypt(value, context=context) == plaintext
            return keys.encrypt(plaintext, context=context).to_bytes()

        made = EncryptedValue.from_bytes(in_fork(child))
        assert keys.decrypt(made, context=context) == plaintext
        assert keys.decrypt(value, context=context) == plaintext

    def test_close(self, keys: KeyManager, plaintext: bytes) -> None:
        """Closing twice is fine, and nothing works afterwards."""
        value = keys.encrypt(plaintext, context={})
        keys.close()
        keys.close()
        with pytest.raises(ClosedError):
            keys.encrypt(plaintext, context={})
        with pytest.raises(ClosedError):
            keys.decrypt(value, context={})

    def test_provider_closes_twice(self) -> None:
        """The provider's own close can be called again, also before its first use."""
        with opened(self.provider, self.settings(), self.other_settings()) as keys:
            section = keys._section(None)  # noqa: SLF001 - the kit belongs to core
            close = section.hooks.get("keyhinge_close", lambda: None)
            close()
            close()

    # Keeping secrets

    def test_errors_show_no_secret(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """No error chains another one, and none shows a plaintext, a ciphertext or a setting."""
        context = self._context(capabilities)
        value = keys.encrypt(plaintext, context=context)
        bad = [
            _with(value, ciphertext=b"\x01bad"),
            _with(value, section="stranger"),
            _with(value, key_id="other"),
        ]
        outcomes = keys.decrypt_many([Decrypt(changed, context) for changed in bad])
        failures = [outcome.error for outcome in outcomes if outcome.error is not None]
        with pytest.raises(InvalidCiphertextError) as raised:
            keys.decrypt(bad[0], context=context)
        for failure in (*failures, raised.value):
            assert failure.__cause__ is None
            assert failure.__context__ is None
            shown = reachable_text(failure)
            assert plaintext.decode() not in shown
            assert value.to_text().rpartition(":")[2] not in shown

    def test_repr_and_pickle_show_no_secret(self, keys: KeyManager) -> None:
        """The provider can't be pickled, and its repr is short and bare."""
        section = keys._section(None)  # noqa: SLF001 - the kit belongs to core
        provider = section.encrypt.__self__  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            provider.__reduce_ex__(4)
        for secret in _strings(self.settings()):
            if len(secret) >= 8 and "/" not in secret and "\\" not in secret:
                assert secret not in repr(provider)

    def _context(self, capabilities: Capabilities) -> dict[str, str]:
        return CONTEXT if capabilities.binds_context or not capabilities.encrypts else {}


def _with(value: EncryptedValue, **changes: Any) -> EncryptedValue:
    parts = {
        "section": value.section,
        "key_id": value.key_id,
        "version": value.version,
        "ciphertext": value.ciphertext,
    }
    return EncryptedValue(**{**parts, **changes})


def _positions(length: int) -> list[int]:
    if length <= POSITIONS:
        return list(range(length))
    step = max(1, (length - 64) // (POSITIONS - 64))
    return [*range(32), *range(32, length - 32, step), *range(length - 32, length)]


def _strings(block: Mapping[str, Any]) -> list[str]:
    return [value for value in block.values() if isinstance(value, str)]
