"""Looking at a table in PostgreSQL's catalogue."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from keyhinge_store._cells import Cell, Kind
from keyhinge_store._reflected import Found

__all__ = ["full_name", "look"]

_KINDS: dict[str, Kind] = {
    "text": "text",
    "varchar": "text",
    "citext": "text",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "uuid": "uuid",
    "bytea": "bytes",
}
_UNFIT = {
    "v": "it is a view; map the table behind it",
    "m": "it is a materialized view; map the table behind it",
    "f": "it is a foreign table; map it where it is",
}
_TABLE = sa.text("SELECT oid, relkind::text FROM pg_class WHERE oid = to_regclass(:name)")
# A domain counts as the type that it is made from; domains over domains are followed, too.
_COLUMNS = sa.text(
    """
    WITH RECURSIVE base AS (
        SELECT a.attnum, t.oid, t.typtype, t.typbasetype, t.typname, a.attnotnull OR t.typnotnull
            AS is_not_null, a.atttypmod AS modifier
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = :table AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT b.attnum, t.oid, t.typtype, t.typbasetype, t.typname,
            b.is_not_null OR t.typnotnull,
            CASE WHEN b.modifier < 0 THEN d.typtypmod ELSE b.modifier END
        FROM base b JOIN pg_type d ON d.oid = b.oid JOIN pg_type t ON t.oid = b.typbasetype
        WHERE b.typtype = 'd'
    )
    SELECT a.attname, a.attnum, format_type(a.atttypid, NULL) AS type,
        format_type(a.atttypid, -1) AS bare, b.typname AS base, b.is_not_null, b.modifier,
        a.attgenerated::text <> '' AS is_generated
    FROM pg_attribute a JOIN base b ON b.attnum = a.attnum AND b.typtype <> 'd'
    WHERE a.attrelid = :table AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
    """
)
_INDEXES = sa.text(
    """
    SELECT i.indexrelid, i.indisprimary, a.attname
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
    WHERE i.indrelid = :table AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
        AND i.indexprs IS NULL
    ORDER BY i.indisprimary DESC, i.indexrelid, k.place
    """
)


def full_name(dialect: sa.Dialect, table: str, schema: str | None) -> str:
    """Write a table's name for `to_regclass`."""
    parts = [part for part in (schema, table) if part is not None]
    quoted = ".".join(map(dialect.identifier_preparer.quote_identifier, parts))
    # In a parameter a percent sign stands for itself; the preparer doubles it for statements.
    return quoted.replace("%%", "%")


def look(connection: sa.Connection, table: str, schema: str | None) -> Found | None:
    """Look at a table; None if there is none of this name."""
    name = full_name(connection.dialect, table, schema)
    row = connection.execute(_TABLE, {"name": name}).first()
    if row is None:
        return None
    oid, relkind = row
    columns = connection.execute(_COLUMNS, {"table": oid}).all()
    indexes: dict[int, list[str]] = {}
    for index, _, column in connection.execute(_INDEXES, {"table": oid}):
        indexes.setdefault(index, []).append(column)
    return Found(
        cells={each.attname: _cell(each) for each in columns},
        types={each.attname: each.type for each in columns},
        generated=frozenset(each.attname for each in columns if each.is_generated),
        moments={each.attname: each.base == "timestamptz" for each in columns},
        unique=tuple(map(tuple, indexes.values())),
        unfit="" if relkind in "rp" else _UNFIT.get(relkind, "it isn't a table"),
        table_id=oid,
        column_ids={each.attname: each.attnum for each in columns},
    )


def _cell(column: Any) -> Cell:
    kind = _KINDS.get(column.base, "other")
    # The modifier of varchar counts four bytes of an old header.
    has_length = column.base in ("varchar", "bpchar") and column.modifier > 4
    return Cell(
        name=column.attname,
        kind=kind,
        sql_type=column.bare,
        nullable=not column.is_not_null,
        length=column.modifier - 4 if has_length else None,
    )
