"""Runs: starting one, joining the one under way, ending it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge_store._errors import MigrationError, MigrationRunningError
from keyhinge_store._runs import _limits as limits
from keyhinge_store._runs._evidence import (
    END,
    START,
    TakeInventory,
    add_participant,
    keep,
    settle_participants,
)
from keyhinge_store._runs._holder import actor, is_gone, shown
from keyhinge_store._runs._tables import DATA_KEY, FAILURE, RANGE, RUN
from keyhinge_store._runs._transact import clock, moment_of, own_transaction, transaction

__all__ = [
    "Run",
    "Wanted",
    "close_run",
    "last_run",
    "live_holders",
    "read_run",
    "start_or_join",
    "sums",
]

Run = sa.Row[Any]
"""A row of `keyhinge_run`."""

_TRIES = 5


@attrs.frozen
class Wanted:
    """What somebody wants to move, and where to.

    Attributes:
        subject: What is moved: the labels of table and column.
        table_name: The table, for people.
        operation: "migrate", "rewrap" or "new-data-keys".
        source: The labels to move from.
        target: The section to move to.
        target_key: For a rewrap, key id and version.
        digest: Stands for everything else that all who take part must agree on.
        retry_of: The run whose failures alone are tried again.
        rows: Rows in the table.
        matched: Rows that have to be moved.
        already: Rows at the target.
        max_sweeps: After how many sweeps to give up; None for what the run has.
        rate: Rows a second for all together; None for what the run has.
        inventory: Counts what is there by labels, to be kept with a run that starts. It is asked
            before the transaction, since it reads the whole table; not by those who join.
    """

    subject: str
    table_name: str
    operation: str
    source: tuple[str, ...]
    target: str
    target_key: tuple[str, str] | None
    digest: str
    retry_of: int | None
    rows: int
    matched: int
    already: int
    max_sweeps: int | None
    rate: float | None
    inventory: TakeInventory | None = None

    def direction(self) -> dict[str, Any]:
        """Give the columns in which a run must agree with whoever joins it."""
        key = None if self.target_key is None else json.dumps(self.target_key)
        return {
            "operation": self.operation,
            "source": json.dumps(self.source),
            "target": self.target,
            "target_key": key,
            "digest": self.digest,
            "retry_of": self.retry_of,
        }


def start_or_join(engine: sa.Engine, wanted: Wanted, holder: str) -> int:
    """Start a run, or join the one that is under way.

    A run in another direction that somebody works on is left alone. One that nobody works on any
    more is given up: what it moved stays moved, and the rows tell what is left.

    Args:
        engine: Where the tables are.
        wanted: What is to be moved where.
        holder: Who we are.

    Returns:
        The run's id.

    Raises:
        MigrationError: Others are moving the same values somewhere else.
        MigrationRunningError: SQLite has one migrator at a time, and another one is at work.
        SQLAlchemyError: The database failed.
    """
    counted = _counted(engine, wanted)
    for attempt in range(_TRIES):
        try:
            with transaction(engine) as connection:
                active = _active(connection, wanted.subject)
                if active is not None and not _agrees(active, wanted):
                    _give_up(connection, active, wanted)
                    if counted is not None:
                        keep(connection, active.run_id, END, counted)
                    active = None
                if active is None:
                    run_id = _insert(connection, wanted, holder)
                    if counted is not None:
                        keep(connection, run_id, START, counted)
                else:
                    _join(connection, active, wanted, holder)
                    run_id = int(active.run_id)
                add_participant(connection, run_id, holder)
                return run_id
        except sa.exc.IntegrityError:
            if attempt == _TRIES - 1:
                raise  # otherwise somebody else started it at the same moment: join them
    raise AssertionError


def read_run(engine: sa.Engine, run_id: int) -> Run | None:
    """Read a run as it is now."""
    with engine.connect() as connection:
        return connection.execute(sa.select(RUN).where(RUN.c.run_id == run_id)).one_or_none()


def close_run(connection: sa.Connection, run_id: int, state: str, **more: Any) -> None:
    """End a run, and with it everybody's work on it."""
    connection.execute(
        RUN.update()
        .where(RUN.c.run_id == run_id)
        .values(state=state, ended_at=moment_of(connection), holder=None, lease_until=0, **more)
    )
    settle_participants(connection, run_id)
    for table in (RANGE, DATA_KEY):
        connection.execute(table.delete().where(table.c.run_id == run_id))


def live_holders(connection: sa.Connection, run: Run) -> list[str]:
    """Give those who work on a run, as far as is known."""
    now = clock(connection.engine)
    held = sa.select(RANGE.c.holder).where(
        RANGE.c.run_id == run.run_id, RANGE.c.is_open, RANGE.c.lease_until > now
    )
    holders = set(connection.execute(held.distinct()).scalars())
    if run.holder and connection.execute(sa.select(sa.literal(run.lease_until) > now)).scalar():
        holders.add(run.holder)
    return sorted(holder for holder in holders if not is_gone(holder))


def _counted(engine: sa.Engine, wanted: Wanted) -> dict[str, Any] | None:
    """Take the inventory, unless there is a run to join. Nothing is locked meanwhile."""
    if wanted.inventory is None:
        return None
    with engine.connect() as connection:
        active = sa.select(RUN).where(RUN.c.subject == wanted.subject, RUN.c.state == "active")
        run = connection.execute(active).one_or_none()
        return wanted.inventory(connection) if run is None or not _agrees(run, wanted) else None


