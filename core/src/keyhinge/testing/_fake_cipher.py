"""Authenticated encryption for tests only: AES-GCM if it is there, else the standard library."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import os
from functools import lru_cache
from typing import Protocol

__all__ = ["FOR_TESTS_ONLY", "AesForTests", "StandardLibraryForTests", "cipher_for_tests"]

FOR_TESTS_ONLY = b"keyhinge/for tests only/1\0"
_NONCE, _TAG = 12, 32


class CipherForTests(Protocol):
    """Seals under a key of 32 bytes, with associated data."""

    def seal(self, key: bytes, plaintext: bytes, bound: bytes) -> bytes:
        """Encrypt."""

    def open(self, key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
        """Decrypt; None if anything was changed."""


class AesForTests:
    """AES-256-GCM of the `cryptography` package."""

    def seal(self, key: bytes, plaintext: bytes, bound: bytes) -> bytes:
        """Encrypt."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(key).encrypt(nonce, plaintext, FOR_TESTS_ONLY + bound)

    def open(self, key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
        """Decrypt; None if anything was changed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(sealed) < _NONCE + 16:
            return None
        try:
            return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], FOR_TESTS_ONLY + bound)
        except InvalidTag:
            return None


class StandardLibraryForTests:
    """A stream of SHAKE-256, and HMAC-SHA256 over it all. Sound, but nobody's standard."""

    def seal(self, key: bytes, plaintext: bytes, bound: bytes) -> bytes:
        """Encrypt."""
        nonce = os.urandom(_NONCE)
        body = nonce + _streamed(key, nonce, plaintext)
        return _tag(key, body, bound) + body

    def open(self, key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
        """Decrypt; None if anything was changed."""
        tag, body = sealed[:_TAG], sealed[_TAG:]
        if len(body) < _NONCE or not hmac.compare_digest(tag, _tag(key, body, bound)):
            return None
        return _streamed(key, body[:_NONCE], body[_NONCE:])


@lru_cache(maxsize=1)
def cipher_for_tests() -> CipherForTests:
    """Give the better one of those that are there."""
    found = importlib.util.find_spec("cryptography") is not None
    return AesForTests() if found else StandardLibraryForTests()


def _streamed(key: bytes, nonce: bytes, data: bytes) -> bytes:
    pad = hashlib.shake_256(b"stream" + FOR_TESTS_ONLY + key + nonce).digest(len(data))
    number = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
    return number.to_bytes(len(data), "big")


def _tag(key: bytes, body: bytes, bound: bytes) -> bytes:
    # The length first, so that nothing can move from one part to the other.
    message = FOR_TESTS_ONLY + len(bound).to_bytes(8, "big") + bound + body
    return hmac.digest(hashlib.sha256(b"tag" + key).digest(), message, "sha256")
