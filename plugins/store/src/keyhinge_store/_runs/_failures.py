"""Rows that couldn't be moved: which, and why. Never their values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from keyhinge_store._failure import RowFailure
from keyhinge_store._keys import digest_of
from keyhinge_store._runs._tables import FAILURE
from keyhinge_store._runs._transact import moment_of

__all__ = ["failed_keys", "forget_old_failures", "read_failures", "record_failures"]


def record_failures(
    connection: sa.Connection, run_id: int, sweep: int, failures: Iterable[RowFailure]
) -> None:
    """Write down which rows failed; a row that failed before is written anew."""
    moment = moment_of(connection)
    rows = []
    for failure in failures:
        key = json.dumps(dict(failure.key), separators=(",", ":"))
        rows.append(
            {
                "run_id": run_id,
                "key_digest": digest_of(key),
                "key": key,
                "sweep": sweep,
                "reason": failure.reason,
                "message": failure.message,
                "sqlstate": failure.sqlstate,
                "failed_at": moment,
            }
        )
    if not rows:
        return
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    made = insert(FAILURE)
    again = {
        name: made.excluded[name]
        for name in ("sweep", "reason", "message", "sqlstate", "failed_at")
    }
    connection.execute(
        made.on_conflict_do_update(index_elements=["run_id", "key_digest"], set_=again), rows
    )


def forget_old_failures(connection: sa.Connection, run_id: int, sweep: int) -> None:
    """Drop the rows that failed in a sweep before this one, and didn't in this one."""
    connection.execute(FAILURE.delete().where(FAILURE.c.run_id == run_id, FAILURE.c.sweep < sweep))


def read_failures(connection: sa.Connection, run_id: int, limit: int) -> list[RowFailure]:
    """Read the first rows that failed."""
    wanted = sa.select(FAILURE).where(FAILURE.c.run_id == run_id)
    return [
        RowFailure(json.loads(row.key), row.reason, row.message, row.sqlstate)
        for row in connection.execute(wanted.order_by(FAILURE.c.failure_id).limit(limit))
    ]


def failed_keys(
    connection: sa.Connection, run_id: int, after: int, limit: int
) -> list[tuple[int, str]]:
    """Read the keys of rows that failed, page by page.

    Returns:
        For each its place in the list, to go on behind it, and its key as `decode_key` reads it.
    """
    wanted = (
        sa.select(FAILURE.c.failure_id, FAILURE.c.key)
        .where(FAILURE.c.run_id == run_id, FAILURE.c.failure_id > after)
        .order_by(FAILURE.c.failure_id)
        .limit(limit)
    )
    return [
        (int(place), json.dumps(list(json.loads(key).values())))
        for place, key in connection.execute(wanted)
    ]
