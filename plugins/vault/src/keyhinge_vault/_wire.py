"""What goes over the wire for Transit, as pure functions.

The server takes several texts for one ciphertext (`v01`, `v+1`, spare base64 bits, line breaks), so
none of them is kept: a value holds the decoded body and the version, and the one text is rebuilt.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from typing import Literal

from keyhinge import NO_CONTEXT, Context, encode_context

__all__ = ["Mode", "binding", "decode", "has_ciphertext", "is_version", "parse", "text_of"]

Mode = Literal["associated_data", "context"]
"""How a key binds a context: an ordinary one as associated data, a derived one by derivation."""

_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_TEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/=]+)", re.ASCII)


def has_ciphertext(path: str) -> bool:
    """Whether what is sent to a path holds ciphertexts that may be wrong."""
    return path.split("/")[-2:-1] in (["decrypt"], ["rewrap"])


def is_version(version: str) -> bool:
    """Whether a value's label can be a version of a Transit key."""
    return _VERSION.fullmatch(version) is not None


def text_of(version: str, ciphertext: bytes) -> str:
    """Write a ciphertext as the server reads it."""
    return f"vault:v{version}:{b64encode(ciphertext).decode('ascii')}"


def parse(text: object) -> tuple[str, bytes] | None:
    """Read a ciphertext that the server wrote; None if it isn't one as it writes them.

    Returns:
        The version and the decoded body.
    """
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    body = decode(found[2])
    return (found[1], body) if body else None


def decode(text: object) -> bytes | None:
    """Decode canonical base64; None if it isn't that."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        decoded = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    return decoded if b64encode(decoded) == text.encode("ascii") else None


def binding(mode: Mode, context: Context) -> dict[str, str]:
    """Give the field of a request that binds a context; none for a value that has none at all.

    Raises:
        InvalidContextError: The context breaks a rule.
    """
    if context is NO_CONTEXT and mode == "associated_data":
        return {}
    return {mode: b64encode(encode_context(context)).decode("ascii")}
