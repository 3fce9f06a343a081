"""From a batch of changes to what became of each row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from keyhinge_store._errors import DatabaseError
from keyhinge_store._errors_sql import sqlstate_of, translated
from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._migrate._convert import Change
from keyhinge_store._migrate._patience import Patience, Wait, is_passing, patiently
from keyhinge_store._migrate._report import Tally
from keyhinge_store._migrate._writer import AlteredError, Writer, holds
from keyhinge_store._reader import reread

__all__ = ["Applier"]

# The row's own fault: data exceptions, constraints, exceptions that a trigger raises.
_REFUSED = ("22", "23", "27", "44", "P0")
# The lock time-out.
_LOCKED = "55P03"
# Somebody else's doing, and over soon: statement time-outs, deadlocks, serialization.
_BUSY = ("57014", "40001", "40P01")
# So often a batch is tried whole. Then it is divided, for so many seconds, to find the rows that
# somebody is in the way of.
_WHOLE_TRIES, _SEARCH = 2, 5.0

Fail = Callable[[Change, Exception, str], None]


class Applier:
    """Writes changes and finds out what became of those that weren't written.

    Args:
        engine: Where the table is.
        layout: The table.
        writer: Writes.
        tally: Counts what became of the rows.
        fail: Told of each row that the database refuses.
        wait: Waits.
        patience: For how many seconds a database that is away is waited for.
    """

    def __init__(
        self,
        engine: sa.Engine,
        layout: Layout,
        writer: Writer,
        tally: Tally,
        *,
        fail: Fail,
        wait: Wait,
        patience: float,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._writer = writer
        self._tally = tally
        self._fail = fail
        self._wait = wait
        self._patience = patience

    def apply(self, changes: Sequence[Change], until: float | None = None) -> None:
        """Write a batch. Each of its rows is counted as moved, changed, gone, busy or failed.

        Args:
            changes: The batch.
            until: Given for a part of one that somebody is in the way of: when to stop searching.

        Raises:
            SQLAlchemyError: The database can't go on. What was committed before stays.
        """
        pending = list(changes)
        patience = Patience(self._patience, self._wait)
        tries = 0
        while pending:
            tries += 1
            try:
                written = self._writer.write(pending)
            except AlteredError as error:
                self._halve(pending, error, "")
                return
            except sa.exc.DBAPIError as error:
                state = sqlstate_of(error)
                if _is_refusal(error, state):
                    self._halve(pending, translated(error), state)
                    return
                lost, busy = is_passing(error), _is_busy(error, state)
                if busy and (until is not None or tries >= _WHOLE_TRIES):
                    self._avoid(pending, until or time.monotonic() + _SEARCH)
                    return
                # Where the table itself is locked, or the whole file, going on to the next batch
                # wouldn't help, so it is waited for like an outage.
                if not (lost or busy or _is_locked(error, state)) or not patience.again():
                    raise
            else:
                self._tally.moved += len(written)
                self._settle([c for c in pending if self._key(c) not in written])
                return
            if lost:
                # The commit may have happened before the connection went: look.
                pending = self._settle(pending, unknown=True)

    def _halve(self, changes: Sequence[Change], error: Exception, state: str) -> None:
        """Find the rows that the database refuses, by writing ever smaller batches."""
        if len(changes) == 1:
            if isinstance(error, AlteredError):
                msg = "a trigger changed the new value on its way into the table"
                error = DatabaseError(msg)
            self._fail(changes[0], error, state)
            return
        middle = len(changes) // 2
        self.apply(changes[:middle])
        self.apply(changes[middle:])

    def _avoid(self, changes: Sequence[Change], until: float) -> None:
        """Write the rows that nobody is in the way of; count the others as busy."""
        if len(changes) == 1 or time.monotonic() > until:
            self._tally.busy += len(changes)
            return
        middle = len(changes) // 2
        self.apply(changes[:middle], until)
        self.apply(changes[middle:], until)

    def _settle(self, changes: Sequence[Change], *, unknown: bool = False) -> list[Change]:
        """Read rows again and count what became of them.

        Args:
            changes: Those that didn't come back.
            unknown: Whether they may have been written after all.

        Returns:
            Those that are still as they were read; they count as busy unless `unknown`.
        """
        if not changes:
            return []
        keys = [self._key(change) for change in changes]

        def read() -> dict[Key, Row]:
            with self._engine.connect() as connection:
                return reread(connection, self._layout, keys)

        rows = patiently(read, Patience(self._patience, self._wait))
        same = []
        for change in changes:
            row = rows.get(self._key(change))
            if row is None:
                self._tally.gone += 1
            elif tuple(row) == tuple(change.row):
                same.append(change)
            elif unknown and holds(self._layout, row, change):
                self._tally.moved += 1
            else:
                self._tally.changed += 1
        if not unknown:
            self._tally.busy += len(same)
        return same

    def _key(self, change: Change) -> Key:
        return self._layout.key_of(change.row)


def _is_refusal(error: sa.exc.DBAPIError, state: str) -> bool:
    if state:
        return state[:2] in _REFUSED
    return isinstance(error, (sa.exc.IntegrityError, sa.exc.DataError))


def _is_busy(error: sa.exc.DBAPIError, state: str) -> bool:
    """Tell whether single rows are in the way: theirs are skipped, but not what triggers touch."""
    if state == _LOCKED:
        # Where it waited for a row, or in a trigger, the server says in which. For the table's own
        # lock it has nothing to say.
        return bool(getattr(getattr(error.orig, "diag", None), "context", None))
    return state in _BUSY


def _is_locked(error: sa.exc.DBAPIError, state: str) -> bool:
    if state:
        return state == _LOCKED
    return "locked" in str(error.orig) or "busy" in str(error.orig)
