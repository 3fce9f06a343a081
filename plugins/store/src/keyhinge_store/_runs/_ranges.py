"""Ranges of keys: who works on which, and how far they are."""

from __future__ import annotations

import time
from typing import Any, Protocol

import attrs
import sqlalchemy as sa

from keyhinge_store._layout import Key
from keyhinge_store._runs import _limits as limits
from keyhinge_store._runs._holder import is_gone
from keyhinge_store._runs._run import Run
from keyhinge_store._runs._tables import RANGE, RUN
from keyhinge_store._runs._transact import clock, transaction

__all__ = ["Outcome", "Places", "Range", "Ranges", "TakenOverError"]


_LOOK = 5.0
_CLOSED = {"is_open": False, "lease_until": 0}


class TakenOverError(Exception):
    """Somebody else has taken a range over, or the run has ended: nothing was written."""


class Places(Protocol):
    """What is gone through in an order: a table by its key, or a list of rows."""

    def ahead(self, after: Key | None, count: int) -> Key | None:
        """Find the place so many ahead; None if the end comes first."""

    def encode(self, key: Key) -> str:
        """Write a place as JSON."""

    def decode(self, text: str) -> Key:
        """Read what `encode` wrote."""


@attrs.define
class Range:
    """A part of a table that we work on.

    Attributes:
        number: Its number within the run.
        sweep: The sweep that it belongs to.
        epoch: How often it was given to somebody.
        position: Everything up to this key is done; None at the beginning of the table.
        last: Its last key; None at the end of the table.
        batches: How many batches are done; tells one whose commit got no answer.
        lost: Whether it is known that somebody else has it now.
        named: How many rows that failed we have named in it.
    """

    number: int
    sweep: int
    epoch: int
    position: Key | None
    last: Key | None
    batches: int
    lost: bool = False
    named: int = 0


@attrs.define
class Outcome:
    """What became of the rows of a batch, beside those that were moved."""

    seen: int = 0
    changed: int = 0
    gone: int = 0
    busy: int = 0
    failed: int = 0


@attrs.frozen
class _Front:
    """Where the next part of the table begins."""

    sweep: int
    key: str | None
    number: int


