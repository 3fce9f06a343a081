"""XAES-256-GCM: AES-256-GCM with a nonce so long that random ones stay safe.

Source: https://c2sp.org/XAES-256-GCM ("Detailed key derivation algorithm" and "Test vectors").
A 24-byte nonce is split in two. The first half and the key give a one-message key, through the
counter KDF of NIST SP 800-108r1 over CMAC-AES256; the second half is that key's GCM nonce. 2^80
messages under one key have a chance of 2^-32 that two nonces meet.
"""

from __future__ import annotations

import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

KEY_SIZE = 32
NONCE_SIZE = 24
TAG_SIZE = 16

_HALF = NONCE_SIZE // 2


class _BlockCipher(threading.local):
    """One AES-ECB encryptor for each thread: a shared one raises "Already borrowed"."""

    def __init__(self, key: bytes) -> None:
        # The mode is ECB because CMAC of a single block is one AES call; no message sees it.
        self.encrypt = Cipher(AES(key), ECB()).encryptor().update  # noqa: S305


class Xaes256Gcm:
    """XAES-256-GCM under one key, usable from any number of threads.

    Args:
        key: 32 random bytes.

    Raises:
        ValueError: The key has another length.
    """

    __slots__ = ("_blocks", "_first", "_mask", "_second")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"an XAES-256-GCM key has {KEY_SIZE} bytes, not {len(key)}")
        self._blocks = _BlockCipher(key)
        subkey = _cmac_subkey(self._blocks.encrypt(bytes(16)))
        # M1 and M2 differ from call to call in the nonce's half only, so the constant parts
        # ("00 i 58 00", i = 1 and 2) meet the CMAC subkey here, once.
        head = int.from_bytes(subkey[:4], "big")
        self._first = (head ^ 0x00015800).to_bytes(4, "big")
        self._second = (head ^ 0x00025800).to_bytes(4, "big")
        self._mask = int.from_bytes(subkey[4:], "big")

    def __repr__(self) -> str:
        return "<Xaes256Gcm, key hidden>"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a cipher holds a key and can't be copied or pickled")

    def encrypt(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Encrypt one message.

        Args:
            nonce: 24 bytes that were never used with this key: ``os.urandom(24)``.
            plaintext: What to encrypt; may be empty.
            aad: What to authenticate beside it; may be empty.

        Returns:
            The ciphertext and its 16-byte tag.
        """
        return self._message_key(nonce).encrypt(nonce[_HALF:], plaintext, aad)

    def decrypt(self, nonce: bytes, ciphertext: bytes | memoryview, aad: bytes) -> bytes | None:
        """Decrypt one message.

        Args:
            nonce: The 24 bytes it was encrypted with.
            ciphertext: Ciphertext and tag, as `encrypt` returned them.
            aad: What was authenticated beside it.

        Returns:
            The plaintext, or None where key, nonce, ciphertext or aad isn't the one it was
            encrypted with. (None and not an exception, so that callers raise an error of their
            own that chains none of the cipher's.)
        """
        try:
            return self._message_key(nonce).decrypt(nonce[_HALF:], ciphertext, aad)
        except InvalidTag:
            return None

    def _message_key(self, nonce: bytes) -> AESGCM:
        if len(nonce) != NONCE_SIZE:
            raise ValueError(f"an XAES-256-GCM nonce has {NONCE_SIZE} bytes, not {len(nonce)}")
        half = (int.from_bytes(nonce[:_HALF], "big") ^ self._mask).to_bytes(_HALF, "big")
        blocks = b"".join((self._first, half, self._second, half))
        return AESGCM(self._blocks.encrypt(blocks))


def _cmac_subkey(zero_block: bytes) -> bytes:
    """Derive CMAC's K1 from AES of the zero block.

    Source: NIST SP 800-38B, section 6.1.
    """
    number = int.from_bytes(zero_block, "big")
    doubled = (number << 1) & ((1 << 128) - 1)
    if number >> 127:
        doubled ^= 0x87
    return doubled.to_bytes(16, "big")
