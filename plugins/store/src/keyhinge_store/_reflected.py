"""What is found out about a table, in any database system."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from keyhinge_store._cells import Cell

__all__ = ["Found"]


@attrs.frozen
class Found:
    """A table as the database has it.

    Attributes:
        cells: Its columns.
        types: Their types in the database's words.
        generated: Columns that the database computes.
        moments: Whether a column can hold a moment in UTC.
        unique: The columns of each unique index, in its order, the primary key first.
        lax_nulls: Columns of a primary key, which in SQLite may be NULL by an old mistake; whether
            one is depends on the rows.
        unfit: Why the table can't be used at all; "" if it can.
        table_id: What identifies it when it is renamed; None where nothing does.
        column_ids: The same for its columns.
    """

    cells: Mapping[str, Cell]
    types: Mapping[str, str]
    generated: frozenset[str]
    moments: Mapping[str, bool]
    unique: tuple[tuple[str, ...], ...]
    lax_nulls: frozenset[str] = frozenset()
    unfit: str = ""
    table_id: int | None = None
    column_ids: Mapping[str, int] = attrs.field(factory=dict)
