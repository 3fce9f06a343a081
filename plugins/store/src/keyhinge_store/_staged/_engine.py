"""Preparing new values beside a table, and swapping all of them in at once."""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store._errors import MigrationError
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._migrate._engine import PATIENCE
from keyhinge_store._migrate._patience import at_the_start
from keyhinge_store._migrate._report import OnProgress, Stop, stop_asked
from keyhinge_store._runs._transact import transaction
from keyhinge_store._staged._options import Options, Waiter
from keyhinge_store._staged._others import refuse_others
from keyhinge_store._staged._plans import choose_target, make_plans, staging_of
from keyhinge_store._staged._report import StagedReport, add_up
from keyhinge_store._staged._stage import Stage
from keyhinge_store._staged._staging import drop
from keyhinge_store._staged._work import Work
from keyhinge_store._stored import Stored, columns_of

__all__ = ["abandon_staged", "migrate_staged"]

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
    under_way = [at_the_start(partial(staging_of, column), patience) for column in columns]
    target = choose_target(target, keys, columns, under_way, swapping=swap, plain=allow_plaintext)
    plans = make_plans(columns, keys, target, patience, allow_plaintext=allow_plaintext)
    with keys.clone() as cold:
        wait = Waiter(asked)
        stages = [
            Stage(column, keys, cold, plan, options=options, wait=wait)
            for column, plan in zip(columns, plans, strict=True)
        ]
        work = Work(columns, stages, wait)
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
        staging = staging_of(column)
        if staging is None:
            continue

        def work(name: str = staging.subject, engine: sa.Engine = column.state) -> int:
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
