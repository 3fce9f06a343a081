"""Looking at runs, and ending one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from keyhinge import ConfigError
from keyhinge_store._counting import snapshot
from keyhinge_store._errors import MigrationError, StoreError
from keyhinge_store._errors_sql import guarded
from keyhinge_store._failure import RowFailure
from keyhinge_store._runs._evidence import Participant, keep_end, read_participants
from keyhinge_store._runs._failures import read_failures
from keyhinge_store._runs._holder import is_gone, shown
from keyhinge_store._runs._run import Run, close_run, last_sums, sums
from keyhinge_store._runs._tables import RANGE, RUN, has_state_tables
from keyhinge_store._runs._transact import clock, transaction
from keyhinge_store._stored import Stored, columns_of

__all__ = ["RunInfo", "RunProcess", "abandon", "info_of", "run", "runs"]

T = TypeVar("T")

_LIMIT = 1000
_FAILURES = 100


@attrs.frozen
class RunProcess:
    """A process that works on a run, or did when it was last heard of.

    Attributes:
        name: Its machine and process id.
        ranges: How many ranges of keys it works on.
        silent: Whether its lease is over, or it is known to have ended: others take its part over.
        lease_until: When its lease ends if it says nothing more.
    """

    name: str
    ranges: int
    silent: bool
    lease_until: datetime


@attrs.frozen(kw_only=True)
class RunInfo:
    """A run: one migration of one table, by any number of processes.

    Attributes:
        run_id: Its number.
        table: The table.
        subject: What is moved: the labels of table and column.
        operation: "migrate", "rewrap", "new-data-keys" or "verify".
        source: The labels to move from; empty for everything but the target.
        target: The section to move to; "" for a verification.
        target_key: For a rewrap, key id and version.
        retry_of: The run whose failures alone were tried again.
        state: "active", "finished", "unsettled" or "abandoned".
        reason: Why it is unsettled or abandoned.
        sweep: The sweep that it is in, or ended with.
        max_sweeps: After how many it gives up.
        rate: Rows a second for all processes together; None for no limit.
        rows: Rows in the table at the start.
        matched: Rows that had to be moved, at the start.
        already: Rows that were at the target, at the start; in a verification, those that opened.
        moved: Rows that were moved, by all processes.
        failed: Rows that failed in this sweep.
        changed: How often a row was found changed, so that the application's change won.
        gone: How often a row was found deleted.
        busy: How often a row was found locked.
        started_at: When it was started, by the database's clock.
        started_by: Who started it: user and machine.
        ended_at: When it ended.
        processes: Who works on it.
        failures: The first rows that failed, where one run was asked for.
        participants: Who has taken part in it, where one run was asked for.
    """

    run_id: int
    table: str
    subject: str
    operation: str
    source: tuple[str, ...]
    target: str
    target_key: tuple[str, str] | None
    retry_of: int | None
    state: str
    reason: str
    sweep: int
    max_sweeps: int
    rate: float | None
    rows: int
    matched: int
    already: int
    moved: int
    failed: int
    changed: int
    gone: int
    busy: int
    started_at: datetime
    started_by: str
    ended_at: datetime | None
    processes: tuple[RunProcess, ...] = ()
    failures: tuple[RowFailure, ...] = ()
    participants: tuple[Participant, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON; times in ISO 8601."""
        return attrs.asdict(self, value_serializer=_plain)


def runs(store: Stored) -> list[RunInfo]:
    """List the runs in a database, the newest first, 1,000 at most.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.

    Raises:
        DatabaseError: The database failed.
    """

    def read(connection: sa.Connection) -> list[RunInfo]:
        found = connection.execute(sa.select(RUN).order_by(RUN.c.run_id.desc()).limit(_LIMIT)).all()
        return [info_of(connection, each) for each in found]

    return _reading(store.state, read, [])


