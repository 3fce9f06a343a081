"""A ciphertext that opens under two AES-GCM keys: it can be made, and envelopes refuse it."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.local._two_keys import two_keys
from tests.vectors import _envelope_decoder as decoder

CONTEXT = {"account": "acct_1", "secret": "sec_1"}
WRAP_CONTEXT = {"keyhinge": "envelope/1"}


@pytest.mark.parametrize("aad", [b"", b"a", bytes(range(77)), bytes(160)], ids=len)
@pytest.mark.parametrize("size", [16, 32])
def test_opens_under_both(size: int, aad: bytes) -> None:
    """Both keys open it, to other plaintexts; a third key doesn't."""
    key1, key2, nonce = os.urandom(size), os.urandom(size), os.urandom(12)
    ciphertext = two_keys(key1, key2, nonce, aad, b"pay Alice 10", b"pay Mallory 1,000,000")
    first = AESGCM(key1).decrypt(nonce, ciphertext, aad)
    second = AESGCM(key2).decrypt(nonce, ciphertext, aad)
    assert first.startswith(b"pay Alice 10\0")
    assert second[16:].startswith(b"pay Mallory 1,000,000\0")
    for key, other in ((key1, aad + b"\0"), (os.urandom(size), aad)):
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(nonce, ciphertext, other)


def test_one_block() -> None:
    """The solved block is enough."""
    key1, key2, nonce = os.urandom(32), os.urandom(32), os.urandom(12)
    ciphertext = two_keys(key1, key2, nonce, b"")
    assert len(ciphertext) == 32
    plaintexts = {AESGCM(key).decrypt(nonce, ciphertext, b"") for key in (key1, key2)}
    assert len(plaintexts) == 2


def test_an_envelope_opens_under_one_root_key_alone() -> None:
    """Whichever commitment stands in the header, the other root key's holder gets nothing.

    AES-GCM itself opens it with both derived keys: without the commitment it would be believed.
    """
    roots = {b"1": os.urandom(32), b"2": os.urandom(32)}
    derived = {name: decoder.derive(root, WRAP_CONTEXT) for name, root in roots.items()}
    nonce = os.urandom(12)
    for committed, other in ((b"1", b"2"), (b"2", b"1")):
        fixed = b"\x01\0\0" + derived[committed][1]
        aad = fixed + decoder.encode_context(CONTEXT)
        body = two_keys(derived[b"1"][0], derived[b"2"][0], nonce, aad)
        for key, _ in derived.values():
            AESGCM(key).decrypt(nonce, body, aad)

        def unwrap(wrapped: decoder.Value, wrap_context: Mapping[str, str]) -> bytes:
            return roots[wrapped.ciphertext]

        decoder.open_ciphertext(envelope(fixed, committed, nonce, body), CONTEXT, unwrap)
        with pytest.raises(decoder.NotAnEnvelope, match="another commitment"):
            decoder.open_ciphertext(envelope(fixed, other, nonce, body), CONTEXT, unwrap)


def envelope(fixed: bytes, wrapped: bytes, nonce: bytes, body: bytes) -> bytes:
    """An envelope ciphertext whose data key is wrapped by `vault`, as `wrapped`."""
    value = b"\xd3KH\x01\x05vault\x00\x06monetr\x011" + wrapped
    return fixed + struct.pack(">H", len(value)) + value + nonce + body
