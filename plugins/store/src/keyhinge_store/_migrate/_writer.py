"""What a writer is, and what may become of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import sqlalchemy as sa

from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._migrate._convert import Change

__all__ = ["Also", "AlteredError", "Writer", "holds"]

Also = Callable[[sa.Connection, set[Key]], None]
"""Is given the transaction, and the keys of the rows that were written in it."""


class AlteredError(Exception):
    """A trigger or rule changed a value on its way into the table, so that it wouldn't open."""


class Writer(Protocol):
    """Writes batches of changes, each in one short transaction."""

    threaded: bool
    """Whether a batch may be written while the next one is read."""
    pause: float
    """Seconds to leave the database to others after each batch."""

    def write(self, changes: Sequence[Change], also: Also | None = None) -> set[Key]:
        """Write those rows that are as they were read and free; give their keys.

        What `also` writes is committed together with them; an exception of it undoes both.
        """


def holds(layout: Layout, row: Row, change: Change) -> bool:
    """Tell whether a row holds what a change wanted to write."""
    return layout.cells_of(row) == change.cells
