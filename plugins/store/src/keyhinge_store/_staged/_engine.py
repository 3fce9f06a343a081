"""Preparing new values beside a table, and swapping all of them in at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import attrs
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store._errors import (
    MigrationError,
    MigrationStoppedError,
    StoreError,
)
from keyhinge_store._errors_sql import guarded, translated
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout
from keyhinge_store._mapped import MappedColumn
from keyhinge_store._migrate._convert import KeysFailedError
from keyhinge_store._migrate._engine import PATIENCE
from keyhinge_store._migrate._patience import at_the_start
from keyhinge_store._migrate._plan import Plan, count_sections, plan_migration
from keyhinge_store._migrate._report import OnProgress, Stop, stop_asked
from keyhinge_store._migrate._work import TooManyFailuresError
from keyhinge_store._migrate._writer import AlteredError
from keyhinge_store._runs._tables import create_state_tables
from keyhinge_store._runs._transact import transaction
from keyhinge_store._staged._others import refuse_others
from keyhinge_store._staged._report import StagedReport, add_up
from keyhinge_store._staged._shelf import Staging, drop, read_staging
from keyhinge_store._staged._stage import Options, Stage, Waiter
from keyhinge_store._staged._swap import MisfitError, Swapped, find_swapped, swap_in
from keyhinge_store._staged._tables import STAGING
from keyhinge_store._stored import Column, Stored, columns_of

__all__ = ["abandon_staged", "migrate_staged"]

T = TypeVar("T")

# So often the swap is tried, each time after what has changed meanwhile is made anew.
_TRIES = 3
LOCK_SECONDS = 60.0


@frameless
def migrate_staged(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    swap: bool = False,
    target: str | None = None,
    allow_plaintext: bool = False,
    leave_failed: bool = False,
    alone: bool = False,
    lock_seconds: float = LOCK_SECONDS,
    batch_size: int = 1000,
    patience: float = PATIENCE,
    max_errors: int | None = None,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> StagedReport:
    """Prepare new values beside a table, and with `swap` put all of them into it at once.

    For an application that decrypts every row with its one configured provider, as monetr does, so
    that it couldn't read a table that is half moved. Preparing changes nothing for it: it may run
    and write meanwhile. Run again, it goes on where it ended, and makes anew what has changed.

    The swap does the same once more, and then replaces the values in one transaction, each only
    if the row is exactly as it was when its new value was made. If anything doesn't fit, nothing
    is changed. The application has to be stopped before, and started with the other provider after.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.
        swap: Whether to put the new values into the table.
        target: The section to move to. None for the one that values are being prepared for, or
            else the primary. Everything that isn't there is moved.
        allow_plaintext: Let the target be a section that doesn't encrypt. The plaintexts then
            stand in the side table until the swap.
        leave_failed: Let the swap leave rows as they are that can't be opened. Otherwise a single
            one keeps it from happening.
        alone: Let the swap happen only if nobody else is connected to the database. SQLite can't
            tell.
        lock_seconds: For how long the swap may keep others from writing to the table.
        batch_size: Rows in a batch.
        patience: For how many seconds a key service or database that is away is waited for.
        max_errors: Stop when more rows than that have failed; None for any number.
        on_progress: Called after each batch.
        stop: Asked after each batch; True, or a set event, ends the work after it.

    Returns:
        What was done. Rows that failed are in it, not raised; with any, its `state` stays
        "prepared" unless `leave_failed`.

    Raises:
        MigrationError: It can't be done like this; nothing is prepared that could be swapped.
        MigrationStoppedError: It had to stop; `retryable` says whether just to try again. The
            table is as it was.
        ConfigError: The target isn't configured, or can't be used.
        DatabaseError: The database failed before the start.
    """
    keys = store.keys if keys is None else keys
    if batch_size < 1:
        msg = "a batch has at least one row"
        raise ValueError(msg)
    asked = stop_asked(stop)
    options = Options(batch_size, patience, max_errors, on_progress, asked)
    columns = columns_of(store)
    under_way = [at_the_start(partial(_staging, column), patience) for column in columns]
    target = _target(target, keys, columns, under_way, swapping=swap, plain=allow_plaintext)
    plans = _plans(columns, keys, target, patience, allow_plaintext=allow_plaintext)
    with keys.clone() as cold:
        wait = Waiter(asked)
        stages = [
            Stage(column, keys, cold, plan, options=options, wait=wait)
            for column, plan in zip(columns, plans, strict=True)
        ]
        work = _Work(columns, stages, wait)
        if not swap:
            return work.stopping(partial(work.prepare, going_on=any(under_way)))
        if alone:
            refuse_others(columns[0].engine)
        again = partial(work.swap, leave_failed=leave_failed, seconds=lock_seconds, alone=alone)
        return work.stopping(again)


@frameless
def abandon_staged(store: Stored) -> StagedReport:
    """Drop everything that is prepared. The tables stay as they are.

    Args:
        store: Where the values are.

    Raises:
        MigrationError: Nothing is prepared.
        DatabaseError: The database failed.
    """
    reports = []
    for column in columns_of(store):
        staging = _staging(column)
        if staging is None:
            continue

        def work(name: str = staging.subject, engine: sa.Engine = column.engine) -> int:
            with transaction(engine) as connection:
                return drop(connection, name)

        dropped = guarded(work)
        table = column.layout.table.fullname
        report = StagedReport(
            state="abandoned", target=staging.target, dropped=dropped, table=table
        )
        reports.append(report)
    if not reports:
        msg = "nothing is prepared, so there is nothing to drop"
        raise MigrationError(msg)
    return add_up(reports)


class _Work:
    """Goes through the columns."""

    def __init__(self, columns: Sequence[Column], stages: Sequence[Stage], wait: Waiter) -> None:
        self._columns = columns
        self._stages = stages
        self._wait = wait
        self._started = time.monotonic()
        self._unknown = False

    def stopping(self, work: Callable[[], StagedReport]) -> StagedReport:
        """Do some work; what ends it becomes an error with a report."""
        retryable = False
        try:
            return work()
        except KeysFailedError as failure:
            trouble, retryable = f"the keys failed: {failure.error}", failure.error.retryable
        except TooManyFailuresError:
            trouble = "more rows failed than may"
        except AlteredError:
            trouble = "a trigger changed a new value on its way into the table"
        except MisfitError as misfit:
            trouble, retryable = f"{misfit}; is the application stopped?", misfit.passing
        except sa.exc.SQLAlchemyError as error:
            problem = translated(error)
            retryable = isinstance(problem, StoreError) and problem.retryable
            trouble = f"the database failed: {problem}"
        if self._wait.interrupted:
            return self._report()
        state = "The table is as it was, and what is prepared stays prepared"
        if self._unknown:
            state = "Either all of it is swapped in, or nothing: the same command again finds out"
        msg = f"{trouble}. {state}"
        raise MigrationStoppedError(msg, report=self._report(), retryable=retryable)

    def prepare(self, *, going_on: bool) -> StagedReport:
        """Make the new values that are missing.

        Args:
            going_on: Whether a preparation is under way.
        """
        self._look()
        if going_on or any(stage.matched for stage in self._stages):
            self._begin()
            self._refresh()
        return self._report()

    def swap(self, *, leave_failed: bool, seconds: float, alone: bool) -> StagedReport:
        """Make the new values that are missing, and swap all of them in."""
        self._look()
        self._begin()
        for tries in range(1, _TRIES + 1):
            if not self._refresh() or (not leave_failed and any(s.failed for s in self._stages)):
                return self._report()
            for stage in self._stages:
                stage.prove()
            if alone:
                refuse_others(self._columns[0].engine)
            before = time.monotonic()
            try:
                found = swap_in(self._stages, leave_failed=leave_failed, seconds=seconds)
            except MisfitError as misfit:
                if not misfit.passing or tries == _TRIES:
                    raise
                continue
            except sa.exc.SQLAlchemyError:
                found = self._swapped_after_all()
                if not found:
                    raise
            return self._swapped(found, time.monotonic() - before)
        raise AssertionError

    def _swapped_after_all(self) -> list[Swapped]:
        """Look what became of a transaction that broke off: its commit may have happened.

        Raises:
            SQLAlchemyError: The database doesn't tell.
        """
        try:
            return self._stages[0].patiently(partial(find_swapped, self._stages))
        except sa.exc.SQLAlchemyError:
            self._unknown = True
            raise

    def _look(self) -> None:
        for stage in self._stages:
            stage.look()

    def _begin(self) -> None:
        for column in self._columns:
            if isinstance(column, MappedColumn):
                column.pin()
        create_state_tables(self._columns[0].engine)
        for stage in self._stages:
            stage.begin()

    def _refresh(self) -> bool:
        return all(stage.refresh() for stage in self._stages)

    def _report(self) -> StagedReport:
        reports = [stage.report() for stage in self._stages]
        return add_up(reports, **self._whole())

    def _swapped(self, found: Sequence[Swapped], seconds: float) -> StagedReport:
        reports = [
            attrs.evolve(
                stage.report(),
                state="swapped",
                swapped=each.rows,
                left=each.left,
                dropped=each.dropped,
                run_id=each.run_id,
            )
            for stage, each in zip(self._stages, found, strict=True)
        ]
        return add_up(reports, locked=seconds, **self._whole())

    def _whole(self) -> dict[str, float | bool]:
        duration = time.monotonic() - self._started
        return {"interrupted": self._wait.interrupted, "duration": duration}


def _staging(column: Column) -> Staging | None:
    """Read which preparation of a column is under way."""

    def read(connection: sa.Connection) -> Staging | None:
        if not sa.inspect(connection).has_table(STAGING.name):
            return None
        return read_staging(connection, column.layout.name)

    _ = column.layout
    return column.run(read)


def _target(
    target: str | None,
    keys: KeyManager,
    columns: Sequence[Column],
    under_way: Sequence[Staging | None],
    *,
    swapping: bool,
    plain: bool,
) -> str:
    if swapping:
        for column, staging in zip(columns, under_way, strict=True):
            if staging is None:
                msg = (
                    f"nothing is prepared for {column.layout.name}, so nothing can be swapped in; "
                    "prepare it first (`keyhinge migrate --staged --to SECTION`). If it was "
                    "swapped in already, `keyhinge runs` has it"
                )
                raise MigrationError(msg)
    targets = dict.fromkeys(staging.target for staging in under_way if staging is not None)
    if target is None and not targets and not keys.capabilities().encrypts and not plain:
        msg = f"name the section to move to (--to): the primary, {keys.primary!r}, doesn't encrypt"
        raise MigrationError(msg)
    if target is None:
        target = next(iter(targets), keys.primary)
    for other in targets:
        if other != target:
            msg = (
                f"new values are prepared for {other!r}, not for {target!r}. Swap them in "
                "(--swap), or drop them first (--abandon)"
            )
            raise MigrationError(msg)
    return target


def _plans(
    columns: Sequence[Column],
    keys: KeyManager,
    target: str,
    patience: float,
    *,
    allow_plaintext: bool,
) -> list[Plan]:
    counted = [at_the_start(partial(_count, column), patience) for column in columns]
    everywhere = dict(sum(map(Counter, counted), Counter[str]()))
    return [
        plan_migration(
            column.layout,
            keys,
            {**dict.fromkeys(everywhere, 0), **labels},
            source=None,
            target=target,
            # The application goes on with the other provider until the swap.
            not_primary=True,
            allow_plaintext=allow_plaintext,
        )
        for column, labels in zip(columns, counted, strict=True)
    ]


def _count(column: Column) -> dict[str, int]:
    layout: Layout = column.layout
    return column.run(partial(count_sections, layout=layout))
