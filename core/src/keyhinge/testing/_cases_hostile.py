"""Cases about values that somebody changed, made up or planted."""

from __future__ import annotations

import os

from keyhinge import (
    Capabilities,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
    OperationError,
    ProviderContractError,
)
from keyhinge.testing._base import ONE, STRANGER, TWIN, Bench
from keyhinge.testing._case import checks, expect, refused
from keyhinge.testing._cases_value import UNENCRYPTED
from keyhinge.testing._support import with_changes

__all__ = ["HostileCases"]

# Every position of the first and last bytes is tried; of longer ciphertexts, this many between.
POSITIONS = 200
# A value that doesn't open is one of these: which one depends on what the service can tell.
REFUSED = (InvalidCiphertextError, KeyUnavailableError)


class HostileCases(Bench):
    """Nothing that a database may hold is believed."""

    @checks("R12")
    def test_changed_bytes_are_refused(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A change of any single byte of the ciphertext is found out."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        for position in _positions(len(value.ciphertext)):
            changed = bytearray(value.ciphertext)
            changed[position] ^= 1 << (position % 8)
            forged = with_changes(value, ciphertext=bytes(changed))
            refused(
                lambda forged=forged: keys.decrypt(forged, context=context),  # type: ignore[misc]
                InvalidCiphertextError,
                f"a value opens although byte {position} of its ciphertext was changed",
            )

    @checks("R12")
    def test_cut_and_lengthened_values_are_refused(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A ciphertext that is cut short, lengthened or made up is refused."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        whole = value.ciphertext
        for what, made_up in {
            "without its last byte": whole[:-1],
            "without its first byte": whole[1:],
            "cut in half": whole[: len(whole) // 2],
            "cut to one byte": whole[:1],
            "with a zero behind it": whole + b"\0",
            "with a zero before it": b"\0" + whole,
            "twice in a row": whole + whole,
            "of one letter": b"x",
            "of zeros": b"\0" * len(whole),
            "of random bytes": os.urandom(len(whole)),
        }.items():
            forged = with_changes(value, ciphertext=made_up)
            refused(
                lambda forged=forged: keys.decrypt(forged, context=context),  # type: ignore[misc]
                InvalidCiphertextError,
                f"a ciphertext {what} opens",
            )

    @checks("R13")
    def test_a_forged_key_id_is_refused(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """With another key id a value doesn't open."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        for key_id in ("", "x", "../x", value.key_id + "x"):
            if key_id == value.key_id:
                continue
            forged = with_changes(value, key_id=key_id)
            refused(
                lambda forged=forged: keys.decrypt(forged, context=context),  # type: ignore[misc]
                REFUSED,
                f"a value opens although its key id was changed to {key_id!r}",
            )

    @checks("R13")
    def test_a_forged_version_is_not_believed(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """With another version a value is refused, or opens to the same plaintext."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        for version in ("", "0", "99", "1.deadbeef", "-1"):
            try:
                opened = keys.decrypt(with_changes(value, version=version), context=context)
            except REFUSED:
                continue
            expect(
                opened == plaintext, f"with the version {version!r} a value opens to other bytes"
            )

    @checks("R13")
    def test_a_planted_key_id_is_not_believed(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A value made under a stranger's key, key id included, doesn't open."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        self._stranger(keys)
        context = self._context(keys)
        theirs = keys.encrypt(plaintext, context=context, section=STRANGER)
        refused(
            lambda: keys.decrypt(with_changes(theirs, section=ONE), context=context),
            REFUSED,
            "a value chooses the key that opens it: one made under another key opens",
        )

    @checks("R14")
    def test_a_strangers_key_opens_nothing(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """A value doesn't open in a section with another key, whatever its labels say."""
        self._only(capabilities.encrypts, UNENCRYPTED)
        self._stranger(keys)
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        theirs = keys.encrypt(plaintext, context=context, section=STRANGER)
        for forged in (
            with_changes(value, section=STRANGER),
            with_changes(value, section=STRANGER, key_id=theirs.key_id, version=theirs.version),
            with_changes(theirs, section=ONE, key_id=value.key_id, version=value.version),
        ):
            refused(
                lambda forged=forged: keys.decrypt(forged, context=context),  # type: ignore[misc]
                REFUSED,
                "a value of one section opens in a section with another key",
            )

    @checks("R14")
    def test_closing_one_section_leaves_the_others(
        self, keys: KeyManager, plaintext: bytes
    ) -> None:
        """A section goes on when one with equal settings is closed."""
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        keys.encrypt(plaintext, context=context, section=TWIN)
        self._section(keys, TWIN).close()
        expect(
            keys.decrypt(value, context=context) == plaintext,
            "a value comes back changed once another section was closed",
        )
        keys.encrypt(plaintext, context=context)

    @checks("R21")
    def test_errors_are_of_the_family(
        self, keys: KeyManager, capabilities: Capabilities, plaintext: bytes
    ) -> None:
        """Whatever a value holds, what is raised is one of Keyhinge's errors."""
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)
        for forged in _forgeries(value):
            try:
                keys.decrypt(forged, context=context)
            except ProviderContractError as failure:
                kind = failure.failure.type if failure.failure else "something else"
                msg = f"decrypting a value that isn't one raised {kind}"
                raise AssertionError(msg) from None
            except OperationError:
                continue


def _forgeries(value: EncryptedValue) -> list[EncryptedValue]:
    return [
        with_changes(value, ciphertext=b"\x01bad"),
        with_changes(value, ciphertext=b"\xff" * 200),
        with_changes(value, ciphertext="ünï".encode()),
        with_changes(value, key_id="other"),
        with_changes(value, version="other"),
    ]


def _positions(length: int) -> list[int]:
    if length <= POSITIONS:
        return list(range(length))
    step = max(1, (length - 64) // (POSITIONS - 64))
    return [*range(32), *range(32, length - 32, step), *range(length - 32, length)]
