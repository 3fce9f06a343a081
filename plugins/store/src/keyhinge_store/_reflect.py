"""From a mapping to a layout: the table is looked at, and everything that doesn't fit is told."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from keyhinge import Problem
from keyhinge_store._cells import Cell, exact
from keyhinge_store._codec import Codec
from keyhinge_store._encodings import BytesCodec, ColumnsCodec, MonetrCodec, TextCodec
from keyhinge_store._errors import MappingError, TableMissingError
from keyhinge_store._layout import Layout
from keyhinge_store._mapping import TableMapping
from keyhinge_store._pins import Pin, Pins
from keyhinge_store._reflect_postgresql import look as look_in_postgresql
from keyhinge_store._reflect_sqlite import look as look_in_sqlite
from keyhinge_store._reflected import Found
from keyhinge_store._table import UtcDateTime

__all__ = ["reflect"]

_Literal = Callable[[Any], str]


class _AsGiven(sa.types.UserDefinedType[Any]):
    """Whatever the driver makes of a value, without a cast; it can be written into SQL, too."""

    cache_ok = True

    def literal_processor(self, dialect: sa.Dialect) -> _Literal:
        """Write a value as SQL does, for a digest of the condition."""
        return lambda value: "'" + str(value).replace("'", "''") + "'"


_CONTEXT_KINDS = ("text", "integer", "uuid")
_INTEGERS = range(-(2**63), 2**63)


def reflect(
    connection: sa.Connection,
    mapping: TableMapping,
    *,
    pins: Pins,
) -> tuple[Layout, Pin]:
    """Look at a table, and describe it for reading and writing. Reads only.

    Args:
        connection: Where it is.
        mapping: What its columns mean.
        pins: Knows which labels were used before, and whether an adoption is finished.

    Returns:
        The layout, and what is remembered of the column.

    Raises:
        TableMissingError: There is no such table.
        MappingError: The mapping doesn't fit the table; it has every problem.
    """
    dialect = connection.dialect.name
    look = look_in_postgresql if dialect == "postgresql" else look_in_sqlite
    found = look(connection, mapping.table, mapping.schema)
    if found is None:
        msg = f"the database has no table {mapping.full_name!r}, which the configuration maps"
        raise TableMissingError(msg)
    key = _unique_index(mapping, found)
    problems = list(_problems(mapping, found, key))
    where: list[sa.ColumnElement[bool]] = []
    table = _table(mapping, found)
    if not problems:
        for name, given in mapping.where.items():
            where += _condition(table, found.cells[name], given, dialect, problems)
    if not problems:
        problems += _null_keys(connection, table, found, key)
    if problems:
        raise MappingError(mapping.full_name, problems)
    pin = pins.of(mapping, found)
    nullable = [name for name in key if found.cells[name].nullable]
    where += [table.c[name].is_not(None) for name in nullable]
    layout = Layout(
        table=table,
        label=pin.label,
        codec=_codec(
            mapping, found, dialect, adopt=mapping.adopt is not None and not pin.is_adopted
        ),
        column_label=pin.column_label,
        key=key,
        bound=tuple(mapping.context),
        bound_columns=tuple(mapping.context.values()),
        encrypted_at=mapping.encrypted_at,
        where=sa.and_(*where) if where else None,
        where_columns=tuple(mapping.where),
        cells={name: found.cells[name] for name in mapping.used},
    )
    return layout, pin


def _unique_index(mapping: TableMapping, found: Found) -> tuple[str, ...]:
    """Give the key's columns in the order of the index, so that paging goes along it."""
    for index in found.unique:
        if set(index) == set(mapping.primary_key):
            return index
    return ()


def _problems(mapping: TableMapping, found: Found, key: Sequence[str]) -> Iterator[Problem]:
    if found.unfit:
        yield Problem("table", found.unfit)
        return
    missing = [name for name in mapping.used if name not in found.cells]
    for name in missing:
        near = difflib.get_close_matches(name, found.cells, n=1, cutoff=0.6)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        yield Problem(mapping.used[name], f"the table has no column {name!r}{hint}")
    if missing:
        return
    if not key:
        yield Problem(
            "primaryKey",
            f"{', '.join(mapping.primary_key)}: there is no primary key and no unique index of "
            "exactly these columns",
        )
    for name in mapping.primary_key:
        if found.cells[name].nullable and name not in found.lax_nulls:
            yield Problem("primaryKey", f"the column {name!r} may be NULL")
    yield from _context_problems(mapping, found)
    yield from _written_problems(mapping, found)


def _context_problems(mapping: TableMapping, found: Found) -> Iterator[Problem]:
    for key, name in mapping.context.items():
        cell = found.cells[name]
        if cell.kind not in _CONTEXT_KINDS:
            kind = found.types[name]
            msg = f"the column {name!r} is {kind}; a context is made of text, integers and UUIDs"
            yield Problem(f"context.{key}", msg)
        if cell.nullable and name not in {*mapping.primary_key} & found.lax_nulls:
            yield Problem(f"context.{key}", f"the column {name!r} may be NULL")


