"""What a process does for a run: take ranges, move their rows, sweep after sweep."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from keyhinge_store._layout import Key
from keyhinge_store._migrate._books import Batch, Books
from keyhinge_store._migrate._flow import Flow
from keyhinge_store._migrate._patience import Patience, patiently
from keyhinge_store._migrate._places import Page, Pages
from keyhinge_store._runs import _limits as limits
from keyhinge_store._runs._rate import take
from keyhinge_store._runs._run import Run, read_run
from keyhinge_store._runs._sweeps import begin_sweep, end_sweep
from keyhinge_store._runs._tables import RANGE

if TYPE_CHECKING:
    from typing_extensions import Self

    from keyhinge_store._migrate._migration import Migration
    from keyhinge_store._runs._ranges import Range, Ranges

__all__ = ["TooManyFailuresError", "Work"]

_POLL = 0.1


class TooManyFailuresError(Exception):
    """More rows failed than may."""


class Work:
    """This process's part in a run.

    Args:
        migration: What is to be done.
        run_id: The run.
        pages: What is gone through.
        ranges: Its parts.
        books: Writes.
    """

    def __init__(
        self, migration: Migration, run_id: int, pages: Pages, ranges: Ranges, books: Books
    ) -> None:
        self._migration = migration
        self._engine = migration.engine
        self._run_id = run_id
        self._pages = pages
        self._ranges = ranges
        self._books = books
        self._wait = migration.wait
        self._sweep = 0
        self._limited = True

    def do(self) -> None:
        """Work until the run is over, or somebody asks to stop.

        Raises:
            KeysFailedError: The keys can't go on.
            TooManyFailuresError: Too many rows failed.
            SQLAlchemyError: The database can't go on.
        """
        with _Heartbeat(self._engine, self._ranges):
            try:
                with self._flow() as flow:
                    while self._next(flow):
                        pass
                    flow.stop()
            except Exception:
                self._release()
                raise
            self._release()

    def _flow(self) -> Flow[Batch]:
        migration = self._migration
        return Flow(
            self._convert,
            self._passed,
            self._write,
            converting=migration.converting,
            threaded=migration.writer.threaded,
        )

    def _next(self, flow: Flow[Batch]) -> bool:
        """Take one step; False if there is nothing more to do."""
        if not self._wait(0):
            return False
        following = self._patiently(self._ranges.claim_following)
        if following is not None:
            return self._go_through(following, flow)
        run = self._patiently(lambda: read_run(self._engine, self._run_id))
        if run is None or run.state != "active":
            return False
        if not run.begun:
            patience = self._migration.patience
            return self._step(lambda: begin_sweep(self._engine, run, patience))
        self._begin(run)
        held = self._patiently(lambda: self._ranges.claim(run))
        if held is not None:
            return self._go_through(held, flow)
        flow.drain()  # what others wait for may be ours
        return self._step(lambda: end_sweep(self._engine, run))

    def _step(self, step: Callable[[], bool]) -> bool:
        return True if self._patiently(step) else self._wait(_POLL)

    def _begin(self, run: Run) -> None:
        if run.sweep != self._sweep:
            self._sweep = run.sweep
            self._migration.tally.start_sweep(run.sweep)
        self._limited = run.rate is not None

    def _go_through(self, held: Range, flow: Flow[Batch]) -> bool:
        position = held.position
        migration = self._migration
        while not held.lost:
            page = self._page(position, held)
            position = page.position
            tally, converter = migration.batch_tools()
            flow.submit(Batch(page.rows, position, held, page.is_last, tally, converter))
            owed = self._owed(len(page.rows))
            if not self._wait(max(owed, migration.writer.pause if page.rows else 0.0)):
                return False
            if page.is_last:
                break
        return True

    def _page(self, position: Key | None, held: Range) -> Page:
        page: Page = self._patiently(lambda: self._pages.page(position, held.last))
        return page

    def _owed(self, rows: int) -> float:
        """Take rows out of what may be moved in a second; give for how long to rest."""
        if not self._limited or not rows:
            return 0.0
        return float(self._patiently(lambda: take(self._engine, self._run_id, rows)))

    def _convert(self, batch: Batch) -> None:
        if batch.rows:
            batch.changes = batch.converter.convert(batch.rows)
            self._migration.tally.add_calls(batch.tally)

    def _passed(self, batch: Batch) -> None:
        if batch.rows:
            self._migration.tally.add_converted(batch.tally, len(batch.rows))
            self._migration.tell()

    def _write(self, batch: Batch) -> None:
        try:
            self._books.write(batch)
        finally:
            if not batch.held.lost or batch.tally.moved:
                self._migration.tally.add_written(batch.tally)
        if batch.tally.failed and self._migration.max_errors is not None:
            failed = self._patiently(self._failed)
            if failed > self._migration.max_errors:
                raise TooManyFailuresError

    def _failed(self) -> int:
        wanted = sa.select(sa.func.coalesce(sa.func.sum(RANGE.c.failed), 0))
        with self._engine.connect() as connection:
            counted = connection.execute(wanted.where(RANGE.c.run_id == self._run_id))
            return int(counted.scalar_one())

    def _patiently(self, call: Callable[[], Any]) -> Any:
        return patiently(call, Patience(self._migration.patience, self._wait))

    def _release(self) -> None:
        # If the database is away, others wait until the lease is over.
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._ranges.release()


class _Heartbeat:
    """Says regularly that we are still at work, however long a key service takes."""

    def __init__(self, engine: sa.Engine, ranges: Ranges) -> None:
        self._ranges = ranges
        self._over = threading.Event()
        # A database in memory has one connection, for one thread, and nobody else sees it.
        alone = isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        self._thread = None if alone else threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._over.wait(min(1.0, limits.LEASE_SECONDS / 3)):
            if time.monotonic() - last < limits.LEASE_SECONDS / 3:
                continue
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._ranges.renew()
                last = time.monotonic()

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None and (error is None or isinstance(error, Exception)):
            self._thread.join()
