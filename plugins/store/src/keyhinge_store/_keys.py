"""Primary keys as text, and back, with their types."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from keyhinge_store._layout import Key, Layout

__all__ = ["decode_key", "digest_of", "encode_key"]

_TYPES: dict[str, type] = {"bytes": bytes, "float": float, "int": int, "str": str, "UUID": UUID}


def encode_key(layout: Layout, key: Key) -> str:
    """Write a key as a JSON array of its columns' values.

    Numbers are numbers; text and UUIDs are strings, bytes are in hexadecimal. A value of another
    type than its column's, as SQLite allows, is an object that says so.
    """
    kinds = (layout.cell(name).kind for name in layout.key)
    parts = [_encoded(part, kind) for part, kind in zip(key, kinds, strict=True)]
    return json.dumps(parts, separators=(",", ":"))


def decode_key(layout: Layout, text: str) -> Key:
    """Read what `encode_key` wrote."""
    kinds = (layout.cell(name).kind for name in layout.key)
    return tuple(_decoded(part, kind) for part, kind in zip(json.loads(text), kinds, strict=True))


def digest_of(text: str) -> str:
    """Give what stands for a key of any length in an index."""
    return hashlib.sha256(text.encode()).hexdigest()


def _encoded(value: Any, kind: str) -> Any:
    if isinstance(value, (bytes, memoryview)):
        value = bytes(value)
        text: Any = value.hex()
    else:
        text = str(value) if isinstance(value, UUID) else value
    try:
        back = _decoded(text, kind)
    except ValueError:
        back = None
    # As it is, where the column's type tells what it was.
    if type(back) is type(value) and back == value:
        return text
    return {"type": type(value).__name__, "value": text}


def _decoded(value: Any, kind: str) -> Any:
    if isinstance(value, dict):
        made, value = _TYPES.get(value["type"]), value["value"]
    else:
        made = {"uuid": UUID, "bytes": bytes}.get(kind)
    if not isinstance(value, str) or made is None:
        return value
    return bytes.fromhex(value) if made is bytes else made(value)