def _active(connection: sa.Connection, subject: str) -> Run | None:
    active = sa.select(RUN).where(RUN.c.subject == subject, RUN.c.state == "active")
    return connection.execute(active.with_for_update()).one_or_none()


def _agrees(run: Run, wanted: Wanted) -> bool:
    return all(getattr(run, name) == value for name, value in wanted.direction().items())


def _give_up(connection: sa.Connection, run: Run, wanted: Wanted) -> None:
    holders = live_holders(connection, run)
    if holders:
        msg = (
            f"run {run.run_id} is moving values of {run.table_name} to {run.target!r} just now "
            f"({run.operation}, by {', '.join(map(shown, holders))}), and what was asked for is "
            f"something else. Wait until it is done, stop it, or end it for all with "
            f"`keyhinge runs abandon {run.run_id}`"
        )
        raise MigrationError(msg)
    close_run(
        connection,
        run.run_id,
        "abandoned",
        reason=f"nobody worked on it when {wanted.operation} to {wanted.target} was started",
        **last_sums(connection, run),
    )


def last_sums(connection: sa.Connection, run: Run) -> dict[str, int]:
    """Give a run's counts when others may still be writing, so that nothing is left out of them.

    Whoever has entered a batch and not committed it is waited for. From then on nobody can enter
    one before this transaction has ended, which is to take their ranges away.
    """
    ranges = sa.select(RANGE.c.number).where(RANGE.c.run_id == run.run_id)
    connection.execute(ranges.order_by(RANGE.c.number).with_for_update()).all()
    return sums(connection, run)


def sums(connection: sa.Connection, run: Run) -> dict[str, int]:
    """Give a run's counts with those of its ranges, which are about to go, added in."""
    names = ("moved", "changed", "gone", "busy", "failed")
    counted = connection.execute(
        sa.select(*(sa.func.coalesce(sa.func.sum(RANGE.c[name]), 0) for name in names)).where(
            RANGE.c.run_id == run.run_id
        )
    ).one()
    added = dict(zip(names, map(int, counted), strict=True))
    return {
        name: number + (0 if name == "failed" else getattr(run, name))
        for name, number in added.items()
    }


def _insert(connection: sa.Connection, wanted: Wanted, holder: str) -> int:
    now = clock(connection.engine)
    made = RUN.insert().values(
        **wanted.direction(),
        subject=wanted.subject,
        table_name=wanted.table_name,
        state="active",
        started_at=moment_of(connection),
        started_by=actor(),
        rows_at_start=wanted.rows,
        matched=wanted.matched,
        already=wanted.already,
        rate=wanted.rate,
        tokens_at=now,
        max_sweeps=wanted.max_sweeps or limits.MAX_SWEEPS,
        begun=False,
        clean=False,
        horizon=own_transaction(connection),
        not_before=now,
        quiet=False,
        divided=False,
        **_lease(connection, holder),
    )
    return int(connection.execute(made.returning(RUN.c.run_id)).scalar_one())


def _join(connection: sa.Connection, run: Run, wanted: Wanted, holder: str) -> None:
    if connection.dialect.name == "sqlite":
        others = live_holders(connection, run)
        if others:
            msg = (
                f"{shown(others[0])} is moving values in this SQLite file already (run "
                f"{run.run_id}); SQLite has one writer at a time, so one migration is enough"
            )
            raise MigrationRunningError(msg)
    given = {"max_sweeps": wanted.max_sweeps, "rate": wanted.rate}
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= _lease(connection, holder)
    if changes:
        connection.execute(RUN.update().where(RUN.c.run_id == run.run_id).values(**changes))


def _lease(connection: sa.Connection, holder: str) -> dict[str, Any]:
    if connection.dialect.name != "sqlite":
        return {}
    return {"holder": holder, "lease_until": clock(connection.engine) + limits.LEASE_SECONDS}


def last_run(engine: sa.Engine, subject: str, operation: str, target: str) -> int | None:
    """Give the last run on this way that went through rows of the table and may name failures.

    One that was abandoned counts if it has named a row; otherwise it would hide what failed in the
    run before it.

    Args:
        engine: Where the tables are.
        subject: What was moved.
        operation: "migrate", "rewrap" or "new-data-keys".
        target: Where to.

    Returns:
        The run's id; None if there is no run on this way.

    Raises:
        MigrationError: It isn't over, or none of them has looked at a row to its end.
    """
    named = sa.select(FAILURE.c.failure_id).where(FAILURE.c.run_id == RUN.c.run_id).exists()
    wanted = (
        sa.select(RUN.c.run_id, RUN.c.state, named.label("named"))
        .where(RUN.c.subject == subject, RUN.c.retry_of.is_(None))
        .where(RUN.c.operation == operation, RUN.c.target == target)
        .order_by(RUN.c.run_id.desc())
    )
    last = wanted.limit(1)
    telling = wanted.where(named | (RUN.c.state != "abandoned")).limit(1)
    with engine.connect() as connection:
        found = connection.execute(last).one_or_none()
        if found is not None and found.state == "abandoned" and not found.named:
            last_id = found.run_id
            found = connection.execute(telling).one_or_none()
            if found is None:
                msg = (
                    f"run {last_id} was ended before it named a row that failed, so there is "
                    "nothing that could be tried alone. Start it without --retry-failed"
                )
                raise MigrationError(msg)
    if found is not None and found.state == "active":
        msg = (
            f"run {found.run_id} isn't over. Start it again without --retry-failed: it tries "
            "what failed once more before it ends. Or end it as it is, with "
            f"`keyhinge runs abandon {found.run_id}`"
        )
        raise MigrationError(msg)
    return None if found is None else int(found.run_id)
