"""Cases about one value and its context."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os

from keyhinge import (
    Capabilities,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidPlaintextError,
    KeyManager,
    Sealed,
)
from keyhinge._context import check_context
from keyhinge.testing._base import BATCH_HOOKS, CONTEXT, TWIN, Bench
from keyhinge.testing._case import checks, expect, refused

__all__ = ["ContextCases", "ValueCases"]

PLAINTEXTS = {
    "an empty plaintext": b"",
    "one byte": b"x",
    "a plaintext in Unicode": "pässwörd – 密码".encode(),
    "all bytes from 0 to 255": bytes(range(256)),
    "a hundred zeros": b"\0" * 100,
    "a plaintext that looks like a value": b"kh1:one:::eA==",
}
UNBOUND = "the provider declares that it doesn't bind a context"
UNENCRYPTED = "the provider declares that it doesn't encrypt"
ENOUGH = 20
LARGEST = 1024 * 1024


class ValueCases(Bench):
    """What is encrypted comes back, and nothing of it shows."""

    @checks("R6")
    def test_round_trip(self, keys: KeyManager, capabilities: Capabilities) -> None:
        """What was encrypted decrypts to the same bytes, through both encodings."""
        low, high = capabilities.min_plaintext, capabilities.max_plaintext
        for what, plaintext in PLAINTEXTS.items():
            if len(plaintext) < low or (high is not None and len(plaintext) > high):
                continue
            value = keys.encrypt(plaintext, context={})
            for copy in (
                EncryptedValue.from_text(value.to_text()),
                EncryptedValue.from_bytes(value.to_bytes()),
            ):
                expect(keys.decrypt(copy, context={}) == plaintext, f"{what} comes back changed")

    @checks("R6")
    def test_size_limits(self, keys: KeyManager, capabilities: Capabilities) -> None:
        """The declared sizes work, one byte more or less is refused; a megabyte if no limit."""
        context = self._context(keys)
        high, low = capabilities.max_plaintext, capabilities.min_plaintext
        for size in {LARGEST if high is None else high, low}:
            plaintext = os.urandom(size)
            opened = keys.decrypt(keys.encrypt(plaintext, context=context), context=context)
            expect(opened == plaintext, f"{size} bytes come back changed")
        for size in ({high + 1} if high is not None else set()) | ({low - 1} if low else set()):
            refused(
                lambda size=size: keys.encrypt(b"x" * size, context=context),  # type: ignore[misc]
                InvalidPlaintextError,
                f"{size} bytes are taken against the declared limits",
            )

    @checks("R7")
    def test_hooks_return_what_they_promise(self, keys: KeyManager, plaintext: bytes) -> None:
        """Encrypting gives a `Sealed` with something in it, decrypting gives bytes."""
        section = self._section(keys)
        context = check_context(self._context(keys))
        sealed: object = section.encrypt(plaintext, context)
        expect(type(sealed) is Sealed, f"encrypting gave {type(sealed).__name__}, not Sealed")
        value = section.label(section.encrypt(plaintext, context))
        opened: object = section.decrypt(value, context)
        expect(type(opened) is bytes, f"decrypting gave {type(opened).__name__}, not bytes")
        for name in BATCH_HOOKS:
            if name in section.hooks:
                encrypts = name == "keyhinge_encrypt_many"
                item = Encrypt(plaintext, context) if encrypts else Decrypt(value, context)
                answers = list(section.hooks[name]([item]))
                expect(len(answers) == 1, f"{name} gave {len(answers)} answers to one item")
        section.current_key()
        section.provider_check()
        section.counters()

    @checks("R8")
    def test_plaintext_does_not_show(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A provider that encrypts doesn't leave the plaintext in the ciphertext."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        self._only(len(plaintext) > 3, "so few bytes show by chance")
        ciphertext = keys.encrypt(plaintext, context={}).ciphertext
        for form in (
            plaintext,
            plaintext[::-1],
            plaintext.hex().encode(),
            base64.b64encode(plaintext).rstrip(b"="),
        ):
            expect(form not in ciphertext, "the plaintext stands in the ciphertext")

    @checks("R9")
    def test_equal_plaintexts_differ(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Encrypting the same thing often, anywhere, gives another ciphertext each time."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        context = self._context(keys)
        made = [keys.encrypt(plaintext, context=context) for _ in range(ENOUGH)]
        made.append(keys.encrypt(plaintext, context=context, section=TWIN))
        with keys.clone() as again:
            made.append(again.encrypt(plaintext, context=context))
        expect(
            len({value.ciphertext for value in made}) == len(made),
            "encrypting the same plaintext again gave the same ciphertext",
        )

    @checks("R9")
    def test_no_key_stream_is_used_twice(
        self, keys: KeyManager, capabilities: Capabilities
    ) -> None:
        """Two ciphertexts don't give away how their plaintexts differ."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        size = max(32, capabilities.min_plaintext)
        high = capabilities.max_plaintext
        self._only(high is None or size <= high, "its plaintexts are too small")
        plaintexts = [os.urandom(size) for _ in range(ENOUGH)]
        ciphertexts = [keys.encrypt(each, context={}).ciphertext for each in plaintexts]
        sections = [*zip(plaintexts, ciphertexts, strict=True)]
        sections.append((plain := os.urandom(size), _in(keys, plain)))
        for (p, c), (q, d) in itertools.combinations(sections, 2):
            expect(
                _xor(p, q)[:24] not in _xor(c, d),
                "two values were encrypted with the same key stream",
            )


