"""Make one AES-GCM ciphertext that opens under two keys.

AES-GCM doesn't commit to its key: the tag is a polynomial in H = AES(key, 0) over GF(2^128), and
whoever knows both keys can choose one ciphertext block so that the two polynomials, each with its
own mask, have one value. See Dodis, Grubbs, Ristenpart and Woodage, "Fast message franking: from
invisible salamanders to encryptment" (CRYPTO 2018), and Albertini, Duong, Gueron, Kölbl, Luykx
and Schmieg, "How to abuse and fix authenticated encryption without key commitment" (USENIX 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
REDUCTION = 0xE1 << 120  # x^128 + x^7 + x^2 + x + 1 in GCM's order of bits, the first one highest
ONE = 1 << 127


def two_keys(
    key1: bytes, key2: bytes, nonce: bytes, aad: bytes, first: bytes = b"", second: bytes = b""
) -> bytes:
    """Make a ciphertext with its tag that both keys open, under one nonce and associated data.

    Under `key1` its plaintext begins with `first`; under `key2`, `second` stands after as many
    bytes. The rest of each plaintext is noise. Both texts are filled to whole blocks.
    """
    one, two = _Key(key1, nonce), _Key(key2, nonce)
    head = _xor(_padded(first), one.stream())
    free = head + _xor(_padded(second), two.stream(after=len(head)))
    size = len(free) + BLOCK
    # In each polynomial the wanted block stands before the lengths: its factor is H squared.
    before, last = [*_blocks(aad), *_blocks(free)], _lengths(len(aad), size)
    rest1, rest2 = one.tag([*before, 0, last]), two.tag([*before, 0, last])
    factor = _times(one.h, one.h) ^ _times(two.h, two.h)
    wanted = _times(rest1 ^ rest2, _inverse(factor))
    tag = one.tag([*before, wanted, last])
    return free + wanted.to_bytes(BLOCK, "big") + tag.to_bytes(BLOCK, "big")


class _Key:
    """What AES-GCM makes of a key and a nonce of 12 bytes."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        assert len(nonce) == 12
        self._key, self._nonce = key, nonce
        self.h = int.from_bytes(self._aes(bytes(BLOCK)), "big")
        self._mask = int.from_bytes(self._counter(1), "big")

    def tag(self, blocks: Iterable[int]) -> int:
        """Hash blocks, lengths among them, and mask the hash."""
        value = 0
        for block in blocks:
            value = _times(value ^ block, self.h)
        return value ^ self._mask

    def stream(self, after: int = 0) -> Iterator[int]:
        """Give the bytes of the key stream from a block's start on."""
        counter = 2 + after // BLOCK
        while True:
            yield from self._counter(counter)
            counter += 1

    def _counter(self, counter: int) -> bytes:
        return self._aes(self._nonce + counter.to_bytes(4, "big"))

    def _aes(self, block: bytes) -> bytes:
        return Cipher(algorithms.AES(self._key), modes.ECB()).encryptor().update(block)


def _times(a: int, b: int) -> int:
    """Multiply in GF(2^128), as GCM writes its elements."""
    product = 0
    for bit in range(127, -1, -1):
        if b >> bit & 1:
            product ^= a
        a = (a >> 1) ^ (REDUCTION if a & 1 else 0)
    return product


def _inverse(a: int) -> int:
    """Find 1/a: a to the power of 2^128 - 2."""
    assert a, "the two keys have the same H"
    inverse, square = ONE, a
    for _ in range(127):
        square = _times(square, square)
        inverse = _times(inverse, square)
    return inverse


def _blocks(data: bytes) -> Iterator[int]:
    for at in range(0, len(data), BLOCK):
        yield int.from_bytes(data[at : at + BLOCK].ljust(BLOCK, b"\0"), "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _lengths(aad: int, ciphertext: int) -> int:
    return aad * 8 << 64 | ciphertext * 8


def _xor(data: bytes, stream: Iterator[int]) -> bytes:
    return bytes(byte ^ next(stream) for byte in data)
