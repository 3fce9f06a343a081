"""The bytes of a ciphertext, and what is derived and authenticated.

| offset | size | field |
|---|---|---|
| 0 | 1 | 01: fixes every algorithm and length here |
| 1 | 2 | partition bitmap: bit i is the i-th context entry in canonical order |
| 3 | 32 | commitment |
| 35 | 2 | length of the wrapped key |
| 37 | w | wrapped key: an encrypted value, bytes form, of the root key |
| 37+w | 12 | nonce |
| 49+w | n+16 | AES-256-GCM ciphertext and tag |

Everything before the nonce is the *prefix*: it is the same for all values of one data key (and
one partition bitmap). `docs/reference/formats.md` says why each part is there.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from keyhinge import EncryptedValue, InvalidCiphertextError, KeyRef
from keyhinge_local.envelope._partition import Partition

__all__ = [
    "HEADER_SIZE",
    "KEY_SIZE",
    "LARGEST_WRAPPED",
    "NONCE_SIZE",
    "SMALLEST",
    "Wrapped",
    "commitment_in",
    "derive",
    "label_of",
    "parse_wrapped",
    "prefix_end",
    "prefix_of",
]

MARKER = b"\x01"
KEY_SIZE = 32
HEADER_SIZE = 35
NONCE_SIZE = 12
TAG_SIZE = 16
# The field allows 65,535; the rest of the overhead must find room in a value, too.
LARGEST_WRAPPED = 65_000
_WRAPPED = HEADER_SIZE + 2
SMALLEST = _WRAPPED + 1 + NONCE_SIZE + TAG_SIZE
_DOMAIN = b"keyhinge/envelope/1\0"


class Wrapped:
    """A data key as a value carries it: all that it takes to open it, and to know it again.

    Args:
        prefix: Everything before the nonce.
        value: The root key, encrypted by another section.
        partition: The entries of the context that the data key belongs to.
    """

    __slots__ = ("lookup", "partition", "prefix", "value")

    def __init__(self, prefix: bytes, value: EncryptedValue, partition: Partition) -> None:
        self.prefix = prefix
        self.value = value
        self.partition = partition
        self.lookup = lookup_of(prefix, partition)

    @property
    def commitment(self) -> bytes:
        """What a key must match before anything is decrypted under it."""
        return self.prefix[3:HEADER_SIZE]

    @property
    def label(self) -> KeyRef:
        """The key id and version that a value's outer labels must say."""
        return label_of(self.value)


def lookup_of(prefix: bytes, partition: Partition) -> bytes:
    """Give what a cached key is found by: the prefix's exact bytes and the wrap context.

    The prefix says its own length, so nothing else gives the same bytes.
    """
    return prefix + partition.encoded if partition.keys else prefix


def label_of(value: EncryptedValue) -> KeyRef:
    """Tell how a value is labelled whose data key is wrapped so: `SECTION/KEYID` and version."""
    return KeyRef(f"{value.section}/{value.key_id}", value.version)


def derive(root: bytes, wrap_context: bytes) -> tuple[bytes, bytes]:
    """Derive the AES key and the commitment from a root key.

    HKDF-Expand with SHA-512 (RFC 5869, section 2.3); 64 bytes are one block, so one HMAC.

    Args:
        root: 32 random bytes.
        wrap_context: The encoding of the context that the root key is wrapped under.

    Returns:
        32 bytes each.
    """
    block = hmac.digest(root, _DOMAIN + wrap_context + b"\x01", hashlib.sha512)
    return block[:KEY_SIZE], block[KEY_SIZE:]


def prefix_of(bitmap: bytes, commitment: bytes, wrapped: bytes) -> bytes:
    """Put everything before the nonce together."""
    return b"".join((MARKER, bitmap, commitment, len(wrapped).to_bytes(2, "big"), wrapped))


def prefix_end(ciphertext: bytes) -> int:
    """Tell where the prefix of a ciphertext should end; past its end where it is cut short."""
    return _WRAPPED + int.from_bytes(ciphertext[HEADER_SIZE:_WRAPPED], "big")


def commitment_in(ciphertext: bytes) -> bytes:
    """Give the commitment in a ciphertext.

    Raises:
        InvalidCiphertextError: It isn't what this provider makes.
    """
    if ciphertext[:1] != MARKER or len(ciphertext) < SMALLEST:
        raise InvalidCiphertextError
    return ciphertext[3:HEADER_SIZE]


def parse_wrapped(ciphertext: bytes, end: int, find: Callable[[bytes], Partition]) -> Wrapped:
    """Read the data key in a ciphertext.

    Args:
        ciphertext: The ciphertext.
        end: Where its prefix ends, as `prefix_end` tells.
        find: Gives the partition that a bitmap names.

    Raises:
        InvalidCiphertextError: It isn't what this provider makes, or not with such a context.
    """
    if ciphertext[:1] != MARKER or end == _WRAPPED or len(ciphertext) < end + NONCE_SIZE + TAG_SIZE:
        raise InvalidCiphertextError
    partition = find(ciphertext[1:3])
    value = EncryptedValue.from_bytes(ciphertext[_WRAPPED:end])
    return Wrapped(ciphertext[:end], value, partition)
