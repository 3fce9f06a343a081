"""The `plaintext` provider: a marker, the bytes, and plain words about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

import keyhinge_plaintext
from keyhinge import EncryptedValue, InvalidCiphertextError, KeyManager, KeyRef, Sealed
from keyhinge_plaintext import PlaintextProvider, PlaintextSettings


class FakeSection:
    """A section as core describes it."""

    name = "plaintext"
    path = "keyManagement.plaintext"
    base_dir = Path()
    environ: Mapping[str, str] = {}

    def over(self, name: str, *, also: Any = (), wraps_keys: bool = False) -> NoReturn:
        raise AssertionError("plaintext composes nothing")


@pytest.fixture
def provider() -> PlaintextProvider:
    """A configured provider."""
    return keyhinge_plaintext.keyhinge_configure(PlaintextSettings(), FakeSection())


def as_value(ciphertext: bytes, key_id: str = "", version: str = "") -> EncryptedValue:
    """A value of the section."""
    return EncryptedValue("plaintext", key_id, version, ciphertext)


@pytest.mark.parametrize(
    ("plaintext", "ciphertext"),
    [(b"", b"\x50"), (b"token", b"\x50token"), (b"\x50", b"\x50\x50"), (b"\0\xff", b"\x50\0\xff")],
)
def test_format(provider: PlaintextProvider, plaintext: bytes, ciphertext: bytes) -> None:
    """0x50 and the bytes, in both directions, with no key id and no version."""
    assert provider.keyhinge_encrypt(plaintext, {}) == Sealed(ciphertext, "", "")
    assert provider.keyhinge_decrypt(as_value(ciphertext), {}) == plaintext


def test_context_is_ignored(provider: PlaintextProvider) -> None:
    """Nothing here can authenticate a context, and the capabilities don't claim it."""
    sealed = provider.keyhinge_encrypt(b"token", {"account": "a"})
    assert provider.keyhinge_decrypt(as_value(sealed.ciphertext), {"account": "b"}) == b"token"
    assert not provider.capabilities.encrypts
    assert not provider.capabilities.binds_context
    assert not provider.capabilities.blocking


@pytest.mark.parametrize("first", [byte for byte in range(256) if byte != 0x50])
def test_no_marker(provider: PlaintextProvider, first: int) -> None:
    """Whatever else stands in front, it isn't a value of this provider."""
    with pytest.raises(InvalidCiphertextError) as caught:
        provider.keyhinge_decrypt(as_value(bytes([first]) + b"token"), {})
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("labels", [{"key_id": "x"}, {"version": "1"}])
def test_foreign_labels(provider: PlaintextProvider, labels: dict[str, str]) -> None:
    """A value with a key id or version was made by something else: no ciphertext is believed."""
    with pytest.raises(InvalidCiphertextError):
        provider.keyhinge_decrypt(as_value(b"\x50token", **labels), {})


def test_says_so() -> None:
    """The check says once, and plainly, that it doesn't encrypt."""
    with KeyManager.open({"keyManagement": {"provider": "plaintext"}}, environ={}) as keys:
        report = keys.check()
        assert keys.current_key() == KeyRef("", "")
    (finding,) = (each for each in report.findings if each.code == "not-encrypted")
    assert report.ok
    assert finding.level == "warning"
    assert finding.message.startswith("not encrypted")


def test_module() -> None:
    """What core looks for is there."""
    assert keyhinge_plaintext.keyhinge_api == 1
    assert keyhinge_plaintext.keyhinge_settings is PlaintextSettings
