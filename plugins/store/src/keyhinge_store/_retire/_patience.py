"""Taking a table's lock without making applications wait for us."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from keyhinge_store._errors import DatabaseUnavailableError, FenceError
from keyhinge_store._errors_sql import guarded, sqlstate_of
from keyhinge_store._runs._transact import transaction

__all__ = ["patiently"]

T = TypeVar("T")

# Whoever writes to the table queues up behind a lock that is waited for, so we wait briefly.
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 0.8
_PAUSE = 0.3
# Lock not available, deadlock, and what two processes that make the same function get.
_AGAIN = frozenset({"55P03", "40P01", "23505", "XX000"})
_CANCELLED = "57014"
_LIMITS = sa.text(
    "SELECT set_config('lock_timeout', :wait, true), set_config('statement_timeout', :hold, true)"
)


def patiently(
    engine: sa.Engine, work: Callable[[sa.Connection], T], *, patience: float, hold: float
) -> T:
    """Do some work in a transaction that needs a lock on tables; again until it gets it.

    Args:
        engine: The database.
        work: Is given the connection.
        patience: For how many seconds it is tried.
        hold: For how many seconds a statement of it may take, while writers wait.

    Raises:
        FenceError: It took longer than `hold`.
        DatabaseUnavailableError: The lock wasn't free in time.
        DatabaseError: The database failed.
    """
    wait, until = _FIRST_WAIT, time.monotonic() + patience
    while True:
        done, state = guarded(lambda: _attempt(engine, work, wait, hold))  # noqa: B023 - at once
        if not state:
            return done[0]
        if state == _CANCELLED:
            msg = (
                f"looking through the table took longer than {hold:g} s, and applications can't "
                "write meanwhile. Allow more (--hold), or run what --sql prints and ask "
                "can-retire, which makes nobody wait"
            )
            raise FenceError(msg)
        if time.monotonic() >= until:
            msg = "applications use the table all the time, so its lock wasn't free; try again"
            raise DatabaseUnavailableError(msg, sqlstate=state)
        time.sleep(random.uniform(0.3, 1) * _PAUSE)  # noqa: S311 - no secret
        wait = min(2 * wait, _LONGEST_WAIT)


def _attempt(
    engine: sa.Engine, work: Callable[[sa.Connection], T], wait: float, hold: float
) -> tuple[list[T], str]:
    """Try once. Gives what the work gave; or the SQLSTATE for which to try again."""
    try:
        with transaction(engine) as connection:
            if engine.dialect.name == "postgresql":
                limits = {"wait": f"{wait * 1000:.0f}ms", "hold": f"{hold * 1000:.0f}ms"}
                connection.execute(_LIMITS, limits)
            return [work(connection)], ""
    except sa.exc.DBAPIError as error:
        state = sqlstate_of(error)
        if state not in {*_AGAIN, _CANCELLED}:
            raise
    return [], state
