"""Every change of one byte of a stored value, through the real providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyhinge import (
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
    SectionNotConfiguredError,
)
from keyhinge_local import keyfile

PLAINTEXT = b"sk_live_4eC39HqLyjWDarjtT1zdp7dc"
CONTEXT = {"account": "acct_1", "secret": "sec_1"}
# Another section, key or version is named: what is looked up isn't there.
ELSEWHERE = (SectionNotConfiguredError, KeyUnavailableError)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyManager]:
    """Two key files, and a section that doesn't encrypt."""
    for name in ("local", "locam"):  # one byte apart
        keyfile.init(tmp_path / f"{name}.key")
    config = {
        "keyManagement": {
            "provider": "local",
            "local": {"keyFile": str(tmp_path / "local.key")},
            "locam": {"type": "local", "keyFile": str(tmp_path / "locam.key")},
            "plaintext": {},
        }
    }
    with KeyManager.open(config, environ={}) as keys:
        yield keys


def attempt(
    keys: KeyManager, parse: Callable[[Any], EncryptedValue], stored: object
) -> type[Exception] | None:
    """Open a changed value: None if it opens to the same bytes, else the error's type."""
    try:
        assert keys.decrypt(parse(stored), context=CONTEXT) == PLAINTEXT
    except (InvalidCiphertextError, *ELSEWHERE) as error:
        return type(error)
    return None


def test_text(keys: KeyManager) -> None:
    """No change of a character is believed, and in the ciphertext there is one error for all."""
    text = keys.encrypt(PLAINTEXT, context=CONTEXT).to_text()
    body = text.rindex(":") + 1
    for at, old in enumerate(text):
        for new in sorted({chr(ord(old) ^ 1), chr(ord(old) ^ 0x20), "A", ":", "=", "\n", "é"}):
            if new == old:
                continue
            changed = text[:at] + new + text[at + 1 :]
            error = attempt(keys, EncryptedValue.from_text, changed)
            assert error is not None, (at, new)
            assert at < body or error is InvalidCiphertextError, (at, new)


def test_bytes(keys: KeyManager) -> None:
    """No change of a byte is believed, for each value of the byte at each place."""
    data = keys.encrypt(PLAINTEXT, context=CONTEXT).to_bytes()
    body = len(data) - len(EncryptedValue.from_bytes(data).ciphertext)
    for at, old in enumerate(data):
        for new in {old ^ (1 << bit) for bit in range(8)} | {0, 0x50, 0xFF}:
            if new == old:
                continue
            changed = data[:at] + bytes([new]) + data[at + 1 :]
            error = attempt(keys, EncryptedValue.from_bytes, changed)
            assert error is not None, (at, new)
            assert at < body or error is InvalidCiphertextError, (at, new)


def test_shorter_and_longer(keys: KeyManager) -> None:
    """A value that was cut at any place, or has a byte more, isn't one."""
    value = keys.encrypt(PLAINTEXT, context=CONTEXT)
    text, data = value.to_text(), value.to_bytes()
    for end in range(len(text)):
        assert attempt(keys, EncryptedValue.from_text, text[:end]) is not None
    for end in range(len(data)):
        assert attempt(keys, EncryptedValue.from_bytes, data[:end]) is not None
    for more in (b"\0", b"\n", b"="):
        longer = data + more
        assert attempt(keys, EncryptedValue.from_bytes, longer) is InvalidCiphertextError


def test_labels_exchanged(keys: KeyManager) -> None:
    """A value under the name of another section, also one that doesn't encrypt, stays shut."""
    value = keys.encrypt(PLAINTEXT, context=CONTEXT)
    for section in ("locam", "plaintext"):
        moved = EncryptedValue(section, value.key_id, value.version, value.ciphertext)
        assert attempt(keys, lambda value: value, moved) is not None
        bare = EncryptedValue(section, "", "", value.ciphertext)
        assert attempt(keys, lambda value: value, bare) is not None


def test_other_context(keys: KeyManager) -> None:
    """A value in another row's place doesn't open."""
    value = keys.encrypt(PLAINTEXT, context=CONTEXT)
    others: tuple[dict[str, str], ...] = (
        {},
        {"account": "acct_1"},
        {**CONTEXT, "x": "1"},
        {**CONTEXT, "account": "acct_2"},
    )
    for context in others:
        with pytest.raises(InvalidCiphertextError) as caught:
            keys.decrypt(value, context=context)
        assert PLAINTEXT.decode() not in str(caught.value)


def test_plaintext_values_change_visibly_or_not_at_all(keys: KeyManager) -> None:
    """A section that doesn't encrypt believes its bytes, but only under its own marker."""
    data = keys.encrypt(PLAINTEXT, context={}, section="plaintext").to_bytes()
    marker = data.index(b"P" + PLAINTEXT)
    for at in range(marker + 1):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert attempt(keys, EncryptedValue.from_bytes, changed) is not None
