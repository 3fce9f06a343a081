"""The swap: every new value goes into the table, in one transaction, or none does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import attrs
import sqlalchemy as sa

from keyhinge_store._layout import Key, Row
from keyhinge_store._lock import hold_writers
from keyhinge_store._migrate._convert import Change
from keyhinge_store._migrate._plan import count_matching
from keyhinge_store._migrate._write_postgresql import PostgresqlWriter
from keyhinge_store._migrate._write_sqlite import SqliteWriter
from keyhinge_store._runs import _ledger as ledger
from keyhinge_store._runs._holder import actor
from keyhinge_store._runs._tables import RUN
from keyhinge_store._runs._transact import clock, moment_of, own_transaction, transaction
from keyhinge_store._staged._shelf import Staged
from keyhinge_store._staged._stage import Stage
from keyhinge_store._staged._staging import drop

__all__ = ["MisfitError", "Swapped", "find_swapped", "swap_in"]


class MisfitError(Exception):
    """Something doesn't fit; the transaction is rolled back.

    Attributes:
        passing: Whether making new values once more may help.
    """

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


@attrs.frozen
class Swapped:
    """What was swapped in a table.

    Attributes:
        run_id: The record of it.
        rows: Rows that got their new value.
        left: Rows that can't be opened, and were left as they were.
        dropped: Rows of the side table that were dropped.
    """

    run_id: int
    rows: int
    left: int
    dropped: int


def swap_in(stages: Sequence[Stage], *, leave_failed: bool, seconds: float) -> list[Swapped]:
    """Swap everything in, in one transaction. No key service is asked in it.

    Args:
        stages: The columns, all in one database.
        leave_failed: Whether rows that can't be opened may stay as they are.
        seconds: For how long nobody may be able to write to the tables, at most.

    Raises:
        MisfitError: A row isn't as it was when its new value was made, or is locked, or the
            counts don't add up. Nothing was changed.
        AlteredError: A trigger changed a new value. Nothing was changed.
        StagingEndedError: Somebody else has ended the preparation.
        SQLAlchemyError: The database failed; unless the commit itself did, nothing was changed.
    """
    with transaction(stages[0].engine) as connection:
        hold_writers(connection, [stage.layout.table for stage in stages])
        end = time.monotonic() + seconds
        return [_Swap(stage, connection, leave_failed, end).do() for stage in stages]


def find_swapped(stages: Sequence[Stage]) -> list[Swapped]:
    """Find the records of a swap whose answer got lost; none if it didn't happen."""
    with stages[0].engine.connect() as connection:
        names = [stage.staging_id for stage in stages]
        wanted = sa.select(RUN).where(RUN.c.digest.in_(names))
        rows = {row.digest: row for row in connection.execute(wanted)}
    there = [rows[name] for name in names if name in rows]
    return [Swapped(row.run_id, row.moved, row.failed, 0) for row in there]


class _Swap:
    """One column's part of the transaction."""

    def __init__(
        self, stage: Stage, connection: sa.Connection, leave_failed: bool, end: float
    ) -> None:
        self._stage = stage
        self._layout = stage.layout
        self._connection = connection
        self._failed = stage.failed if leave_failed else {}
        self._end = end
        kind = PostgresqlWriter if connection.dialect.name == "postgresql" else SqliteWriter
        self._writer = kind(stage.engine, stage.layout)
        self._moved = self._left = self._stays = 0

    def do(self) -> Swapped:
        connection, stage = self._connection, self._stage
        stage.shelf.hold(connection, alone=True)
        matched = count_matching(connection, stage.plan)
        after: Key | None = None
        while rows := stage.reader.page(after, connection=connection):
            if time.monotonic() > self._end:
                msg = "it took longer than the table may be locked (--lock-seconds)"
                raise MisfitError(msg, passing=False)
            after = self._layout.key_of(rows[-1])
            self._page(rows)
        if self._moved + self._left + self._stays != matched:
            msg = (
                f"{matched:,} rows were counted, and {self._moved + self._left + self._stays:,} "
                "gone through"
            )
            raise MisfitError(msg)
        run_id = _record(connection, stage, matched, self._moved, self._left)
        return Swapped(run_id, self._moved, self._left, drop(connection, self._layout.name))

    def _page(self, rows: list[Row]) -> None:
        layout, shelf = self._layout, self._stage.shelf
        there = shelf.fitting(self._connection, rows)
        changes: dict[Key, tuple[Change, Staged]] = {}
        for row in rows:
            key = layout.key_of(row)
            staged = there.get(key)
            if staged is None:
                if self._failed.get(key) != shelf.of_row(row):
                    shown = json.dumps(layout.shown_key(row), default=str)
                    msg = f"the row {shown} was added or changed after its new value was made"
                    raise MisfitError(msg)
                self._left += 1
            elif staged.cells is None:
                self._stays += 1
            else:
                changes[key] = Change(row, staged.value(layout), staged.cells), staged
        if changes:
            self._write(changes)

    def _write(self, changes: dict[Key, tuple[Change, Staged]]) -> None:
        written = self._writer.write_in(
            self._connection, [change for change, _ in changes.values()]
        )
        if written != set(changes):
            msg = f"{len(changes) - len(written):,} rows are locked by another transaction"
            raise MisfitError(msg)
        self._moved += len(written)
        if self._layout.codec.bound:
            return
        # Rows that don't name their section: the ledger knows it, but has no plaintexts.
        entries = {
            key: ledger.Entry(
                ledger.digest_of_cells(change.cells), staged.section, staged.key_id, staged.version
            )
            for key, (change, staged) in changes.items()
            if staged.key_id
        }
        ledger.strike_out(self._connection, self._layout, set(changes) - set(entries))
        ledger.enter(self._connection, self._layout, entries)


def _record(connection: sa.Connection, stage: Stage, matched: int, moved: int, left: int) -> int:
    """Enter the swap among the runs, where reports on migrations look."""
    plan = stage.plan
    moment, now = moment_of(connection), clock(connection.engine)
    made = RUN.insert().values(
        subject=plan.layout.name,
        table_name=plan.layout.table.fullname,
        operation="migrate",
        source="[]",
        target=plan.target,
        digest=stage.staging_id,
        state="finished",
        reason="prepared beside the table, and swapped in at once",
        started_at=moment,
        started_by=actor(),
        ended_at=moment,
        rows_at_start=plan.rows,
        matched=matched,
        already=plan.already,
        moved=moved,
        failed=left,
        tokens_at=now,
        max_sweeps=1,
        begun=True,
        clean=True,
        horizon=own_transaction(connection),
        not_before=now,
        quiet=True,
        divided=True,
    )
    return int(connection.execute(made.returning(RUN.c.run_id)).scalar_one())
