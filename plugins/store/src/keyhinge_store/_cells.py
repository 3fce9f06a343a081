"""Columns of any table: which kinds there are, and how their contents are written as text."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import sqlalchemy as sa

from keyhinge import InvalidCiphertextError

__all__ = ["Cell", "Kind", "exact", "in_json", "no_text", "render_context", "said"]

Kind = Literal["text", "integer", "uuid", "bytes", "other"]


@attrs.frozen
class Cell:
    """A column as a layout uses it.

    Attributes:
        name: Its name.
        kind: What Python gets: str, int, UUID, bytes. Everything else is read as text in
            PostgreSQL, and as it is in SQLite.
        sql_type: PostgreSQL's name of its type, without a length.
        nullable: Whether it may be NULL.
        length: How many characters fit in; None for any number.
    """

    name: str
    kind: Kind = "text"
    sql_type: str = "text"
    nullable: bool = False
    length: int | None = None

    @property
    def plain(self) -> bool:
        """Whether it is PostgreSQL's own type for text."""
        return self.sql_type == "text"


def render_context(key: str, value: Any) -> str:
    """Write a context column's content as it is bound to the value. The one place that does.

    Text as it is, integers in decimal, UUIDs in lower case with hyphens.

    Raises:
        InvalidCiphertextError: It is NULL, or something else.
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int or kind is uuid.UUID:
        return str(value)
    name = "NULL" if value is None else kind.__name__
    msg = f"the column of the context {key!r} holds {name}; it must be text, an integer or a UUID"
    raise InvalidCiphertextError(msg)


def exact(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[str]:
    """Compare a column of text byte by byte, whatever its type or collation calls equal."""
    if dialect == "postgresql":
        return sa.collate(sa.cast(column, sa.Text), "C")
    return sa.collate(column, "BINARY")


def said(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[str]:
    """Compare a column of text by what it says, also where that isn't text.

    SQLite keeps bytes in a column of text as they are, and bytes are equal to no text. No index
    serves for this.
    """
    if dialect == "sqlite":
        column = sa.cast(column, sa.Text)
    return exact(column, dialect)


def no_text(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[bool]:
    """Find rows in which a column of text holds something else, as SQLite lets it."""
    if dialect != "sqlite":
        return sa.false()
    return sa.and_(column.is_not(None), sa.func.typeof(column) != "text")


_JSON: Mapping[type, Callable[[Any], Any]] = {uuid.UUID: str, bytes: bytes.hex}


def in_json(value: Any) -> Any:
    """Give a key's part as JSON can hold it: a UUID as text, bytes in hexadecimal."""
    write = _JSON.get(type(value))
    return value if write is None else write(value)
