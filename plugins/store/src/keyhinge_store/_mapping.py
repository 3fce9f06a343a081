"""Describing a table that exists already: which of its columns mean what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from keyhinge import ConfigError, InvalidContextError, Problem, encode_context

__all__ = ["ROLES", "Encoding", "TableMapping", "mapping_problems"]

Encoding = Literal["text", "bytes", "columns", "monetr"]

ROLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "text": (("ciphertext",), ()),
    "bytes": (("ciphertext",), ()),
    "columns": (("ciphertext", "section", "keyID", "version"), ()),
    "monetr": (("ciphertext", "keyID"), ("version",)),
}
"""For each encoding the roles that need a column, and those that may have one."""

_CONTEXT_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MAX_CONTEXT = 16 - len(("table", "column"))
_MAX_NAME = 1024


def _frozen(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True, eq=False)
class TableMapping:
    """An encrypted column of a table that exists already.

    Several mappings may name the same table, one for each of its encrypted columns.

    Args:
        table: The table's name, exactly as the database has it.
        schema: Its schema; None for the connection's default.
        label: The table's name in the context. The default is its name at the first use.
        column_label: The column's name in the context. The default is its name at the first use.
        primary_key: The columns of the primary key, or of another unique index without NULL.
        encoding: How values stand in the columns: "text", "bytes", "columns" or "monetr".
        columns: The column for each role: `ciphertext`, and where the encoding has them
            `section`, `keyID` and `version`.
        context: What values are bound to: the column for each key of the context. Columns of
            text, integers or UUIDs, none of them NULL.
        where: Which rows are meant: for each column a value or a list of values. They are sent
            as parameters. None is NULL.
        adopt: "plaintext" where the column still holds plaintexts beside encrypted values.
        encrypted_at: A column to keep the time of encryption in, if there is one.

    Raises:
        ConfigError: With everything that doesn't fit together.
    """

    table: str
    schema: str | None = None
    label: str | None = None
    column_label: str | None = None
    primary_key: tuple[str, ...] = attrs.field(converter=_names)
    encoding: Encoding
    columns: Mapping[str, str] = attrs.field(converter=_frozen)
    context: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen)
    where: Mapping[str, Any] = attrs.field(factory=dict, converter=_frozen)
    adopt: Literal["plaintext"] | None = None
    encrypted_at: str | None = None

    def __attrs_post_init__(self) -> None:
        problems = [Problem(path, message) for path, message in mapping_problems(self)]
        if problems:
            raise ConfigError(problems)

    @property
    def full_name(self) -> str:
        """The table's name, with the schema where one is given."""
        return self.table if self.schema is None else f"{self.schema}.{self.table}"

    @property
    def value(self) -> str:
        """The column with the ciphertext."""
        return self.columns["ciphertext"]

    @property
    def used(self) -> dict[str, str]:
        """Every column that is named, and what for; the last use counts."""
        found = {name: f"where.{name}" for name in self.where}
        found.update({column: f"context.{key}" for key, column in self.context.items()})
        found.update(dict.fromkeys(self.primary_key, "primaryKey"))
        if self.encrypted_at is not None:
            found[self.encrypted_at] = "encryptedAt"
        found.update({column: f"columns.{role}" for role, column in self.columns.items()})
        return found


def mapping_problems(mapping: Any) -> list[tuple[str, str]]:
    """Find everything that is wrong with a mapping, without looking at the database.

    Returns:
        Pairs of the YAML key and what is wrong.
    """
    return [*_names_of(mapping), *_roles(mapping), *_context(mapping), *_meanings(mapping)]


def _names_of(mapping: Any) -> Iterator[tuple[str, str]]:
    given = {"table": mapping.table, "schema": mapping.schema, "encryptedAt": mapping.encrypted_at}
    given |= {"label": mapping.label, "columnLabel": mapping.column_label}
    for key, name in given.items():
        if name is not None and not _is_name(name):
            yield key, "must be a name: 1 to 1,024 bytes of text without NUL"
    for key, names in (
        ("primaryKey", mapping.primary_key),
        ("context", mapping.context.values()),
        ("columns", mapping.columns.values()),
        ("where", mapping.where),
    ):
        if not all(map(_is_name, names)):
            yield key, "each column must be a name: 1 to 1,024 bytes of text without NUL"
    if not mapping.primary_key:
        yield "primaryKey", "must name at least one column"
    if len(set(mapping.primary_key)) != len(mapping.primary_key):
        yield "primaryKey", "names a column twice"


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME:
        return False
    try:
        encode_context({"name": name})
    except InvalidContextError:
        return False
    return True


def _roles(mapping: Any) -> Iterator[tuple[str, str]]:
    if mapping.encoding not in ROLES:
        yield "encoding", f"must be one of: {', '.join(ROLES)}"
        return
    needed, possible = ROLES[mapping.encoding]
    for role in needed:
        if role not in mapping.columns:
            yield f"columns.{role}", f"this key is missing; {mapping.encoding!r} needs it"
    for role in mapping.columns:
        if role not in (*needed, *possible):
            yield f"columns.{role}", f"{mapping.encoding!r} has no such column"
    if mapping.adopt not in (None, "plaintext"):
        yield "adopt", "must be 'plaintext', or left out"
    if mapping.adopt is not None and mapping.encoding != "text":
        yield "adopt", "works with the encoding 'text' alone"


def _context(mapping: Any) -> Iterator[tuple[str, str]]:
    if mapping.encoding == "monetr" and mapping.context:
        yield "context", "values that monetr reads have none"
    if len(mapping.context) > _MAX_CONTEXT:
        yield "context", f"has {len(mapping.context)} entries; at most {_MAX_CONTEXT} are allowed"
    lower = [str(key).lower() for key in mapping.context]
    for key, low in zip(mapping.context, lower, strict=True):
        if not isinstance(key, str) or not _CONTEXT_KEY.fullmatch(key):
            yield "context", "each key must be a letter, then letters, digits, '_', '.' or '-'"
        elif low in ("table", "column") or low.startswith("keyhinge"):
            yield f"context.{key}", "this key is the library's own; choose another"
        elif lower.count(low) > 1:
            yield f"context.{key}", "another key differs from it only in case"


def _meanings(mapping: Any) -> Iterator[tuple[str, str]]:
    """Find columns that can't be two things at once."""
    written = list(mapping.columns.values())
    if mapping.encrypted_at is not None:
        written.append(mapping.encrypted_at)
    for name in dict.fromkeys(written):
        if written.count(name) > 1:
            yield "columns", f"the column {name!r} has two roles"
    fixed = {"primaryKey": mapping.primary_key, "context": mapping.context.values()}
    for key, names in {**fixed, "where": mapping.where}.items():
        for name in dict.fromkeys(names):
            if name in written:
                yield key, f"the column {name!r} is written when a value is, so it can't be here"
    for name, value in mapping.where.items():
        values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not values:
            yield f"where.{name}", "must be a value, or a list with at least one"
