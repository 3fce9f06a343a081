"""The published vectors of XAES-256-GCM.

Source: https://c2sp.org/XAES-256-GCM, "Test vectors" and "Accumulated randomized tests".
"""

from __future__ import annotations

import hashlib

import pytest

from keyhinge_local._xaes import Xaes256Gcm, _cmac_subkey

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PLAINTEXT = b"XAES-256-GCM"
PUBLISHED = [
    pytest.param(
        b"\x01" * 32,
        b"",
        "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        id="most-significant-bit-0",
    ),
    pytest.param(
        b"\x03" * 32,
        b"c2sp.org/XAES-256-GCM",
        "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        id="most-significant-bit-1",
    ),
]
ACCUMULATED = 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@pytest.mark.parametrize(("key", "aad", "ciphertext"), PUBLISHED)
def test_published_vector(key: bytes, aad: bytes, ciphertext: str) -> None:
    """Both published messages come out, and open again."""
    cipher = Xaes256Gcm(key)
    assert ciphertext == cipher.encrypt(NONCE, PLAINTEXT, aad).hex()
    assert cipher.decrypt(NONCE, bytes.fromhex(ciphertext), aad) == PLAINTEXT


@pytest.mark.parametrize(
    ("zero_block", "subkey"),
    [
        ("7298caa565031eadc6ce23d23ea66378", "e531954aca063d5b8d9c47a47d4cc6f0"),
        ("91c08762876dccf9ba204a33768fa5fe", "23810ec50edb99f374409466ed1f4b7b"),
    ],
)
def test_published_intermediate_subkey(zero_block: str, subkey: str) -> None:
    """L gives K1, with and without the reduction."""
    assert subkey == _cmac_subkey(bytes.fromhex(zero_block)).hex()


def test_accumulated() -> None:
    """10,000 random messages have the published hash."""
    iterations, expected = ACCUMULATED
    # hashlib's SHAKE can't be read in pieces: take more than 10,000 messages can need at once.
    stream = hashlib.shake_128().digest(iterations * (32 + 24 + 256 + 256))
    assert stream.startswith(bytes.fromhex("7f9c2ba4e88f827d616045507605853e"))
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        position += size
        return stream[position - size : position]

    ciphertexts = hashlib.shake_128()
    for _ in range(iterations):
        cipher, nonce = Xaes256Gcm(take(32)), take(24)
        plaintext = take(take(1)[0])
        aad = take(take(1)[0])
        ciphertext = cipher.encrypt(nonce, plaintext, aad)
        assert plaintext == cipher.decrypt(nonce, ciphertext, aad)
        ciphertexts.update(ciphertext)
    assert expected == ciphertexts.hexdigest(32)
