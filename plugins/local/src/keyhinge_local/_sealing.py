"""One version of a key set at work: the ciphertext's format and what is authenticated with it.

ciphertext = 01 ‖ nonce (24) ‖ XAES-256-GCM ciphertext and tag
associated data = "keyhinge/local/1" 00 ‖ u16 len, key id ‖ u8 len, version ‖ context's encoding

Key id and version are authenticated, so that they can't be exchanged; the context is, so that a
value can't be moved to another row.
"""

from __future__ import annotations

from os import urandom

from keyhinge import Context, InvalidCiphertextError, Sealed, canonical, encode_context
from keyhinge_local._errors import Sensitive
from keyhinge_local._xaes import NONCE_SIZE, TAG_SIZE, Xaes256Gcm

_MARKER = b"\x01"
_BODY = 1 + NONCE_SIZE
_SMALLEST = _BODY + TAG_SIZE
_LARGE = 16 * 1024
_DOMAIN = b"keyhinge/local/1\0"


class Sealer(Sensitive):
    """Encrypts and decrypts under one version of one key set.

    Args:
        key_id: The key set's id.
        label: The version's label, `<n>.<fingerprint>`.
        key: 32 bytes.
    """

    __slots__ = ("_cipher", "_prefix", "key_id", "label")

    def __init__(self, key_id: str, label: str, key: bytes) -> None:
        self.key_id = key_id
        self.label = label
        self._cipher = Xaes256Gcm(key)
        # canonical() ends with the context's encoding, the one part that varies.
        self._prefix = _DOMAIN + canonical(key_id, label, {}).removesuffix(encode_context({}))

    def seal(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt under a fresh random nonce."""
        nonce = urandom(NONCE_SIZE)
        body = self._cipher.encrypt(nonce, plaintext, self._prefix + encode_context(context))
        return Sealed(b"".join((_MARKER, nonce, body)), self.key_id, self.label)

    def open(self, ciphertext: bytes, context: Context) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            InvalidCiphertextError: It isn't that, or not with this context.
        """
        plaintext = None
        if len(ciphertext) >= _SMALLEST and ciphertext[:1] == _MARKER:
            aad = self._prefix + encode_context(context)
            # For what is large, a copy would cost more than the cipher; for what is small, a view.
            whole = memoryview(ciphertext) if len(ciphertext) > _LARGE else ciphertext
            plaintext = self._cipher.decrypt(ciphertext[1:_BODY], whole[_BODY:], aad)
        if plaintext is None:
            raise InvalidCiphertextError
        return plaintext
