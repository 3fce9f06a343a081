"""Sweeps: when one is over, what comes next, and when a run is done.

A run is done after a complete sweep that found nothing but rows that fail, if it began when all
transactions were over that were under way at the end of the sweep before (or, in the first sweep,
at the start). So a value that somebody wrote in a transaction that began earlier and ended later
isn't missed.

A run that makes new data keys is also done after a sweep, not the first, in which no row was
locked. Then each value that stood there when the run was started is gone, and what applications
have written since is under their own data keys: any number of sweeps would find more of those.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from keyhinge_store._runs._evidence import settle_participants
from keyhinge_store._runs._failures import forget_old_failures
from keyhinge_store._runs._run import Run, close_run, sums
from keyhinge_store._runs._tables import RANGE, RUN
from keyhinge_store._runs._transact import clock, oldest_transaction, own_transaction, transaction

__all__ = ["BUSY", "OPEN_TRANSACTIONS", "begin_sweep", "end_sweep"]

BUSY = "applications were using rows, or writing new ones, in every sweep"
OPEN_TRANSACTIONS = (
    "a transaction that was under way all the time may have written values that nobody sees yet"
)

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
_MOMENT = 1.0


def end_sweep(engine: sa.Engine, run: Run) -> bool:
    """End a sweep, if nobody works on a part of it any more.

    Args:
        engine: Where the tables are.
        run: The run as it was read a moment ago.

    Returns:
        Whether the run has changed, so that it should be read again.
    """
    with transaction(engine) as connection:
        now = connection.execute(
            sa.select(RUN).where(RUN.c.run_id == run.run_id).with_for_update()
        ).one_or_none()
        if now is None or now.state != "active" or now.sweep != run.sweep or not now.begun:
            return True
        opened = sa.select(sa.func.count()).where(RANGE.c.run_id == run.run_id, RANGE.c.is_open)
        if not now.divided or connection.execute(opened).scalar_one():
            return False
        _end(connection, now)
    return True


def _end(connection: sa.Connection, run: Run) -> None:
    totals = sums(connection, run)
    quiet = all(totals[name] == getattr(run, name) for name in ("moved", "changed", "gone", "busy"))
    troubled = totals["changed"] + totals["busy"] > run.changed + run.busy
    forget_old_failures(connection, run.run_id, run.sweep)
    if run.clean and (quiet or _all_is_newer(run, totals)):
        close_run(connection, run.run_id, "finished", **totals)
        return
    if run.sweep >= run.max_sweeps:
        reason = OPEN_TRANSACTIONS if quiet else BUSY
        close_run(connection, run.run_id, "unsettled", reason=reason, **totals)
        return
    # Whoever was using rows gets a moment; longer each time.
    pause = min(_FIRST_PAUSE * 2.0 ** (run.sweep - 1), _LONGEST_PAUSE) if troubled else 0.0
    settle_participants(connection, run.run_id)
    connection.execute(RANGE.delete().where(RANGE.c.run_id == run.run_id))
    connection.execute(
        RUN.update()
        .where(RUN.c.run_id == run.run_id)
        .values(
            **totals,
            sweep=run.sweep + 1,
            begun=False,
            clean=False,
            quiet=quiet,
            horizon=own_transaction(connection),
            not_before=clock(connection.engine) + pause,
            next_key=None,
            divided=False,
        )
    )


def _all_is_newer(run: Run, totals: dict[str, int]) -> bool:
    """Tell whether everything in the table was written, or failed, since the run was started."""
    held = totals["busy"] > run.busy
    return run.operation == "new-data-keys" and run.sweep > 1 and not held


def begin_sweep(engine: sa.Engine, run: Run, patience: float) -> bool:
    """Begin the next sweep, if it is time.

    Args:
        engine: Where the tables are.
        run: The run as it was read a moment ago.
        patience: For how many seconds to wait for transactions that began earlier, where nothing
            else is left to do.

    Returns:
        Whether the run has changed, so that it should be read again.
    """
    waited = clock(engine) - RUN.c.not_before
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(waited.label("waited")).where(RUN.c.run_id == run.run_id)
        ).one_or_none()
    if row is None:
        return True
    if row.waited < 0:
        return False
    clean = oldest_transaction(engine) > run.horizon
    if not clean and row.waited < (patience if run.quiet else min(patience, _MOMENT)):
        return False
    unchanged = (
        RUN.c.run_id == run.run_id,
        RUN.c.state == "active",
        RUN.c.sweep == run.sweep,
        sa.not_(RUN.c.begun),
    )
    with transaction(engine) as connection:
        if run.quiet and not clean:
            # The last sweep found nothing, and the next one wouldn't prove more.
            _give_up(connection, run, unchanged)
        else:
            connection.execute(RUN.update().where(*unchanged).values(begun=True, clean=clean))
    return True


def _give_up(
    connection: sa.Connection, run: Run, unchanged: tuple[sa.ColumnElement[Any], ...]
) -> None:
    locked = sa.select(RUN.c.run_id).where(*unchanged).with_for_update()
    if connection.execute(locked).one_or_none() is not None:
        close_run(connection, run.run_id, "unsettled", reason=OPEN_TRANSACTIONS)