class Ranges:
    """Gives out the ranges of a run, and keeps the books of those that we have.

    Args:
        engine: Where the tables are.
        places: What is divided into ranges.
        run_id: The run.
        holder: Who we are.
        keys: How many keys a range has.
    """

    def __init__(
        self, engine: sa.Engine, places: Places, run_id: int, holder: str, *, keys: int
    ) -> None:
        self._engine = engine
        self._places = places
        self._run_id = run_id
        self._holder = holder
        self._keys = keys
        self._clock = clock(engine)
        self._mine: dict[int, Range] = {}
        self._front: _Front | None = None
        self._looked = 0.0

    def claim(self, run: Run) -> Range | None:
        """Take a range: one whose holder is silent or gone, or the next part of the table.

        Args:
            run: The run, as it was read a moment ago.

        Returns:
            The range; None if there is none to take just now.
        """
        self._looked = time.monotonic()
        front = _Front(run.sweep, run.next_key, run.next_range)
        return self._keep(self._orphan(run) or (None if run.divided else self._next(front)))

    def claim_following(self) -> Range | None:
        """Take the part of the table behind the one that we took last, if nobody else has.

        It saves looking at the run and at what others work on, which is done now and then only.

        Returns:
            The range; None if there is none, or if it is time to look.
        """
        if self._front is None or time.monotonic() - self._looked > _LOOK:
            return None
        return self._keep(self._next(self._front))

    def _keep(self, taken: Range | None) -> Range | None:
        if taken is not None:
            self._mine[taken.number] = taken
        return taken

    def step(
        self,
        connection: sa.Connection,
        held: Range,
        *,
        moved: int = 0,
        outcome: Outcome | None = None,
        position: Key | None = None,
        last: bool = False,
    ) -> None:
        """Enter into the books what is written in the same transaction.

        Args:
            connection: The transaction.
            held: The range.
            moved: Rows that the transaction has moved.
            outcome: What became of the other rows of a batch, which is done with this.
            position: The batch's last key.
            last: Whether the range is done with this batch.

        Raises:
            TakenOverError: The range isn't ours any more.
        """
        changes: dict[str, Any] = {"moved": RANGE.c.moved + moved, **self._renewed()}
        where = [*self._row(held.number), RANGE.c.epoch == held.epoch]
        if outcome is not None:
            for name in ("seen", "changed", "gone", "busy", "failed"):
                if number := getattr(outcome, name):
                    changes[name] = RANGE.c[name] + number
            changes["batches"] = held.batches + 1
            changes["position"] = self._encode(position)
            where.append(RANGE.c.batches == held.batches)
            if last:
                changes |= _CLOSED
        done = connection.execute(RANGE.update().where(*where).values(**changes))
        if done.rowcount != 1:
            raise TakenOverError

    def is_done(self, held: Range) -> bool:
        """Tell whether a batch is in the books that may have been entered without an answer."""
        wanted = sa.select(RANGE.c.batches, RANGE.c.epoch).where(*self._row(held.number))
        with self._engine.connect() as connection:
            row = connection.execute(wanted).one_or_none()
        return row is not None and row.epoch == held.epoch and row.batches == held.batches + 1

    def finish(self, held: Range) -> None:
        """Give a range back as done.

        Raises:
            TakenOverError: It isn't ours any more.
        """
        ours = (*self._row(held.number), RANGE.c.epoch == held.epoch)
        with transaction(self._engine) as connection:
            done = connection.execute(RANGE.update().where(*ours).values(**_CLOSED))
            if done.rowcount != 1:
                raise TakenOverError
        self.forget(held)

    def forget(self, held: Range) -> None:
        """Leave a range to whoever has it now."""
        self._mine.pop(held.number, None)

    def renew(self) -> None:
        """Say that we are still at work."""
        with transaction(self._engine) as connection:
            connection.execute(
                RANGE.update()
                .where(
                    RANGE.c.run_id == self._run_id,
                    RANGE.c.holder == self._holder,
                    RANGE.c.is_open,
                )
                .values(**self._renewed())
            )
            self._renew_run(connection, self._clock + limits.LEASE_SECONDS)

    def release(self) -> None:
        """Let others go on at once with what we have begun."""
        with transaction(self._engine) as connection:
            connection.execute(
                RANGE.update()
                .where(
                    RANGE.c.run_id == self._run_id,
                    RANGE.c.holder == self._holder,
                    RANGE.c.is_open,
                )
                .values(lease_until=0, holder="")
            )
            self._renew_run(connection, sa.literal(0.0))
        self._mine.clear()

    def _renew_run(self, connection: sa.Connection, until: sa.ColumnElement[float]) -> None:
        if connection.dialect.name == "sqlite":
            connection.execute(
                RUN.update()
                .where(RUN.c.run_id == self._run_id, RUN.c.holder == self._holder)
                .values(lease_until=until)
            )

    def _orphan(self, run: Run) -> Range | None:
        opened = (RANGE.c.run_id == run.run_id, RANGE.c.sweep == run.sweep, RANGE.c.is_open)
        wanted = sa.select(RANGE, (RANGE.c.lease_until <= self._clock).label("over"))
        with self._engine.connect() as connection:
            rows = connection.execute(wanted.where(*opened).order_by(RANGE.c.number)).all()
        for row in rows:
            if self._is_free(row) and (taken := self._take(row)) is not None:
                return taken
        return None

    def _is_free(self, row: sa.Row[Any]) -> bool:
        if row.holder == self._holder:
            # Ours, but we don't know it: the claim's commit got no answer.
            return row.number not in self._mine
        # In SQLite the run's lease is ours, so whoever had the range is gone.
        return row.over or is_gone(row.holder) or self._engine.dialect.name == "sqlite"

    def _take(self, row: sa.Row[Any]) -> Range | None:
        with transaction(self._engine) as connection:
            seen = (*self._row(row.number), RANGE.c.epoch == row.epoch, RANGE.c.is_open)
            free = connection.execute(
                sa.select(RANGE).where(*seen).with_for_update(skip_locked=True)
            ).one_or_none()
            # Its holder may have come back meanwhile, unless it is gone for good.
            if free is None or (row.over and free.lease_until != row.lease_until):
                return None
            connection.execute(
                RANGE.update()
                .where(*self._row(row.number))
                .values(holder=self._holder, epoch=row.epoch + 1, **self._renewed())
            )
        return self._range(free, row.epoch + 1)

    def _next(self, front: _Front) -> Range | None:
        self._front = None
        # Read before the transaction, which therefore is short; that nobody else has taken it
        # meanwhile is seen when the run's row is written.
        first = self._decode(front.key)
        end = self._places.ahead(first, self._keys)
        last = self._encode(end)
        with transaction(self._engine) as connection:
            taken = connection.execute(
                RUN.update()
                .where(
                    RUN.c.run_id == self._run_id,
                    RUN.c.state == "active",
                    RUN.c.sweep == front.sweep,
                    RUN.c.begun,
                    RUN.c.next_range == front.number,  # so nobody else has taken it
                    sa.not_(RUN.c.divided),
                )
                .values(next_key=last, divided=last is None, next_range=front.number + 1)
            )
            if taken.rowcount != 1:
                return None
            connection.execute(
                RANGE.insert().values(
                    run_id=self._run_id,
                    number=front.number,
                    sweep=front.sweep,
                    position=front.key,
                    last_key=last,
                    is_open=True,
                    holder=self._holder,
                    epoch=1,
                    **self._renewed(),
                )
            )
        if last is not None:
            self._front = _Front(front.sweep, last, front.number + 1)
        return Range(front.number, front.sweep, 1, first, end, 0)

    def _row(self, number: int) -> tuple[sa.ColumnElement[bool], ...]:
        return RANGE.c.run_id == self._run_id, RANGE.c.number == number

    def _renewed(self) -> dict[str, Any]:
        return {"lease_until": self._clock + limits.LEASE_SECONDS}

    def _range(self, row: sa.Row[Any], epoch: int) -> Range:
        first, last = self._decode(row.position), self._decode(row.last_key)
        return Range(row.number, row.sweep, epoch, first, last, row.batches)

    def _encode(self, key: Key | None) -> str | None:
        return None if key is None else self._places.encode(key)

    def _decode(self, text: str | None) -> Key | None:
        return None if text is None else self._places.decode(text)
