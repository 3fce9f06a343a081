"""One migration of one table: everything around the rows themselves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
import sqlalchemy as sa

from keyhinge import ConfigError, KeyManager, SectionNotConfiguredError
from keyhinge_store._counting import snapshot
from keyhinge_store._encodings import TextCodec
from keyhinge_store._errors import MigrationError, MigrationStoppedError, StoreError
from keyhinge_store._errors_sql import guarded, translated
from keyhinge_store._layout import Row
from keyhinge_store._mapped import MappedColumn
from keyhinge_store._migrate._access import Access
from keyhinge_store._migrate._below import Below
from keyhinge_store._migrate._books import Books
from keyhinge_store._migrate._capacity import is_bounded, longest, refuse_narrow
from keyhinge_store._migrate._convert import Converter
from keyhinge_store._migrate._dry_run import dry_run
from keyhinge_store._migrate._keys_failed import KeysFailedError
from keyhinge_store._migrate._new_keys import NewKeys
from keyhinge_store._migrate._patience import Patience, at_the_start, patiently
from keyhinge_store._migrate._places import FailedRows, Pages, TableRows
from keyhinge_store._migrate._plan import NEW_DATA_KEYS, Plan, count_matching
from keyhinge_store._migrate._preflight import preflight
from keyhinge_store._migrate._price import kms_price
from keyhinge_store._migrate._report import (
    SHOWN_FAILURES,
    MigrationReport,
    OnProgress,
    Progress,
    Tally,
)
from keyhinge_store._migrate._work import TooManyFailuresError, Work
from keyhinge_store._migrate._write_postgresql import PostgresqlWriter
from keyhinge_store._migrate._write_sqlite import SqliteWriter
from keyhinge_store._migrate._writer import Writer
from keyhinge_store._reader import Reader
from keyhinge_store._retire._refuse import refuse_fenced
from keyhinge_store._runs import _limits as limits
from keyhinge_store._runs._evidence import keep_end
from keyhinge_store._runs._failures import read_failures
from keyhinge_store._runs._holder import new_holder
from keyhinge_store._runs._info import RunInfo, info_of
from keyhinge_store._runs._ranges import Ranges
from keyhinge_store._runs._run import Wanted, last_run, read_run, start_or_join
from keyhinge_store._runs._tables import create_state_tables
from keyhinge_store._stored import Column

__all__ = ["Migration", "Options"]

T = TypeVar("T")

# Several such pages are in memory at once, with their plaintexts and new values.
PAGE_BYTES = 4 * 1024 * 1024
# Taking a range costs about as much as a batch; a small table is shared out all the same.
_RANGES_OF_A_TABLE, _BATCHES_OF_A_RANGE = 16, 4
_LOOK = 2.0


@attrs.frozen
class Options:
    """How a migration goes, whatever it moves."""

    dry_run: bool
    batch_size: int
    max_sweeps: int | None
    patience: float
    rate: float | None
    max_errors: int | None
    retry_failed: bool
    workers_in_flight: int
    on_progress: OnProgress | None
    stop: Callable[[], bool]


class Migration:
    """One migration of one table from its start to its end.

    Args:
        column: Where the values are.
        keys: Decrypt and encrypt.
        plan: What is moved where.
        labels: How many rows there are under which label.
        options: How it goes.
    """

    def __init__(
        self,
        column: Column,
        keys: KeyManager,
        plan: Plan,
        labels: dict[str, int],
        options: Options,
    ) -> None:
        self.engine = engine = at_the_start(lambda: column.state, options.patience)
        self._column = column
        self.plan = plan
        self.options = options
        self.patience = options.patience
        self.max_errors = options.max_errors
        self.tally = Tally()
        self.writer = _writer(engine, plan)
        self.converting = options.workers_in_flight if _waits(keys, plan, labels) else 1
        self._keys = keys
        self._cold: KeyManager | None = None
        self._new_keys: NewKeys | None = None
        self._access = Access()
        rows = options.batch_size
        if options.rate is not None:
            rows = max(1, min(rows, int(options.rate)))
        self._rows = rows
        self.reader = Reader(engine, plan.layout, plan.condition, rows=rows, size=PAGE_BYTES)
        self._matched = at_the_start(self._count, options.patience)
        stale = self._matched if plan.operation != "migrate" else 0
        self._already = max(0, plan.already - stale)
        self._warnings = at_the_start(self._preflight, options.patience)
        self._interrupted = False
        self._run_id: int | None = None
        self._run: RunInfo | None = None
        self._first: RunInfo | None = None
        self._looked = 0.0

    def go(self) -> MigrationReport:
        """Do it, and report.

        Raises:
            MigrationError: It can't be started.
            MigrationStoppedError: It had to stop.
        """
        trouble: tuple[str, bool] | None = None
        patience = self.patience
        try:
            with contextlib.ExitStack() as opened:
                self._cold = opened.enter_context(self._keys.clone())
                if self.plan.operation == NEW_DATA_KEYS:
                    # Another one: what encrypts must not be what a data key leaked from.
                    fresh = opened.enter_context(self._keys.clone())
                    self._new_keys = NewKeys(fresh, self.engine)
                opened.callback(self._count_below())
                self._refuse_narrow()
                if self.options.dry_run:
                    dry_run(self)
                else:
                    self._share()
        except KeysFailedError as failure:
            trouble = (f"the keys failed: {failure}", failure.error.retryable)
        except TooManyFailuresError:
            trouble = (f"more than {self.max_errors:,} rows failed", False)
        except sa.exc.SQLAlchemyError as error:
            problem = translated(error)
            retryable = isinstance(problem, StoreError) and problem.retryable
            trouble = (f"the database failed: {problem}", retryable)
            patience = 0.0  # it was waited for
        self._look(patience)
        if trouble is None and self._run is not None and self._run.state == "abandoned":
            trouble = (f"somebody ended run {self._run.run_id} for everybody", False)
        if trouble is None or self._interrupted:
            return self._report()
        message, retryable = trouble
        msg = f"{message}. Nothing is lost: {self.tally.moved} rows were moved; start it again"
        raise MigrationStoppedError(msg, report=self._report(), retryable=retryable)

    def wait(self, seconds: float) -> bool:
        """Wait, in small steps so that a request to stop is heard. False if there was one."""
        end = time.monotonic() + seconds
        while True:
            if self.options.stop():
                self._interrupted = True
                return False
            rest = end - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, 0.1))

    def batch_tools(self) -> tuple[Tally, Converter]:
        """Make what counts and converts one batch."""
        assert self._cold is not None  # noqa: S101 - batches are made while it is open
        tally = Tally(kept=self._rows)
        converter = Converter(
            self._keys,
            self._cold,
            self.plan,
            tally,
            access=self._access,
            wait=self.wait,
            patience=self.patience,
            engine=self.engine,
            new_keys=self._new_keys,
        )
        return tally, converter

    def tell(self) -> None:
        """Tell whoever asked how far it is."""
        if self.options.on_progress is not None:
            # Now and then, and not patiently: the work itself waits for a database that is away.
            if time.monotonic() - self._looked >= _LOOK:
                self._look(0.0)
            self.options.on_progress(self._progress())

    def _share(self) -> None:
        """Start a run or join the one under way, and work for it."""
        if isinstance(self._column, MappedColumn):
            at_the_start(self._column.pin, self.patience)
        at_the_start(partial(create_state_tables, self._column), self.patience)
        holder = new_holder()
        wanted = self._wanted()
        run_id = self._patiently(lambda: start_or_join(self.engine, wanted, holder))
        self._run_id = run_id
        self._first = self._run = self._patiently(self._read)
        if self._new_keys is not None:
            self._new_keys.begin(run_id)
            self._go_on()
        pages = self._pages(wanted.retry_of)
        keys = _range_keys(self._rows, self.plan.rows)
        ranges = Ranges(self.engine, pages, run_id, holder, keys=keys)
        books = Books(
            self.engine,
            self.plan,
            self._keys,
            self.writer,
            ranges=ranges,
            run_id=run_id,
            new_keys=self._new_keys,
            wait=self.wait,
            patience=self.patience,
        )
        Work(self, run_id, pages, ranges, books).do()
        keep_end(self.engine, run_id, partial(snapshot, layout=self.plan.layout))

    def _count_below(self) -> Callable[[], None]:
        """Give what adds, at the end, the calls that sections have made to those below them."""
        fresh = None if self._new_keys is None else self._new_keys.keys
        managers = [keys for keys in (self._keys, self._cold, fresh) if keys is not None]
        return partial(Below(managers).add_to, self.tally)

    def _go_on(self) -> None:
        """Take a run's earlier work as done: its values can be told only one by one."""
        run = self._first
        if run is None or not run.moved:
            return
        done = min(run.moved, self._matched)
        self._matched, self._already = self._matched - done, self._already + done
        self._warnings += (_goes_on(run),)

    def _wanted(self) -> Wanted:
        plan, layout = self.plan, self.plan.layout
        retry_of = None
        if self.options.retry_failed:
            way = (layout.name, plan.operation, plan.target)
            retry_of = self._patiently(lambda: last_run(self.engine, *way))
            if retry_of is None:
                msg = (
                    f"there is no earlier run on {layout.name} to {plan.target!r} "
                    f"({plan.operation}) whose failures could be tried again"
                )
                raise MigrationError(msg)
        key = plan.target_key
        return Wanted(
            subject=layout.name,
            table_name=layout.table.fullname,
            operation=plan.operation,
            source=plan.source,
            target=plan.target,
            target_key=None if key is None else (key.key_id, key.version),
            digest=_digest(plan),
            retry_of=retry_of,
            rows=plan.rows,
            matched=self._matched,
            already=self._already,
            max_sweeps=self.options.max_sweeps,
            rate=self.options.rate,
            inventory=partial(snapshot, layout=layout),
        )

    def _pages(self, retry_of: int | None) -> Pages:
        plan = self.plan
        if retry_of is None:
            return TableRows(self.reader, plan.layout)
        return FailedRows(self.engine, plan.layout, retry_of, plan.condition, rows=self._rows)

    def _look(self, patience: float) -> None:
        """Look what all processes together have done; if it can't be seen, keep what was known."""
        if self._run_id is None:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._run = patiently(self._read, Patience(patience, self.wait)) or self._run

    def _read(self) -> RunInfo | None:
        assert self._run_id is not None  # noqa: S101 - whoever calls this has looked
        row = read_run(self.engine, self._run_id)
        if row is None:
            return None
        with self.engine.connect() as connection:
            failures = read_failures(connection, self._run_id, SHOWN_FAILURES)
            return attrs.evolve(info_of(connection, row), failures=tuple(failures))

    def _progress(self) -> Progress:
        tally = self.tally
        moved = max(tally.moved, tally.verified)
        run, first = self._run, self._first
        rate = moved / tally.elapsed if tally.elapsed > 0 else 0.0
        if run is None or first is None:
            matched, all_moved, all_failed, since = self._matched, moved, tally.failed, 0
        else:
            # What the others did is known from the last look, what we did from this moment.
            matched, since = run.matched, first.moved
            all_moved = max(run.moved, first.moved + moved)
            all_failed = max(run.failed, tally.failed)
        pace = (all_moved - since) / tally.elapsed if tally.elapsed > 0 else 0.0
        rest = max(0, matched - all_moved - all_failed)
        return Progress(
            sweep=tally.sweeps,
            matched=self._matched,
            done=tally.done,
            moved=moved,
            failed=tally.failed,
            elapsed=tally.elapsed,
            rate=rate,
            table=self.plan.layout.table.fullname,
            processes=max(1, len([each for each in run.processes if not each.silent]))
            if run is not None
            else 1,
            all_matched=matched,
            all_moved=all_moved,
            all_failed=all_failed,
            time_left=rest / pace if pace > 0 else None,
        )

    def _count(self) -> int:
        def count() -> int:
            with self.engine.connect() as connection:
                return count_matching(connection, self.plan)

        return guarded(count)

    def _preflight(self) -> tuple[str, ...]:
        def look() -> tuple[str, ...]:
            with self.engine.connect() as connection:
                plan = self.plan
                below = next(iter(self._keys.builds_on(plan.target)), None)
                refuse_fenced(connection, plan.layout, plan.target, plan.target_key, below)
                return preflight(connection, plan.layout, writing=not self.options.dry_run)

        return guarded(look)

    def _refuse_narrow(self) -> None:
        layout = self.plan.layout
        if not is_bounded(layout):
            return

        def look() -> list[Row]:
            with self.engine.connect() as connection:
                return longest(connection, self.plan)

        rows = at_the_start(lambda: guarded(look), self.patience)
        tally, converter = self.batch_tools()
        refuse_narrow(layout, rows, converter.convert)
        self.tally.add_calls(tally)

    def _left(self, failed: int) -> int:
        if self.options.dry_run:
            return self.tally.verified
        if self._run is not None and self._run.state == "finished" and not self._run.retry_of:
            return 0
        if self._new_keys is not None:
            moved = self.tally.moved if self._run is None else self._run.moved - self._already
            return max(0, self._matched - moved - failed)
        # Those that failed are counted apart. After an interruption it is only known of some.
        try:
            return max(0, self._count() - failed)
        except StoreError:
            return max(0, self._matched - self.tally.moved - failed)

    def _report(self) -> MigrationReport:
        plan, tally, run = self.plan, self.tally, self._run
        failed = tally.failed if run is None else run.failed
        failures = tally.failures if run is None else run.failures
        return MigrationReport(
            operation=plan.operation,
            source=plan.source,
            target=plan.target,
            target_key=plan.target_key,
            dry_run=self.options.dry_run,
            rows=plan.rows,
            matched=self._matched,
            already=self._already,
            moved=tally.moved,
            verified=tally.verified,
            left=self._left(failed),
            failed=failed,
            failures=tuple(failures),
            changed=tally.changed,
            gone=tally.gone,
            busy=tally.busy,
            calls=tally.calls,
            sweeps=tally.sweeps if run is None else run.sweep,
            settled=run is not None and run.state == "finished",
            interrupted=self._interrupted,
            duration=tally.elapsed,
            table=plan.layout.table.fullname,
            unsettled=run is not None and run.state == "unsettled",
            reason="" if run is None else run.reason,
            run=run,
            price=kms_price(self._keys, tally.calls),
            warnings=self._warnings,
        )

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, Patience(self.patience, self.wait))


