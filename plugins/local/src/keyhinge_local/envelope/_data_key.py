"""A data key at work. It holds the cipher; the root key is forgotten once that is made."""

from __future__ import annotations

import itertools

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyhinge import Context, EncryptedValue, InvalidCiphertextError, KeyRef, Sealed, encode_context
from keyhinge_local._errors import Sensitive
from keyhinge_local.envelope._format import HEADER_SIZE, NONCE_SIZE, Wrapped

__all__ = ["DataKey", "OpenedKey"]

# For what is large, a copy would cost more than the cipher; for what is small, a view.
_LARGE = 16 * 1024
_new = tuple.__new__


class OpenedKey(Sensitive):
    """A data key that decrypts. Its commitment was compared before this was made.

    Args:
        wrapped: The data key as values carry it.
        key: The AES key.
        asked_at: When the key service was asked, in the clock's seconds.

    Attributes:
        prefix: What all its values begin with.
        partitioned: Whether it belongs to certain contexts only.
    """

    __slots__ = (
        "_body",
        "_decrypt",
        "_header",
        "_key_id",
        "_version",
        "asked_at",
        "partitioned",
        "prefix",
        "seen_at",
        "soon_at",
    )

    def __init__(self, wrapped: Wrapped, key: bytes, asked_at: float) -> None:
        self.prefix = wrapped.prefix
        self.partitioned = bool(wrapped.partition.keys)
        self._decrypt = AESGCM(key).decrypt
        self._header = wrapped.prefix[:HEADER_SIZE]
        self._body = len(wrapped.prefix) + NONCE_SIZE
        self._key_id, self._version = wrapped.label.key_id, wrapped.label.version
        self.asked_at = self.seen_at = self.soon_at = asked_at

    def open(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt one value.

        Args:
            value: A value that begins with this key's prefix. Its labels are compared with those
                of the wrapped key.
            context: Its context.

        Raises:
            InvalidCiphertextError: It was changed, or the context is another one.
        """
        if value.key_id == self._key_id and value.version == self._version:
            ciphertext = value.ciphertext
            body = self._body
            whole = ciphertext if len(ciphertext) < _LARGE else memoryview(ciphertext)
            aad = self._header + encode_context(context)
            try:
                return self._decrypt(ciphertext[body - NONCE_SIZE : body], whole[body:], aad)
            except (InvalidTag, ValueError):  # ValueError: too short to have nonce and tag
                pass
        raise InvalidCiphertextError


class DataKey(Sensitive):
    """A data key that encrypts, in the process that made it and nowhere else.

    Args:
        wrapped: The data key as values will carry it.
        key: The AES key.
        asked_at: When it was made, in the clock's seconds.

    Attributes:
        count: Gives the number of values before this one; each call counts one. Atomic, and a
            third of a lock's price.
        soon_count: From which number on another data key should be made.
        opened: The same key for decrypting, since it has just been proven to open.
        lookup: What `opened` is found by.
    """

    __slots__ = (
        "_encrypt",
        "_from_commitment",
        "asked_at",
        "count",
        "headers",
        "key_id",
        "lookup",
        "opened",
        "seen_at",
        "soon_at",
        "soon_count",
        "version",
    )

    def __init__(self, wrapped: Wrapped, key: bytes, asked_at: float) -> None:
        self._encrypt = AESGCM(key).encrypt
        # Contexts of another shape have their partition's entries at other places.
        self.headers = {wrapped.partition.bitmap: _halves(wrapped.prefix)}
        self._from_commitment = wrapped.prefix[3:]
        self.key_id, self.version = wrapped.label.key_id, wrapped.label.version
        self.opened, self.lookup = OpenedKey(wrapped, key, asked_at), wrapped.lookup
        self.count = itertools.count().__next__
        self.soon_count = 0  # until `Sealing` says otherwise
        self.asked_at = self.seen_at = self.soon_at = asked_at

    def seal(self, plaintext: bytes, context: Context, bitmap: bytes, nonce: bytes) -> Sealed:
        """Encrypt one value.

        Args:
            plaintext: What to encrypt.
            context: What is authenticated with it.
            bitmap: Which of the context's entries are the data key's partition.
            nonce: 12 bytes from `os.urandom`, used for nothing else.
        """
        header, prefix = self.headers.get(bitmap) or self._header(bitmap)
        body = self._encrypt(nonce, plaintext, header + encode_context(context))
        # Half the price of calling Sealed.
        return _new(Sealed, (b"".join((prefix, nonce, body)), self.key_id, self.version))

    def is_outdated(self, current: KeyRef) -> bool:
        """Tell whether the wrapping key has a newer version. One that wasn't told can't be."""
        return self.key_id != current.key_id or bool(
            self.version and self.version != current.version
        )

    def _header(self, bitmap: bytes) -> tuple[bytes, bytes]:
        made = self.headers[bitmap] = _halves(b"\x01" + bitmap + self._from_commitment)
        return made


def _halves(prefix: bytes) -> tuple[bytes, bytes]:
    return prefix[:HEADER_SIZE], prefix