def _written_problems(mapping: TableMapping, found: Found) -> Iterator[Problem]:
    for role, name in mapping.columns.items():
        kinds: tuple[str, ...] = ("text",)
        if role == "ciphertext" and mapping.encoding == "bytes":
            kinds = ("bytes",)
        elif role == "ciphertext" and mapping.encoding == "columns":
            kinds = ("text", "bytes")
        if found.cells[name].kind not in kinds:
            msg = f"the column {name!r} is {found.types[name]}, not {' or '.join(kinds)}"
            yield Problem(f"columns.{role}", msg)
        if name in found.generated:
            yield Problem(f"columns.{role}", f"the column {name!r} is generated; write its source")
        if mapping.encoding == "monetr" and role != "ciphertext" and not found.cells[name].nullable:
            msg = f"the column {name!r} is NOT NULL; monetr leaves it NULL in some rows"
            yield Problem(f"columns.{role}", msg)
    name = mapping.encrypted_at or ""
    if name and (name in found.generated or not found.moments.get(name, False)):
        msg = f"the column {name!r} is {found.types[name]}, not timestamp with time zone"
        yield Problem("encryptedAt", msg)


def _null_keys(
    connection: sa.Connection, table: sa.Table, found: Found, key: Sequence[str]
) -> list[Problem]:
    """Look for NULL where SQLite allows it even in a primary key: no page would reach such rows."""
    nullable = [name for name in key if found.cells[name].nullable]
    if not nullable:
        return []
    is_null = sa.or_(*(table.c[name].is_(None) for name in nullable))
    if connection.execute(sa.select(sa.literal(1)).where(is_null).limit(1)).first() is None:
        return []
    return [Problem("primaryKey", "some rows have NULL in the key, so they can't be told apart")]


def _table(mapping: TableMapping, found: Found) -> sa.Table:
    types: Mapping[str, Any] = {"text": sa.Text(), "bytes": sa.LargeBinary()}
    types = {**types, "integer": sa.BigInteger(), "uuid": sa.types.NULLTYPE}
    columns = []
    for name in mapping.used:
        cell = found.cells.get(name)
        kind: sa.types.TypeEngine[Any] = sa.types.NULLTYPE
        if cell is not None and cell.sql_type in ("", "text", "character varying", "bytea"):
            kind = types.get(cell.kind, kind)
        if cell is not None and cell.kind == "integer":
            kind = types["integer"]
        if name == mapping.encrypted_at:
            kind = UtcDateTime()
        columns.append(sa.Column(sa.sql.quoted_name(name, None), kind))
    return sa.Table(mapping.table, sa.MetaData(), *columns, schema=mapping.schema)


def _codec(mapping: TableMapping, found: Found, dialect: str, *, adopt: bool) -> Codec:
    columns = mapping.columns
    if mapping.encoding == "text":
        return TextCodec(mapping.value, dialect, adopt)
    if mapping.encoding == "bytes":
        return BytesCodec(mapping.value, dialect)
    if mapping.encoding == "columns":
        labels = (columns["section"], columns["keyID"], columns["version"])
        binary = found.cells[mapping.value].kind == "bytes"
        return ColumnsCodec(mapping.value, labels, dialect, binary)
    return MonetrCodec(mapping.value, columns["keyID"], columns.get("version"), dialect)


def _condition(
    table: sa.Table, cell: Cell, given: Any, dialect: str, problems: list[Problem]
) -> list[sa.ColumnElement[bool]]:
    """Compare a column with one of some values. An index on it is still of use."""
    column = table.c[cell.name]
    values = list(given) if isinstance(given, (list, tuple, set, frozenset)) else [given]
    try:
        typed = [_typed(cell, value) for value in values if value is not None]
    except ValueError as error:
        problems.append(Problem(f"where.{cell.name}", str(error)))
        return []
    found: list[sa.ColumnElement[bool]] = []
    alike = sa.or_(sa.false(), *(column == sa.literal(value, _AsGiven()) for value in typed))
    if typed and cell.kind in ("text", "other"):
        same = exact(column, dialect).in_([str(value) for value in typed])
        found.append(sa.and_(alike, same) if cell.kind == "text" else same)
    elif typed:
        found.append(alike)
    if len(typed) != len(values):
        found.append(column.is_(None))
    return [sa.or_(*found)]


def _typed(cell: Cell, value: Any) -> Any:
    """Give a value of `where` as the column has it; a configuration has only text."""
    if cell.kind == "integer":
        number = int(value) if isinstance(value, (int, str)) and str(value).isascii() else None
        if number is None or isinstance(value, bool) or number not in _INTEGERS:
            msg = "must be a whole number, since the column is one"
            raise ValueError(msg)
        return number
    if cell.kind == "uuid":
        return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
    if cell.kind == "bytes" or not isinstance(value, (str, int)):
        msg = "a column can be compared with text, whole numbers and UUIDs"
        raise ValueError(msg)
    return str(value).lower() if isinstance(value, bool) else str(value)