def _opened(keys: KeyManager, value: EncryptedValue, context: dict[str, str]) -> bytes | None:
    with contextlib.suppress(InvalidCiphertextError):
        return keys.decrypt(value, context=context)
    return None


class ContextCases(Bench):
    """The context that is authenticated with a value."""

    @checks("R10")
    def test_value_opens_only_under_its_context(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Another context, a part of it, more than it, or none doesn't open a value."""
        self._only(capabilities.binds_context, UNBOUND)
        value = keys.encrypt(plaintext, context=CONTEXT)
        expect(
            keys.decrypt(value, context=CONTEXT) == plaintext,
            "a value comes back changed under its own context",
        )
        expect(
            _opened(keys, value, dict(reversed(CONTEXT.items()))) == plaintext,
            "a value doesn't open where the context's keys have another order",
        )
        for wrong in (
            {},
            {"account": "acct_1"},
            {**CONTEXT, "account": "acct_2"},
            {**CONTEXT, "more": "x"},
            {"account": "acct_1secret", "secret": "sec_1"},
            {"account": "sec_1", "secret": "acct_1"},
            {"account": "acct_1secretsec_1"},
            {"account": "acct_1&secret=sec_1"},
            {"account": "acct_1,secret=sec_1"},
        ):
            refused(
                lambda wrong=wrong: keys.decrypt(value, context=wrong),  # type: ignore[misc]
                InvalidCiphertextError,
                f"a value made under {CONTEXT} opens under {wrong}",
            )

    @checks("R11")
    def test_context_uses_all_its_room(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """The largest context that the rules allow works, also with other alphabets."""
        self._only(capabilities.binds_context, UNBOUND)
        for what, context in {
            "of 16 entries": {f"k{number}": "v" * 250 for number in range(16)},
            "of 1,024 bytes in Latin letters": {"k": "ü" * 512},
            "in Chinese": {"name": "密码 – a b"},
            "with long keys": {"k" * 64: "v"},
        }.items():
            value = keys.encrypt(plaintext, context=context)
            expect(
                keys.decrypt(value, context=context) == plaintext,
                f"a value comes back changed under a context {what}",
            )
        for what, one, other in (
            ("of 1,024 bytes that differ in the last one", "v" * 1024, "v" * 1023 + "w"),
            ("in Chinese", "密码", "密玛"),
        ):
            value = keys.encrypt(plaintext, context={"name": one})
            refused(
                lambda value=value, other=other: keys.decrypt(value, context={"name": other}),  # type: ignore[misc]
                InvalidCiphertextError,
                f"two contexts {what} are taken for the same",
            )


def _in(keys: KeyManager, plaintext: bytes) -> bytes:
    return keys.encrypt(plaintext, context={}, section=TWIN).ciphertext


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))