def _writer(engine: sa.Engine, plan: Plan) -> Writer:
    if engine.dialect.name == "postgresql":
        return PostgresqlWriter(engine, plan.layout)
    if engine.dialect.name == "sqlite":
        return SqliteWriter(engine, plan.layout)
    msg = f"migration works in PostgreSQL and SQLite, not in {engine.dialect.name}"
    raise StoreError(msg)


def _goes_on(run: RunInfo) -> str:
    return (
        f"goes on with run {run.run_id}, started at {run.started_at:%Y-%m-%d %H:%M} UTC: values "
        "under the data keys that it has made since then are left as they are. If one of those may "
        f"have leaked, too, end it with `keyhinge runs abandon {run.run_id}` and start again"
    )


def _waits(keys: KeyManager, plan: Plan, labels: dict[str, int]) -> bool:
    """Tell whether a key service is waited for, so that several batches at once are faster."""
    for label in {plan.target, *(plan.source or labels)}:
        try:
            if keys.capabilities(keys.section_of(label)).blocking:
                return True
        except (SectionNotConfiguredError, ConfigError):
            continue
    return False


def _range_keys(batch: int, rows: int) -> int:
    """Give how many keys somebody works on at once: some batches, and enough for all to do."""
    batches = max(_BATCHES_OF_A_RANGE, rows // _RANGES_OF_A_TABLE // batch)
    return max(batch, min(batches * batch, limits.RANGE_KEYS))


def _digest(plan: Plan) -> str:
    """Make a digest of what decides which rows are moved, which all who take part must agree on.

    Two who differ in it would count other rows as done, or as failed.
    """
    layout = plan.layout
    table = layout.table
    where = (
        ""
        if layout.where is None
        else str(layout.where.compile(compile_kwargs={"literal_binds": True}))
    )
    parts = [
        table.schema,
        table.name,
        layout.key,
        layout.bound,
        layout.bound_columns,
        layout.codec.columns,
        type(layout.codec).__name__,
        layout.encrypted_at,
        where,
        # Whether what isn't ours is a plaintext to be moved, or a row that fails.
        isinstance(layout.codec, TextCodec) and layout.codec.adopt,
        sorted(plan.targets),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