def run(store: Stored, run_id: int) -> RunInfo:
    """Describe a run, with the processes that work on it and the first rows that failed.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        run_id: The run's number.

    Raises:
        MigrationError: There is no such run.
        DatabaseError: The database failed.
    """

    def read(connection: sa.Connection) -> RunInfo | None:
        row = connection.execute(sa.select(RUN).where(RUN.c.run_id == run_id)).one_or_none()
        if row is None:
            return None
        failures = read_failures(connection, run_id, _FAILURES)
        return attrs.evolve(
            info_of(connection, row),
            failures=tuple(failures),
            participants=read_participants(connection, run_id),
        )

    found = _reading(store.state, read, None)
    if found is None:
        raise _unknown(run_id)
    return found


def abandon(store: Stored, run_id: int) -> RunInfo:
    """End a run for everybody who works on it. What is moved stays moved; nothing is lost.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        run_id: The run's number.

    Raises:
        MigrationError: There is no such run, or it has ended already.
        DatabaseError: The database failed.
    """
    subject = run(store, run_id).subject

    def end() -> bool:
        with transaction(store.state) as connection:
            active = sa.select(RUN).where(RUN.c.run_id == run_id, RUN.c.state == "active")
            row = connection.execute(active.with_for_update()).one_or_none()
            if row is not None:
                reason = "ended by hand"
                close_run(
                    connection, run_id, "abandoned", reason=reason, **last_sums(connection, row)
                )
            return row is not None

    if not guarded(end):
        msg = f"run {run_id} has ended already"
        raise MigrationError(msg)
    _take_inventory(store, run_id, subject)
    return run(store, run_id)


def _take_inventory(store: Stored, run_id: int, subject: str) -> None:
    with contextlib.suppress(StoreError, ConfigError):  # the run has ended all the same
        for column in columns_of(store):
            if column.layout.name == subject:
                keep_end(store.state, run_id, partial(snapshot, layout=column.layout))


def info_of(connection: sa.Connection, row: Run) -> RunInfo:
    """Describe a run as it is now, with the counts of the ranges under way."""
    counts = sums(connection, row) if row.state == "active" else row._mapping  # noqa: SLF001
    key = None if row.target_key is None else tuple(json.loads(row.target_key))
    return RunInfo(
        run_id=row.run_id,
        table=row.table_name,
        subject=row.subject,
        operation=row.operation,
        source=tuple(json.loads(row.source)),
        target=row.target,
        target_key=key,
        retry_of=row.retry_of,
        state=row.state,
        reason=row.reason,
        sweep=row.sweep,
        max_sweeps=row.max_sweeps,
        rate=row.rate,
        rows=row.rows_at_start,
        matched=row.matched,
        already=row.already,
        started_at=row.started_at,
        started_by=row.started_by,
        ended_at=row.ended_at,
        processes=_processes(connection, row),
        moved=counts["moved"],
        failed=counts["failed"],
        changed=counts["changed"],
        gone=counts["gone"],
        busy=counts["busy"],
    )


def _processes(connection: sa.Connection, row: Run) -> tuple[RunProcess, ...]:
    now = connection.execute(sa.select(clock(connection.engine))).scalar_one()
    held = (
        sa.select(RANGE.c.holder, sa.func.count(), sa.func.max(RANGE.c.lease_until))
        .where(RANGE.c.run_id == row.run_id, RANGE.c.is_open, RANGE.c.holder != "")
        .group_by(RANGE.c.holder)
        .order_by(RANGE.c.holder)
    )
    return tuple(
        RunProcess(
            shown(holder),
            int(ranges),
            bool(until <= now or is_gone(holder)),
            datetime.fromtimestamp(until, timezone.utc),
        )
        for holder, ranges, until in connection.execute(held)
    )


def _reading(engine: sa.Engine, read: Callable[[sa.Connection], T], missing: T) -> T:
    def work() -> T:
        with engine.connect() as connection:
            return read(connection) if has_state_tables(connection) else missing

    return guarded(work)


def _unknown(run_id: int) -> MigrationError:
    return MigrationError(f"there is no run {run_id}; `keyhinge runs` lists them")


def _plain(_: type, __: Any, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
