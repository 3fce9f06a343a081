"""Reading what is kept of runs: which there were in a time, and when a key was first seen."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge_store._errors_sql import guarded
from keyhinge_store._runs._evidence import END, START, VERIFY, read_kept, read_participants
from keyhinge_store._runs._info import RunInfo, info_of
from keyhinge_store._runs._run import Run
from keyhinge_store._runs._tables import EVIDENCE, FAILURE, RUN, has_state_tables

__all__ = ["Kept", "Past", "first_seen", "history"]

Kept = tuple[datetime, dict[str, Any]]
"""When an inventory was taken, and what it says."""
_PAGE = 500


@attrs.frozen
class Past:
    """A run and what is kept of it.

    Attributes:
        run: The run, with those who took part.
        before: The inventory at its start, if there is one.
        after: The inventory at its end, if there is one.
        reasons: How many rows failed, by reason, as far as they are named.
    """

    run: RunInfo
    before: Kept | None
    after: Kept | None
    reasons: dict[str, int]


def history(engine: sa.Engine, since: datetime, until: datetime) -> list[Past]:
    """Read the runs that were under way at any moment of a time, the oldest first.

    Args:
        engine: The database.
        since: The time's first moment.
        until: The first moment behind it.

    Raises:
        DatabaseError: The database failed.
    """

    def read() -> list[Past]:
        with engine.connect() as connection:
            if not has_state_tables(connection):
                return []
            wanted = (
                sa.select(RUN)
                .where(
                    RUN.c.started_at < until, RUN.c.ended_at.is_(None) | (RUN.c.ended_at >= since)
                )
                .order_by(RUN.c.started_at, RUN.c.run_id)
            )
            rows = connection.execute(wanted).all()
            pages = (rows[start : start + _PAGE] for start in range(0, len(rows), _PAGE))
            return [past for page in pages for past in _pasts(connection, page)]

    return guarded(read)


def first_seen(engine: sa.Engine) -> dict[tuple[str, str, str], datetime]:
    """Tell when each section, key id and version was first counted in an inventory of a run.

    Nothing where our tables aren't there, or can't be read: it is only what is known besides.
    """
    found: dict[tuple[str, str, str], datetime] = {}
    with contextlib.suppress(sa.exc.SQLAlchemyError), engine.connect() as connection:
        if not has_state_tables(connection):
            return found
        wanted = sa.select(EVIDENCE.c.run_id).where(EVIDENCE.c.kind.in_([START, END]))
        ids = list(connection.execute(wanted.distinct()).scalars())
        for start in range(0, len(ids), _PAGE):
            for kinds in read_kept(connection, ids[start : start + _PAGE]).values():
                for taken_at, content in kinds.values():
                    for label in content.get("labels", ()):
                        name = (label["section"], label["key_id"], label["version"])
                        found[name] = min(taken_at, found.get(name, taken_at))
    return found


def _pasts(connection: sa.Connection, rows: Sequence[Run]) -> list[Past]:
    ids = [row.run_id for row in rows]
    kept = read_kept(connection, ids)
    reasons: dict[int, dict[str, int]] = {}
    counted = (
        sa.select(FAILURE.c.run_id, FAILURE.c.reason, sa.func.count())
        .where(FAILURE.c.run_id.in_(ids))
        .group_by(FAILURE.c.run_id, FAILURE.c.reason)
        .order_by(FAILURE.c.run_id, FAILURE.c.reason)
    )
    for run_id, reason, number in connection.execute(counted):
        reasons.setdefault(run_id, {})[reason] = int(number)
    found = []
    for row in rows:
        of_run = kept.get(row.run_id, {})
        named = reasons.get(row.run_id, {})
        if VERIFY in of_run:
            named = of_run[VERIFY][1].get("reasons", {})
        info = attrs.evolve(
            info_of(connection, row), participants=read_participants(connection, row.run_id)
        )
        found.append(Past(info, of_run.get(START), of_run.get(END), named))
    return found
