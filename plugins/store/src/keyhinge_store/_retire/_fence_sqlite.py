"""Fences in SQLite: two triggers for each column, which remember in a comment what they are for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from keyhinge_store._fence_words import FENCE_WORDS
from keyhinge_store._layout import Layout
from keyhinge_store._retire._fence import PREFIX, Fence, Memory, read_memory
from keyhinge_store._written import literal, quoted, written

__all__ = ["create", "drop", "listed", "place_of"]

_EVENTS = ("insert", "update")
_COMMENT = re.compile(r"/\* keyhinge (\{[^/]*\}) \*/")


def place_of(layout: Layout) -> Any:
    """Give what identifies a table. Names in SQLite go without regard to case, if ASCII."""
    return ((layout.table.schema or "main").lower(), layout.table.name.lower())


def listed(connection: sa.Connection) -> list[Fence]:
    """Find all fences of a database, and of those that are attached."""
    found = []
    schemas = [row.name for row in connection.exec_driver_sql("PRAGMA database_list")]
    for schema in schemas:
        rows = connection.exec_driver_sql(
            f"SELECT name, tbl_name, sql FROM {quoted(schema, 'sqlite')}.sqlite_master "  # noqa: S608
            "WHERE type = 'trigger' ORDER BY tbl_name, name"
        ).all()
        made = {row.name: row for row in rows if row.name.startswith(PREFIX)}
        for name, row in made.items():
            # A fence is its two triggers; one alone is listed, and refuses only half.
            stem, _, event = name.rpartition("_")
            other = f"{stem}_{_EVENTS[1 - _EVENTS.index(event)]}" if event in _EVENTS else name
            memory = _memory(row)
            if memory is None or (event == "update" and other in made):
                continue
            both = other in made and _memory(made[other]) == memory
            both = both and row.tbl_name == made[other].tbl_name
            parts = (row, made[other]) if both else (row,)
            found.append(_fence(schema, parts, stem, memory, enabled=both))
    return found


def _memory(row: Any) -> Memory | None:
    comment = _COMMENT.search(row.sql or "")
    return None if comment is None else read_memory(row.name, comment[1])


def _fence(schema: str, parts: Sequence[Any], stem: str, memory: Memory, *, enabled: bool) -> Fence:
    row = parts[0]
    return Fence(
        row.tbl_name if schema == "main" else f"{schema}.{row.tbl_name}",
        memory.column,
        memory.section,
        memory.key_id,
        memory.version,
        enabled,
        stem,
        memory=memory,
        place=(schema.lower(), row.tbl_name.lower()),
        columns=frozenset([memory.column]),
        definitions=tuple(each.sql for each in parts),
    )


def create(layout: Layout, memory: Memory, condition: sa.ColumnElement[bool]) -> list[str]:
    """Write the statements that make the triggers, for new rows and for changed ones."""
    table = layout.table
    words = FENCE_WORDS.format(section=memory.section, table=table.name)
    stem = memory.name(table.fullname)
    return [
        f"CREATE TRIGGER {_trigger(layout, f'{stem}_{event}')} /* keyhinge {memory.text()} */\n"
        f"AFTER {event.upper()} ON {quoted(table.name, 'sqlite')} FOR EACH ROW\n"
        f"WHEN {written(condition, 'sqlite')}\n"
        f"BEGIN SELECT RAISE(ABORT, {literal(words, 'sqlite')}); END"
        for event in _EVENTS
    ]


def drop(layout: Layout, trigger: str) -> list[str]:
    """Write the statements that drop them."""
    return [f"DROP TRIGGER IF EXISTS {_trigger(layout, f'{trigger}_{event}')}" for event in _EVENTS]


def _trigger(layout: Layout, name: str) -> str:
    schema = layout.table.schema
    return ("" if schema is None else f"{quoted(schema, 'sqlite')}.") + quoted(name, "sqlite")
