"""The key set: versions of a key, one of which encrypts, and the text they are kept in.

The text is JSON, one object, ASCII only::

    {
      "format": "keyhinge-local/1",
      "id": "ks-…",                            the key set's random id, the same for all versions
      "active": 1,                             the version that encrypts; all of them decrypt
      "versions": [
        {
          "version": 1,                        1, 2, 3 …, ascending, at most 999999
          "created": "2026-01-31T12:00:00Z",   UTC
          "fingerprint": "8 hex digits",
          "key": "base64 of 32 bytes"
        }
      ]
    }

fingerprint = first 4 bytes of SHA-256("keyhinge/local/fingerprint/1" 00 ‖ key). It is not a
secret and finds two things: a key that was mistyped, and copies of a key file that were rotated
apart, so that their version 2 isn't the same key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from datetime import datetime, timezone

from keyhinge_local._errors import KeyFileError, Sensitive

FORMAT = "keyhinge-local/1"
KEY_SIZE = 32
MAX_BYTES = 256 * 1024
MAX_VERSIONS = 1000
MAX_NUMBER = 999_999
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_FINGERPRINT_DOMAIN = b"keyhinge/local/fingerprint/1\0"


def fingerprint(key: bytes) -> str:
    """Compute the 8 hex digits that tell one key from another without giving it away."""
    return hashlib.sha256(_FINGERPRINT_DOMAIN + key).hexdigest()[:8]


class KeyVersion(Sensitive):
    """One version: a number, a key and when it was made (UTC, whole seconds)."""

    __slots__ = ("created", "fingerprint", "key", "label", "number")

    def __init__(self, number: int, key: bytes, created: datetime) -> None:
        self.number = number
        self.key = key
        self.created = created
        self.fingerprint = fingerprint(key)
        self.label = f"{number}.{self.fingerprint}"


class KeySet(Sensitive):
    """A key set; immutable, each change gives a new one.

    Args:
        key_id: The random id.
        versions: All versions, ascending.
        active: The number of the one that encrypts.
    """

    __slots__ = ("active", "key_id", "versions")

    def __init__(self, key_id: str, versions: Sequence[KeyVersion], active: int) -> None:
        self.key_id = key_id
        self.versions = tuple(versions)
        self.active = active

    @classmethod
    def generate(cls, now: datetime) -> KeySet:
        """Make a new key set with one version, which is active."""
        return cls(f"ks-{secrets.token_hex(16)}", [KeyVersion(1, os.urandom(KEY_SIZE), now)], 1)

    def rotated(self, now: datetime) -> KeySet:
        """Add a version, which only decrypts so far."""
        number = self.versions[-1].number + 1
        added = KeyVersion(number, os.urandom(KEY_SIZE), now)
        return KeySet(self.key_id, (*self.versions, added), self.active)

    def activated(self, number: int) -> KeySet:
        """Make the version of this number the one that encrypts."""
        return KeySet(self.key_id, self.versions, number)

    def dump(self) -> str:
        """Write the key set as text; `parse` reads it."""
        versions = [
            {
                "version": version.number,
                "created": version.created.strftime(TIME_FORMAT),
                "fingerprint": version.fingerprint,
                "key": base64.b64encode(version.key).decode("ascii"),
            }
            for version in self.versions
        ]
        document = {
            "format": FORMAT,
            "id": self.key_id,
            "active": self.active,
            "versions": versions,
        }
        return json.dumps(document, indent=2) + "\n"


def too_large(where: str) -> KeyFileError:
    """Describe a text larger than `MAX_BYTES`."""
    return KeyFileError("malformed", where, f"not a key file: larger than {MAX_BYTES} bytes")


def utc_now() -> datetime:
    """Tell the time as key files keep it: UTC, whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0)
