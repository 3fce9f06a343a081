"""The golden vectors of `envelope`, read by a decoder that shares no code with keyhinge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.vectors import _envelope_decoder as decoder
from tests.vectors._envelope_decoder import NotAnEnvelope, Value

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text())[
    "envelope"
]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=["whole", "partition"])


def unwrap_of(vector: dict[str, Any]) -> Callable[[Value, Mapping[str, str]], bytes]:
    """The key service that made the vector's wrapped key, and nothing else."""
    entries = {key: vector["context"][key] for key in vector["partition"]}

    def unwrap(wrapped: Value, wrap_context: Mapping[str, str]) -> bytes:
        if wrapped != decoder.parse_value(bytes.fromhex(vector["wrapped_hex"])):
            raise NotAnEnvelope("a key that the service never wrapped")
        if wrap_context != {"keyhinge": "envelope/1", **entries}:
            raise NotAnEnvelope("another wrap context")
        return bytes.fromhex(vector["K"])

    return unwrap


def opened(vector: dict[str, Any], ciphertext: bytes, **context: str) -> bytes:
    """What the decoder makes of a ciphertext."""
    return decoder.open_ciphertext(ciphertext, {**vector["context"], **context}, unwrap_of(vector))


@each_vector
def test_opens(vector: dict[str, Any]) -> None:
    """The vector's ciphertext opens, and its parts are the vector's."""
    ciphertext = bytes.fromhex(vector["ciphertext_hex"])
    assert opened(vector, ciphertext) == bytes.fromhex(vector["plaintext_hex"])
    envelope = decoder.parse(ciphertext)
    assert envelope.nonce.hex() == vector["nonce"]
    assert envelope.wrapped == Value("vault", "monetr", "1", b"w")
    assert list(decoder.partition(envelope.bitmap, vector["context"])) == vector["partition"]


@each_vector
def test_any_other_byte(vector: dict[str, Any]) -> None:
    """No byte can be changed, for each bit and both ends of its range."""
    ciphertext = bytes.fromhex(vector["ciphertext_hex"])
    for at, old in enumerate(ciphertext):
        for new in ({old ^ (1 << bit) for bit in range(8)} | {0, 255}) - {old}:
            with pytest.raises(NotAnEnvelope):
                opened(vector, ciphertext[:at] + bytes([new]) + ciphertext[at + 1 :])


@each_vector
def test_any_other_length(vector: dict[str, Any]) -> None:
    """Nothing can be cut off or added."""
    ciphertext = bytes.fromhex(vector["ciphertext_hex"])
    for end in range(len(ciphertext)):
        with pytest.raises(NotAnEnvelope):
            opened(vector, ciphertext[:end])
    with pytest.raises(NotAnEnvelope):
        opened(vector, ciphertext + b"\0")


@each_vector
def test_another_context(vector: dict[str, Any]) -> None:
    """No entry can be another's, and none can be added."""
    ciphertext = bytes.fromhex(vector["ciphertext_hex"])
    for changed in ({"account": "acct_2"}, {"secret": "sec_2"}, {"aaa": "1"}, {"zzz": "1"}):
        with pytest.raises(NotAnEnvelope):
            opened(vector, ciphertext, **changed)


def test_another_partition() -> None:
    """The two vectors have one root key, and neither header opens the other's ciphertext."""
    whole, part = (bytes.fromhex(vector["ciphertext_hex"]) for vector in VECTORS)
    assert VECTORS[0]["K"] == VECTORS[1]["K"]
    for vector, mixed in (
        (VECTORS[1], part[:35] + whole[35:]),
        (VECTORS[0], whole[:35] + part[35:]),
    ):
        with pytest.raises(NotAnEnvelope, match="doesn't open"):
            opened(vector, mixed)


LABELS = ("vault/monetr", "1")


@pytest.mark.parametrize(
    ("key_id", "version", "message"),
    [
        ("vault/monet", "1", "another key id"),
        ("monetr", "1", "another key id"),
        ("aws/monetr", "1", "another key id"),
        ("vault/monetr", "2", "another version"),
        ("vault/monetr", "", "another version"),
    ],
)
def test_labels(key_id: str, version: str, message: str) -> None:
    """The outer labels are the header's."""
    vector = VECTORS[0]
    ciphertext = bytes.fromhex(vector["ciphertext_hex"])
    right = Value("envelope", *LABELS, ciphertext)
    context, unwrap = vector["context"], unwrap_of(vector)
    assert decoder.open_value(right, context, unwrap) == b"hello"
    with pytest.raises(NotAnEnvelope, match=message):
        decoder.open_value(Value("envelope", key_id, version, ciphertext), context, unwrap)


def test_other_forms_of_a_value() -> None:
    """The decoder's own reading of contexts and values is that of the other vectors."""
    vectors = json.loads(Path(__file__).with_name("vectors.json").read_text())
    context = vectors["context"]
    assert decoder.encode_context(context["context"]).hex() == context["hex"]
    assert decoder.encode_context({}).hex() == context["empty_hex"]
    for name in ("text", "text_arn"):
        vector = vectors[name]
        labels = (vector["section"], vector["key_id"], vector["version"])
        parsed = decoder.parse_text(vector["text"])
        assert parsed == Value(*labels, bytes.fromhex(vector["ciphertext_hex"]))


@pytest.mark.parametrize(
    "text",
    [
        "kh1:vault:monetr:3:YWJ",
        "kh1:vault:monetr:3:YWK=",  # a stray bit in the last character
        "kh1:vault:monetr:3:YW\nJj",
        "kh1:vault:monetr:3:",
        "kh1:vault:monetr:YWJj",
        "kh1:Vault:monetr:3:YWJj",
        "kh1:vault:mo netr:3:YWJj",
        "kh1:vault:monetr:3/:YWJj",
        "kh2:vault:monetr:3:YWJj",
        "kh1:vault:monetr:3:YWJ\u00e9",
        "",
    ],
)
def test_strict_text(text: str) -> None:
    """What no encoder makes isn't a value."""
    with pytest.raises(NotAnEnvelope):
        decoder.parse_text(text)


# PLACE FOR: the provider with the vectors' root key and nonce gives exactly the vectors' bytes.
# What it writes otherwise is read by the decoder in test_envelope_decoded.py.
