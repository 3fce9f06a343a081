"""Identities: from the setting's text to what encrypts, decrypts and authenticates."""

import hashlib
import hmac
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from keyhinge import Context, InvalidCiphertextError, KeyUnavailableError, Secret, canonical

if TYPE_CHECKING:
    from pyrage import x25519

FORMAT = b"\x01"
TAG = 32
OFFSET = len(FORMAT) + TAG
"""Where in a value the age file begins."""

_PURPOSE = b"keyhinge-age 1: tag of context and file"


class Identity:
    """One age identity. What it seals is ``FORMAT ‖ tag ‖ age file``.

    age has no associated data, and whoever knows a public key can make files for it. So the tag
    is an HMAC over the context and the file, under a key that only the identity's holder can
    derive: with it, a planted value and a moved value are told from those that were made here.

    Args:
        key: The identity, as pyrage parsed it.
    """

    __slots__ = ("_key", "_recipient", "_tag_key", "key_id")

    def __init__(self, key: "x25519.Identity") -> None:
        self._key = key
        self._recipient = key.to_public()
        self._tag_key = hmac.digest(str(key).encode(), _PURPOSE, "sha256")
        self.key_id = str(self._recipient)
        """The public key: it is what age calls the identity by, and no secret."""

    def seal(self, plaintext: bytes, context: Context, recovery: "list[x25519.Recipient]") -> bytes:
        """Encrypt for this identity, and for those that are kept for recovery."""
        from pyrage import encrypt

        file = encrypt(plaintext, [self._recipient, *recovery])
        return FORMAT + self._tag(context, file) + file

    def open(self, sealed: bytes, context: Context) -> bytes:
        """Decrypt what `seal` made under the same context.

        Raises:
            InvalidCiphertextError: Somebody else made it, or it was changed or moved.
        """
        from pyrage import DecryptError, decrypt

        tag, file = sealed[1:OFFSET], sealed[OFFSET:]
        if sealed[:1] == FORMAT and hmac.compare_digest(tag, self._tag(context, file)):
            with suppress(DecryptError):  # ours is raised outside, so that this isn't chained
                return decrypt(file, [self._key])
        raise InvalidCiphertextError

    def _tag(self, context: Context, file: bytes) -> bytes:
        # Hashed, so that the context has one length and can't run into the file.
        bound = hashlib.sha256(canonical(self.key_id, "", context)).digest()
        return hmac.digest(self._tag_key, bound + file, "sha256")

    def __repr__(self) -> str:
        return f"<Identity of {self.key_id}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "an Identity holds a secret key and can't be copied or pickled"
        raise TypeError(msg)


class Identities:
    """The identities of a section, parsed once for each text that the setting has.

    Args:
        setting: The setting; its file may change at any time.
    """

    def __init__(self, setting: Secret) -> None:
        self.setting = setting
        # No lock: the pair is replaced in one step, and parsing twice does no harm.
        self._parsed: tuple[bytes, tuple[Identity, ...]] | None = None

    def all(self) -> tuple[Identity, ...]:
        """Give the identities, the one that encrypts first.

        Raises:
            KeyUnavailableError: The text holds none, or something else.
            SecretFileError: The file can't be read.
        """
        text = self.setting.reveal()
        # Not the text itself: a secret is kept in as few places as can be.
        mark = hashlib.sha256(text.encode()).digest()
        parsed = self._parsed
        if parsed is None or parsed[0] != mark:
            parsed = self._parsed = (mark, _parse(text))
        return parsed[1]

    def forget(self) -> None:
        """Drop the keys."""
        self._parsed = None


def _parse(text: str) -> tuple[Identity, ...]:
    from pyrage import IdentityError, x25519

    found = []
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        identity = None
        with suppress(IdentityError):
            identity = x25519.Identity.from_str(line)
        if identity is None:
            msg = f"line {number} of the setting 'identity' isn't one (AGE-SECRET-KEY-1…)"
            raise KeyUnavailableError(msg)
        found.append(Identity(identity))
    if not found:
        raise KeyUnavailableError("the setting 'identity' holds no age identity")
    return tuple(found)
