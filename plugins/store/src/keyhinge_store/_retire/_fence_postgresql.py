"""Fences in PostgreSQL: one trigger for each column, and one function that they share."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from keyhinge_store._fence_words import FENCE_STATE, FENCE_WORDS
from keyhinge_store._layout import Layout
from keyhinge_store._retire._fence import Fence, Memory, read_memory
from keyhinge_store._written import literal, quoted, quoted_table, run_written, written

__all__ = [
    "create",
    "drop",
    "drop_function",
    "function",
    "listed",
    "look",
    "make_function",
    "place_of",
]

_FUNCTION = "keyhinge_fence"
_WORDS = FENCE_WORDS.format(section="%", table="%")
# It names no operator and no function, so whoever calls it can't make it do something else.
_BODY = f"""
BEGIN
  RAISE EXCEPTION '{_WORDS}', TG_ARGV[0], TG_TABLE_NAME
    USING ERRCODE = '{FENCE_STATE}', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
      CONSTRAINT = TG_NAME;
END
"""
# For each row (1), on INSERT (4) and UPDATE (16), and afterwards: neither 2 nor 64.
_TYPE = 1 + 4 + 16

# Columns are found by what the condition depends on, so renaming doesn't matter. A partitioned
# table has a copy of the trigger on each partition, and each could be disabled alone.
_LIST = sa.text(
    f"""
    SELECT t.tgname::text AS name, t.tgargs, pg_get_triggerdef(t.oid) AS definition,
        c.oid AS place, c.relname::text AS table_name,
        n.nspname::text AS schema_name, pg_table_is_visible(c.oid) AS is_visible,
        t.tgenabled::text IN ('O', 'A') AND t.tgtype = {_TYPE} AND t.tgattr::text = ''
            AND p.prosrc = :body
            AND NOT EXISTS (
                SELECT 1 FROM pg_partition_tree(c.oid) part
                WHERE part.relid <> c.oid AND NOT EXISTS (
                    SELECT 1 FROM pg_trigger x WHERE x.tgrelid = part.relid
                        AND x.tgname = t.tgname AND x.tgenabled::text IN ('O', 'A')))
            AND NOT EXISTS (
                SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid AND c.relkind::text = 'r')
            AS is_enabled,
        ARRAY(
            SELECT a.attname::text FROM pg_depend d
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = CAST('pg_trigger' AS regclass) AND d.objid = t.oid
                AND d.refobjid = t.tgrelid AND d.refobjsubid > 0) AS columns
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE p.proname = '{_FUNCTION}' AND t.tgparentid = 0
    ORDER BY n.nspname, c.relname, t.tgname
    """  # noqa: S608 - constants of ours
)
_LOOK = sa.text(
    """
    SELECT c.oid AS place, n.nspname::text AS schema_name, row_security_active(c.oid) AS is_hidden,
        c.relkind::text = 'r' AND EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = c.oid)
            AS has_heirs,
        pg_is_in_recovery() AS is_replica
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass(:name)
    """
)
_HAS_FUNCTION = sa.text(
    f"""
    SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = '{_FUNCTION}' AND n.nspname = :schema AND p.prosrc = :body
    """  # noqa: S608 - a constant of ours
)
_IS_USED = sa.text(
    f"""
    SELECT 1 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = '{_FUNCTION}' AND n.nspname = :schema LIMIT 1
    """  # noqa: S608 - a constant of ours
)


def look(connection: sa.Connection, layout: Layout) -> Any:
    """Look at a table: what identifies it, its schema, and what speaks against an answer."""
    return connection.execute(_LOOK, {"name": quoted_table(layout.table, "postgresql")}).one()


def place_of(connection: sa.Connection, layout: Layout) -> Any:
    """Give what identifies a table."""
    return look(connection, layout).place


def listed(connection: sa.Connection) -> list[Fence]:
    """Find all fences of a database."""
    found = []
    for row in connection.execute(_LIST, {"body": _BODY}):
        arguments = bytes(row.tgargs).split(b"\0")
        memory = read_memory(row.name, arguments[1].decode("utf-8")) if arguments[1:] else None
        if memory is not None and arguments[0] == memory.section.encode():
            found.append(_fence(row, memory))
    return found


def _fence(row: Any, memory: Memory) -> Fence:
    names = (row.table_name,) if row.is_visible else (row.schema_name, row.table_name)
    return Fence(
        ".".join(names),
        memory.column,
        memory.section,
        memory.key_id,
        memory.version,
        row.is_enabled,
        row.name,
        memory=memory,
        place=row.place,
        columns=frozenset(row.columns),
        definitions=(row.definition,),
    )


def function(schema: str | None) -> str:
    """Write the statement that makes the function."""
    return (
        f"CREATE OR REPLACE FUNCTION {_function_name(schema)}() RETURNS trigger\n"
        f"LANGUAGE plpgsql SET search_path = pg_catalog AS $keyhinge${_BODY}$keyhinge$"
    )


def make_function(connection: sa.Connection, schema: str) -> None:
    """Make the function, if it isn't there; another user's is as good as ours."""
    given = {"schema": schema, "body": _BODY}
    if connection.execute(_HAS_FUNCTION, given).first() is None:
        run_written(connection, function(schema))


def create(
    layout: Layout, memory: Memory, condition: sa.ColumnElement[bool], schema: str | None
) -> list[str]:
    """Write the statement that makes a trigger.

    It comes after the row was written: then it sees what other triggers made of it, nothing is
    refused that a conflict would have kept out, and a row that passes costs only the condition.
    """
    arguments = ", ".join(literal(each, "postgresql") for each in (memory.section, memory.text()))
    name = quoted(memory.name(layout.table.fullname), "postgresql")
    made = (
        f"CREATE TRIGGER {name}\n"
        f"AFTER INSERT OR UPDATE ON {quoted_table(layout.table, 'postgresql')} FOR EACH ROW\n"
        f"WHEN ({written(condition, 'postgresql')})\n"
        f"EXECUTE FUNCTION {_function_name(schema)}({arguments})"
    )
    return [made]


def drop(layout: Layout, trigger: str) -> list[str]:
    """Write the statement that drops a trigger."""
    table = quoted_table(layout.table, "postgresql")
    return [f"DROP TRIGGER IF EXISTS {quoted(trigger, 'postgresql')} ON {table}"]


def drop_function(connection: sa.Connection, schema: str) -> None:
    """Drop the function, if no trigger of anybody's needs it and it is ours to drop."""
    given = {"schema": schema, "body": _BODY}
    if connection.execute(_HAS_FUNCTION, given).first() is None:
        return
    if connection.execute(_IS_USED, {"schema": schema}).first() is not None:
        return
    kept = connection.begin_nested()
    try:
        run_written(connection, f"DROP FUNCTION IF EXISTS {_function_name(schema)}()")
    except sa.exc.DBAPIError:
        kept.rollback()  # somebody else's, or somebody has just made a fence that needs it
    else:
        kept.commit()


def _function_name(schema: str | None) -> str:
    return _FUNCTION if schema is None else f"{quoted(schema, 'postgresql')}.{_FUNCTION}"
