"""Writing batches, and entering in the same transaction what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import sqlalchemy as sa

from keyhinge_store._layout import Key, Row
from keyhinge_store._migrate._apply import Applier
from keyhinge_store._migrate._convert import Change, Converter
from keyhinge_store._migrate._new_keys import NewKeys
from keyhinge_store._migrate._patience import Patience, Wait, patiently
from keyhinge_store._migrate._plan import Plan
from keyhinge_store._migrate._report import Tally
from keyhinge_store._migrate._writer import Writer
from keyhinge_store._runs import _ledger as ledger
from keyhinge_store._runs import _limits as limits
from keyhinge_store._runs._failures import record_failures
from keyhinge_store._runs._ranges import Outcome, Range, Ranges, TakenOverError
from keyhinge_store._runs._transact import transaction

if TYPE_CHECKING:
    from keyhinge import KeyManager

__all__ = ["Batch", "Books"]

T = TypeVar("T")


@attrs.define
class Batch:
    """A page on its way.

    Attributes:
        rows: The rows as they were read; none at the end of a range.
        position: The place behind which to go on.
        held: The range that they are from.
        is_last: Whether the range ends with them.
        tally: What became of them.
        converter: Converts them.
        changes: What it made of them.
    """

    rows: Sequence[Row]
    position: Key | None
    held: Range
    is_last: bool
    tally: Tally
    converter: Converter
    changes: list[Change] = attrs.field(factory=list)


class Books:
    """Writes batches.

    Args:
        engine: Where the tables are.
        plan: What is moved where.
        keys: Tells which sections encrypt.
        writer: Writes into the table.
        ranges: The books.
        run_id: The run.
        new_keys: Knows the run's data keys, where it makes some.
        wait: Waits.
        patience: For how many seconds a database that is away is waited for.
    """

    def __init__(
        self,
        engine: sa.Engine,
        plan: Plan,
        keys: KeyManager,
        writer: Writer,
        *,
        ranges: Ranges,
        run_id: int,
        new_keys: NewKeys | None,
        wait: Wait,
        patience: float,
    ) -> None:
        self._engine = engine
        self._plan = plan
        self._writer = writer
        self._ranges = ranges
        self._run_id = run_id
        self._new_keys = new_keys
        self._wait = wait
        self._patience = patience
        # Where rows don't say under which section they are, the ledger does.
        self._in_ledger = not plan.layout.codec.bound
        self._encrypts = self._in_ledger and keys.capabilities(plan.target).encrypts

    def write(self, batch: Batch) -> None:
        """Write a batch and finish its range, if it is the last one.

        Where somebody else has taken the range over, nothing is written.

        Raises:
            SQLAlchemyError: The database can't go on. What was committed before stays.
        """
        held = batch.held
        if held.lost:
            return
        try:
            if batch.rows or not batch.is_last:
                self._write(batch)
            else:
                self._patiently(lambda: self._ranges.finish(held))
            if batch.is_last:
                self._ranges.forget(held)
        except TakenOverError:
            held.lost = True
            self._ranges.forget(held)

    def _write(self, batch: Batch) -> None:
        booked = _Booked(self, batch)
        if batch.changes:
            Applier(
                self._engine,
                self._plan.layout,
                booked,
                batch.tally,
                fail=lambda change, error, state: batch.converter.failure(change.row, error, state),
                wait=self._wait,
                patience=self._patience,
            ).apply(batch.changes)
        if not booked.entered:
            try:
                self._patiently(lambda: self._enter(batch))
            except TakenOverError:
                if not self._patiently(lambda: self._ranges.is_done(batch.held)):
                    raise  # otherwise it was entered, and the answer got lost
        batch.held.batches += 1
        batch.held.named += min(batch.tally.failed, len(batch.tally.failures))

    def _enter(self, batch: Batch) -> None:
        with transaction(self._engine) as connection:
            self.step(connection, batch, 0, closing=True)

    def step(self, connection: sa.Connection, batch: Batch, moved: int, *, closing: bool) -> None:
        """Enter what a transaction has moved, and with `closing` all that became of the batch."""
        tally, held = batch.tally, batch.held
        if not closing:
            self._ranges.step(connection, held, moved=moved)
            return
        outcome = Outcome(len(batch.rows), tally.changed, tally.gone, tally.busy, tally.failed)
        self._ranges.step(
            connection,
            held,
            moved=moved,
            outcome=outcome,
            position=batch.position,
            last=batch.is_last,
        )
        room = max(0, limits.FAILURES_PER_RANGE - held.named)
        record_failures(connection, self._run_id, held.sweep, tally.failures[:room])

    def note(self, connection: sa.Connection, changes: Sequence[Change], written: set[Key]) -> None:
        """Enter what was written: data keys of the run, and the ledger where that is needed."""
        if self._new_keys is not None:
            key_of = self._plan.layout.key_of
            values = [each.value for each in changes if key_of(each.row) in written]
            self._new_keys.enter(connection, values)
        if not self._in_ledger:
            return
        layout = self._plan.layout
        done = {layout.key_of(each.row): each for each in changes}
        if not self._encrypts:
            ledger.strike_out(connection, layout, written)
            return
        entries = {
            key: ledger.Entry(
                ledger.digest_of_cells(done[key].cells),
                done[key].value.section,
                done[key].value.key_id,
                done[key].value.version,
            )
            for key in written
        }
        ledger.enter(connection, layout, entries)

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, Patience(self._patience, self._wait))


class _Booked:
    """A writer that enters into the books what it writes, in the same transaction.

    Attributes:
        entered: Whether the whole batch was written and entered.
    """

    def __init__(self, books: Books, batch: Batch) -> None:
        self._books = books
        self._batch = batch
        self._writer = books._writer  # noqa: SLF001 - of the same module
        self.threaded = self._writer.threaded
        self.pause = self._writer.pause
        self.entered = False

    def write(self, changes: Sequence[Change], also: object = None) -> set[Key]:
        """Write what is free."""
        whole = len(self._batch.changes)
        closing = False

        def enter(connection: sa.Connection, written: set[Key]) -> None:
            nonlocal closing
            closing = len(written) == whole
            self._books.step(connection, self._batch, len(written), closing=closing)
            self._books.note(connection, changes, written)

        written = self._writer.write(changes, enter)
        self.entered = closing
        return written
