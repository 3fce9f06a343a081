"""What the provider `envelope` writes, opened by a decoder that shares no code with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.vectors import _envelope_decoder as decoder

from keyhinge import Encrypt, EncryptedValue, InvalidCiphertextError, KeyManager
from keyhinge_local import LocalProvider, keyfile
from keyhinge_local._keyring import FileSource, Keyring

CONTEXT = {"account": "acct_1", "secret": "sec_1", "Zone": "\u00fc"}
ENTRY = {"keyhinge": "envelope/1"}
PLAINTEXTS = [b"", b"x", "p\u00e4ssword".encode(), bytes(100_000)]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalProvider]:
    """The key file's provider alone: what opens wrapped keys here."""
    keyfile.init(tmp_path / "a.key")
    provider = LocalProvider(Keyring(FileSource(tmp_path / "a.key", allow_group_read=False)))
    yield provider
    provider.keyhinge_close()


@pytest.fixture
def open_keys(tmp_path: Path, local: LocalProvider) -> Iterator[Callable[..., KeyManager]]:
    """Open `envelope` over that key file, with settings."""
    made: list[KeyManager] = []

    def open_(**settings: Any) -> KeyManager:
        block = {"over": "local", **settings}
        inner = {"keyFile": str(tmp_path / "a.key")}
        config = {"keyManagement": {"provider": "envelope", "envelope": block, "local": inner}}
        made.append(KeyManager.open(config, environ={}))
        return made[-1]

    yield open_
    for keys in made:
        keys.close()


def decoded(local: LocalProvider, value: EncryptedValue, wrap_context: dict[str, str]) -> bytes:
    """What the decoder reads in a value's text form; the wrap context must be the expected one."""

    def unwrap(wrapped: decoder.Value, context: Mapping[str, str]) -> bytes:
        assert context == wrap_context
        return local.keyhinge_decrypt(EncryptedValue(*wrapped), context)

    parsed = decoder.parse_text(value.to_text())
    assert parsed == decoder.parse_value(value.to_bytes())
    assert parsed.section == "envelope"
    assert parsed.key_id.startswith("local/")
    return decoder.open_value(parsed, CONTEXT, unwrap)


@pytest.mark.parametrize("partition", [[], ["secret"], ["account", "Zone"]], ids=len)
def test_decoded(
    open_keys: Callable[..., KeyManager], local: LocalProvider, partition: list[str]
) -> None:
    """The decoder opens every value, one by one and of a batch, and finds the partition in it."""
    keys = open_keys(partitionBy=partition) if partition else open_keys()
    wrap_context = ENTRY | {key: CONTEXT[key] for key in partition}
    items = [Encrypt(plaintext, CONTEXT) for plaintext in PLAINTEXTS]
    values = [outcome.value for outcome in keys.encrypt_many(items)]
    values += [keys.encrypt(plaintext, context=CONTEXT) for plaintext in PLAINTEXTS]
    for value, plaintext in zip(values, PLAINTEXTS * 2, strict=True):
        assert decoded(local, value, wrap_context) == plaintext
        envelope = decoder.parse(value.ciphertext)
        assert set(decoder.partition(envelope.bitmap, CONTEXT)) == set(partition)
    assert len({decoder.parse(value.ciphertext).nonce for value in values}) == len(values)
    assert len({decoder.parse(value.ciphertext).wrapped for value in values}) == 1


def test_the_overhead(open_keys: Callable[..., KeyManager]) -> None:
    """A ciphertext is longer than its plaintext by what the format says."""
    value = open_keys().encrypt(b"x" * 100, context=CONTEXT)
    size = int.from_bytes(value.ciphertext[35:37], "big")
    assert len(value.ciphertext) == 37 + size + 12 + 100 + 16


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_any_other_byte(
    open_keys: Callable[..., KeyManager], local: LocalProvider, warm: bool
) -> None:
    """What the decoder refuses, the provider refuses, with one error for all."""
    keys = open_keys()
    value = keys.encrypt(b"x", context=CONTEXT)
    for at, old in enumerate(value.ciphertext):
        reader = keys if warm else open_keys()
        for new in {old ^ 1, old ^ 0x80} if warm else {old ^ 1}:
            body = value.ciphertext[:at] + bytes([new]) + value.ciphertext[at + 1 :]
            changed = EncryptedValue(value.section, value.key_id, value.version, body)
            with pytest.raises(InvalidCiphertextError):
                reader.decrypt(changed, context=CONTEXT)
    assert keys.decrypt(value, context=CONTEXT) == b"x"
