"""Primary keys as text, and back, with their types."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from keyhinge_store._layout import Key, Layout

__all__ = ["decode_key", "digest_of", "encode_key", "shown_key"]

_FROM_TEXT: dict[type, Any] = {
    UUID: UUID,
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    bytes: bytes.fromhex,
    Decimal: Decimal,
    str: str,
}
_PLAIN = (str, int, float, type(None))
_TYPE, _VALUE = "type", "value"


def encode_key(layout: Layout, key: Key) -> str:
    """Write a key as a JSON array of its columns' values.

    Numbers are numbers; text and UUIDs are strings, moments are in ISO 8601, bytes in hexadecimal.
    A value of another type than its column's, as SQLite allows, is an object that says so.
    """
    parts = [_encoded(part, _type_of(layout, index)) for index, part in enumerate(key)]
    return json.dumps(parts, separators=(",", ":"))


def decode_key(layout: Layout, text: str) -> Key:
    """Read what `encode_key` wrote."""
    parts = json.loads(text)
    return tuple(_decoded(part, _type_of(layout, index)) for index, part in enumerate(parts))


def shown_key(layout: Layout, text: str) -> dict[str, Any]:
    """Give a key that `encode_key` wrote by the names of its columns, in types that JSON has."""
    parts = (part[_VALUE] if isinstance(part, dict) else part for part in json.loads(text))
    return dict(zip(layout.key, parts, strict=True))


def digest_of(text: str) -> str:
    """Give what stands for a key of any length in an index."""
    return hashlib.sha256(text.encode()).hexdigest()


def _type_of(layout: Layout, index: int) -> type:
    try:
        return layout.table.c[layout.key[index]].type.python_type
    except NotImplementedError:
        return str  # SQLAlchemy doesn't know it; drivers give text


def _encoded(value: Any, kind: type) -> Any:
    if isinstance(value, memoryview):
        value = bytes(value)
    # Text, and numbers of a column of numbers, are what they are when they are read again.
    if value is None or type(value) is kind is not float or isinstance(value, (int, float)):
        if isinstance(value, _PLAIN):
            return value if kind not in _FROM_TEXT or kind is type(value) else _tagged(value)
        return _text(value)
    return _tagged(value)


def _tagged(value: Any) -> Any:
    return value if value is None else {_TYPE: type(value).__name__, _VALUE: _text(value)}


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return value if isinstance(value, _PLAIN) else str(value)


def _decoded(value: Any, kind: type) -> Any:
    if isinstance(value, dict):
        types: dict[str, type] = {each.__name__: each for each in _FROM_TEXT}
        kind, value = types.get(value[_TYPE], int), value[_VALUE]
    if not isinstance(value, str) or kind not in _FROM_TEXT:
        return value
    return _FROM_TEXT[kind](value)
