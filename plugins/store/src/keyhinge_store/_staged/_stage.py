"""One column's part: new values are made for its rows, and put into the side table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keyhinge import Decrypt, KeyManager, KeyRef, OperationError
from keyhinge_store._errors import MigrationError
from keyhinge_store._layout import Key, Row
from keyhinge_store._migrate._access import Access
from keyhinge_store._migrate._capacity import is_bounded, longest, refuse_narrow
from keyhinge_store._migrate._convert import Converter
from keyhinge_store._migrate._flow import Flow
from keyhinge_store._migrate._keys_failed import KeysFailedError
from keyhinge_store._migrate._patience import Patience, patiently
from keyhinge_store._migrate._plan import Plan, count_matching
from keyhinge_store._migrate._preflight import preflight
from keyhinge_store._migrate._price import kms_price
from keyhinge_store._migrate._report import Progress, Tally
from keyhinge_store._migrate._work import TooManyFailuresError
from keyhinge_store._reader import Reader
from keyhinge_store._retire._refuse import refuse_fenced
from keyhinge_store._runs._transact import transaction
from keyhinge_store._staged._batch import Batch
from keyhinge_store._staged._options import Options, Waiter
from keyhinge_store._staged._report import StagedReport
from keyhinge_store._staged._seal import Seal
from keyhinge_store._staged._shelf import Shelf, Staged
from keyhinge_store._staged._staging import Staging, read_staging, start
from keyhinge_store._stored import Column

__all__ = ["Stage"]

T = TypeVar("T")

_PAGE_BYTES = 4 * 1024 * 1024
_IN_FLIGHT = 3
_SQLITE_PAUSE = 0.01


class Stage:
    """Prepares the rows of a column.

    Args:
        column: Where the values are.
        keys: Decrypts and encrypts.
        cold: Opened apart from `keys`, to prove that new values open.
        plan: What is moved where.
        options: How.
        wait: Waits.

    Attributes:
        failed: The rows that can't be prepared, and the digests of what they held.
    """

    def __init__(
        self,
        column: Column,
        keys: KeyManager,
        cold: KeyManager,
        plan: Plan,
        *,
        options: Options,
        wait: Waiter,
    ) -> None:
        self.engine = column.state
        self.plan = plan
        self.layout = plan.layout
        self.warnings: tuple[str, ...] = ()
        self.matched = 0
        self.failed: dict[Key, str] = {}
        self._keys = keys
        self._cold = cold
        self._options = options
        self._wait = wait
        self._tally = Tally()
        self._ready = self._made = 0
        self._shelf: Shelf | None = None
        self._access = Access()
        self._samples: dict[tuple[str, KeyRef], tuple[Row, Staged]] = {}
        self.reader = Reader(
            self.engine,
            plan.layout,
            plan.condition,
            rows=options.batch_size,
            size=_PAGE_BYTES,
        )

    @property
    def staging_id(self) -> str:
        """What tells this preparation from the next one."""
        return self.shelf.staging_id

    @property
    def shelf(self) -> Shelf:
        """The side table's part for this column."""
        assert self._shelf is not None  # noqa: S101 - `look` comes first
        return self._shelf

    def look(self) -> None:
        """Count the rows, and see whether the table can hold new values at all.

        Raises:
            MigrationError: It can't.
            SQLAlchemyError: The database failed.
        """

        def look() -> tuple[int, tuple[str, ...], list[Row]]:
            with self.engine.connect() as connection:
                refuse_fenced(connection, self.layout, self.plan.target)
                found = preflight(connection, self.layout, writing=True)
                rows = longest(connection, self.plan) if is_bounded(self.layout) else []
                return count_matching(connection, self.plan), found, rows

        self.matched, self.warnings, rows = self.patiently(look)
        if rows:
            refuse_narrow(self.layout, rows, self._converter(Tally()).convert)

    def begin(self) -> None:
        """Start the preparation, or join the one under way.

        Raises:
            MigrationError: Values are prepared for another section, or don't open any more.
            KeysFailedError: The target doesn't answer, or can't encrypt.
            SQLAlchemyError: The database failed.
        """
        target = self.plan.target
        staging = self.patiently(self._read)
        if staging is None:
            staging = self._start()
        if staging.target != target:
            msg = (
                f"new values of {self.layout.name} are prepared for {staging.target!r}, not "
                f"for {target!r}. Swap them in (--swap), or drop them first (--abandon)"
            )
            raise MigrationError(msg)
        try:
            seal = Seal.open(staging.seal, self._keys, self.layout, target)
        except OperationError as error:
            if error.retryable:
                raise KeysFailedError(error) from None
            problem = error
        else:
            self._shelf = Shelf(self.layout, staging, seal)
            return
        msg = (
            f"what is prepared doesn't open any more, so nothing was changed: {problem}. Drop it "
            "(--abandon), and prepare again"
        )
        raise MigrationError(msg)

    def _start(self) -> Staging:
        try:
            seal = Seal.make(self._keys, self.layout, self.plan.target)
        except OperationError as error:
            raise KeysFailedError(error) from None
        return self.patiently(lambda: start(self.engine, self.layout, self.plan.target, seal))

    def refresh(self) -> bool:
        """Go once through the table, and make the new values that are missing.

        Returns:
            Whether it came to the end; False if it was asked to stop.

        Raises:
            KeysFailedError: The keys can't go on.
            TooManyFailuresError: Too many rows failed.
            StagingEndedError: Somebody else has ended the preparation.
            SQLAlchemyError: The database can't go on.
        """
        self._tally.start_sweep(self._tally.sweeps + 1)
        self._ready = 0
        self.failed.clear()
        self._samples.clear()
        pause = _SQLITE_PAUSE if self.engine.dialect.name == "sqlite" else 0.0
        after: Key | None = None
        with Flow(
            self._convert, self._passed, self._put, converting=_IN_FLIGHT, threaded=False
        ) as flow:
            while rows := self._page(after):
                after = self.layout.key_of(rows[-1])
                batch = self._batch(rows)
                flow.submit(batch)
                if not self._wait(pause if batch.rows else 0.0):
                    flow.stop()
                    return False
            flow.drain()
        return True

    def prove(self) -> None:
        """Open one of the values that were there already, for each key and version.

        They may have been made days ago.

        Raises:
            MigrationError: One doesn't open any more.
            KeysFailedError: The key service doesn't answer.
        """
        for row, staged in self._samples.values():
            item = Decrypt(staged.value(self.layout), self.layout.context_of(row))
            error = self._cold.decrypt_many([item])[0].error
            if error is not None and error.retryable:
                raise KeysFailedError(error)
            if error is not None:
                msg = (
                    "a value that was prepared doesn't open any more, so nothing was changed: "
                    f"{error}. Drop what is prepared (--abandon), and prepare again"
                )
                raise MigrationError(msg)

    def report(self) -> StagedReport:
        """Say how far it is."""
        return StagedReport(
            state="prepared",
            target=self.plan.target,
            rows=self.plan.rows,
            matched=self.matched,
            ready=self._ready,
            made=self._made,
            failed=self._tally.failed,
            failures=tuple(self._tally.failures),
            calls=self._tally.calls,
            price=kms_price(self._keys, self._tally.calls),
            interrupted=self._wait.interrupted,
            duration=self._tally.elapsed,
            table=self.layout.table.fullname,
            warnings=self.warnings,
        )

    def patiently(self, call: Callable[[], T]) -> T:
        """Ask the database, for as long as the options say."""
        return patiently(call, Patience(self._options.patience, self._wait))

    def _read(self) -> Staging | None:
        with self.engine.connect() as connection:
            return read_staging(connection, self.layout.name)

    def _page(self, after: Key | None) -> list[Row]:
        return self.patiently(lambda: self.reader.page(after))

    def _batch(self, rows: list[Row]) -> Batch:
        def look() -> dict[Key, Staged]:
            with self.engine.connect() as connection:
                return self.shelf.fitting(connection, rows)

        there = self.patiently(look)
        rest = []
        for row in rows:
            staged = there.get(self.layout.key_of(row))
            if staged is None:
                rest.append(row)
            elif staged.cells is not None:
                name = staged.section, KeyRef(staged.key_id, staged.version)
                self._samples.setdefault(name, (row, staged))
        tally = Tally(kept=len(rest))
        return Batch(len(rows), len(there), rest, tally, self._converter(tally))

    def _converter(self, tally: Tally) -> Converter:
        return Converter(
            self._keys,
            self._cold,
            self.plan,
            tally,
            access=self._access,
            wait=self._wait,
            patience=self._options.patience,
            engine=self.engine,
        )

    def _convert(self, batch: Batch) -> None:
        if batch.rows:
            batch.changes = batch.converter.convert(batch.rows)
            self._tally.add_calls(batch.tally)

    def _put(self, batch: Batch) -> None:
        staged, failed = batch.outcome(self.layout, self.shelf)
        self.failed |= failed

        def put() -> None:
            with transaction(self.engine) as connection:
                self.shelf.hold(connection)
                self.shelf.put(connection, staged)

        if staged:
            self.patiently(put)
        self._made += len(batch.changes)
        self._ready += batch.fitting + len(staged)

    def _passed(self, batch: Batch) -> None:
        tally = self._tally
        tally.add_written(batch.tally)
        tally.add_converted(batch.tally, batch.looked)
        if self._options.on_progress is not None:
            self._options.on_progress(self._progress())
        most = self._options.max_errors
        if most is not None and tally.failed > most:
            raise TooManyFailuresError

    def _progress(self) -> Progress:
        tally, ready = self._tally, self._ready
        pace = tally.done / tally.elapsed if tally.elapsed > 0 else 0.0
        return Progress(
            sweep=tally.sweeps,
            matched=self.matched,
            done=tally.done,
            moved=ready,
            failed=tally.failed,
            elapsed=tally.elapsed,
            rate=pace,
            table=self.layout.table.fullname,
            all_matched=self.matched,
            all_moved=ready,
            all_failed=tally.failed,
            time_left=max(0, self.matched - tally.done) / pace if pace > 0 else None,
        )
