"""Golden vectors of the core's formats, made by an implementation that shares no code with this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keyhinge import EncryptedValue, encode_context

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())


def value_of(vector: dict[str, str]) -> EncryptedValue:
    """The value that a vector describes."""
    ciphertext = bytes.fromhex(vector["ciphertext_hex"])
    return EncryptedValue(vector["section"], vector["key_id"], vector["version"], ciphertext)


def test_context() -> None:
    """The encoding of the vector's context and of the empty one, whatever the entries' order."""
    context = VECTORS["context"]["context"]
    assert encode_context(context).hex() == VECTORS["context"]["hex"]
    reordered = dict(reversed(context.items()))
    assert list(reordered) != list(context)
    assert encode_context(reordered).hex() == VECTORS["context"]["hex"]
    assert encode_context({}).hex() == VECTORS["context"]["empty_hex"]


@pytest.mark.parametrize("name", ["text", "text_arn"])
def test_text(name: str) -> None:
    """The text form, in both directions."""
    vector = VECTORS[name]
    assert value_of(vector).to_text() == vector["text"]
    assert EncryptedValue.from_text(vector["text"]) == value_of(vector)


def test_bytes() -> None:
    """The binary form, in both directions."""
    vector = VECTORS["binary"]
    assert value_of(vector).to_bytes().hex() == vector["hex"]
    assert EncryptedValue.from_bytes(bytes.fromhex(vector["hex"])) == value_of(vector)


@pytest.mark.parametrize("vector", VECTORS["envelope"], ids=["whole", "partition"])
def test_wrapped_keys(vector: dict[str, str]) -> None:
    """The data keys wrapped in the envelope vectors are values in the binary form."""
    wrapped = bytes.fromhex(vector["wrapped_hex"])
    assert EncryptedValue.from_bytes(wrapped) == EncryptedValue("vault", "monetr", "1", b"w")
