"""Whose rows are where rows name no section: the ledger of migrations knows of some."""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from keyhinge_store._layout import Layout
from keyhinge_store._reader import Reader
from keyhinge_store._retire._question import Question, values_under
from keyhinge_store._runs._ledger import digest_of_cells, look_up
from keyhinge_store._runs._tables import has_state_tables

__all__ = ["all_of_others"]

_PAGE_ROWS = 1000
_PAGE_BYTES = 8 * 1024 * 1024


def all_of_others(engine: sa.Engine, layout: Layout, question: Question) -> bool:
    """Tell whether the ledger names another section for every row that might be meant.

    Args:
        engine: Where the table is.
        layout: The table, for the configuration.
        question: What is asked.
    """
    everything = attrs.evolve(layout, where=None)
    condition = values_under(layout, question)
    reader = Reader(engine, everything, condition, rows=_PAGE_ROWS, size=_PAGE_BYTES)
    for rows in reader.pages():
        with engine.connect() as connection:
            if not has_state_tables(connection):
                return False
            entries = look_up(connection, layout, [layout.key_of(row) for row in rows])
        for row in rows:
            entry = entries.get(layout.key_of(row))
            # An entry holds only as long as the row has the value that it is about.
            if entry is None or entry.digest != digest_of_cells(layout.cells_of(row)):
                return False
            if entry.section in question.labels:
                return False
    return True
