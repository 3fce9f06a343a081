"""What is kept of a run for whoever has to prove it later: inventories, and who took part.

Inventories are counts by label; nothing of a value is in them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge_store._errors import StoreError
from keyhinge_store._runs._holder import actor, shown
from keyhinge_store._runs._tables import EVIDENCE, PARTICIPANT, RANGE, RUN
from keyhinge_store._runs._transact import moment_of, transaction

__all__ = [
    "END",
    "START",
    "VERIFY",
    "Participant",
    "TakeInventory",
    "add_participant",
    "keep",
    "keep_end",
    "read_kept",
    "read_participants",
    "settle_participants",
]

START, END, VERIFY = "start", "end", "verify"

TakeInventory = Callable[[sa.Connection], dict[str, Any]]
"""Counts what the run's column holds by its labels, as JSON can hold it."""


@attrs.frozen
class Participant:
    """A process that took part in a run.

    Attributes:
        name: Its machine and process id.
        actor: The system's user and the machine.
        joined_at: When it started the run, or joined it, by the database's clock.
        moved: Rows that it moved. Where a process took over what another one had begun, all of
            that part counts for whoever finished it.
    """

    name: str
    actor: str
    joined_at: datetime
    moved: int


def keep(
    connection: sa.Connection,
    run_id: int,
    kind: str,
    content: Mapping[str, Any],
    taken_at: datetime | None = None,
) -> None:
    """Keep an inventory with a run. The first one of a kind stays."""
    there = sa.select(EVIDENCE.c.kind).where(EVIDENCE.c.run_id == run_id, EVIDENCE.c.kind == kind)
    if connection.execute(there).first() is None:
        connection.execute(
            EVIDENCE.insert().values(
                run_id=run_id,
                kind=kind,
                taken_at=taken_at or moment_of(connection),
                content=json.dumps(content, separators=(",", ":")),
            )
        )


def keep_end(engine: sa.Engine, run_id: int, take: TakeInventory) -> None:
    """Keep what a run came to, if it has ended and nobody else did. Never fails.

    A run isn't worse for it if its inventory can't be taken: what is missing is told as missing.
    """
    ended = sa.select(RUN.c.run_id).where(RUN.c.run_id == run_id, RUN.c.state != "active")
    with contextlib.suppress(sa.exc.SQLAlchemyError, StoreError):
        with engine.connect() as connection:
            if connection.execute(ended).first() is None:
                return
            if END in read_kept(connection, [run_id]).get(run_id, {}):
                return
            content, taken_at = take(connection), moment_of(connection)
        with transaction(engine) as connection:
            keep(connection, run_id, END, content, taken_at)


def read_kept(
    connection: sa.Connection, run_ids: Iterable[int]
) -> dict[int, dict[str, tuple[datetime, dict[str, Any]]]]:
    """Read what is kept of some runs: for each, by kind, when it was taken and what it says."""
    wanted = sa.select(EVIDENCE).where(EVIDENCE.c.run_id.in_(list(run_ids)))
    found: dict[int, dict[str, tuple[datetime, dict[str, Any]]]] = {}
    for row in connection.execute(wanted):
        found.setdefault(row.run_id, {})[row.kind] = (row.taken_at, json.loads(row.content))
    return found


def add_participant(connection: sa.Connection, run_id: int, holder: str) -> None:
    """Write down who takes part in a run; once for each process."""
    there = sa.select(PARTICIPANT.c.run_id).where(
        PARTICIPANT.c.run_id == run_id, PARTICIPANT.c.holder == holder
    )
    if connection.execute(there).first() is None:
        connection.execute(
            PARTICIPANT.insert().values(
                run_id=run_id, holder=holder, actor=actor(), joined_at=moment_of(connection)
            )
        )


def settle_participants(connection: sa.Connection, run_id: int) -> None:
    """Add to each process what it moved in the ranges that are about to go."""
    moved = _moved(PARTICIPANT.c.run_id, PARTICIPANT.c.holder)
    connection.execute(
        PARTICIPANT.update()
        .where(PARTICIPANT.c.run_id == run_id)
        .values(moved=PARTICIPANT.c.moved + moved)
    )


def read_participants(connection: sa.Connection, run_id: int) -> tuple[Participant, ...]:
    """List who took part in a run, in the order in which they came."""
    moved = PARTICIPANT.c.moved + _moved(PARTICIPANT.c.run_id, PARTICIPANT.c.holder)
    wanted = (
        sa.select(PARTICIPANT, moved.label("all_moved"))
        .where(PARTICIPANT.c.run_id == run_id)
        .order_by(PARTICIPANT.c.joined_at, PARTICIPANT.c.holder)
    )
    return tuple(
        Participant(shown(row.holder), row.actor, row.joined_at, int(row.all_moved))
        for row in connection.execute(wanted)
    )


def _moved(run_id: sa.ColumnElement[int], holder: sa.ColumnElement[str]) -> Any:
    counted = sa.select(sa.func.sum(RANGE.c.moved)).where(
        RANGE.c.run_id == run_id, RANGE.c.holder == holder
    )
    return sa.func.coalesce(counted.scalar_subquery(), 0)
