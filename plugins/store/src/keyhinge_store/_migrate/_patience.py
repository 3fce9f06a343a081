"""Trying again, with growing pauses and for a bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from keyhinge_store._errors import DatabaseUnavailableError
from keyhinge_store._errors_sql import is_disconnect, sqlstate_of

__all__ = ["Patience", "Wait", "at_the_start", "is_busy", "is_passing", "patiently"]

T = TypeVar("T")
Wait = Callable[[float], bool]
"""Waits so many seconds; False if the run was asked to stop meanwhile."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_AT_THE_START = 2.0
# The server is shutting down or starting up, or has no connection to spare: over soon, perhaps.
_PASSING = ("57P", "08", "53300")
# Somebody else's doing, and over soon: locks, statement time-outs, deadlocks, serialization.
_BUSY = ("55P03", "57014", "40001", "40P01")


class Patience:
    """How long something is tried again.

    Args:
        seconds: For how long in all.
        wait: Waits.
    """

    def __init__(self, seconds: float, wait: Wait) -> None:
        self._left = seconds
        self._wait = wait
        self._pause = _FIRST_PAUSE

    def again(self) -> bool:
        """Wait a little; False if there is no time left, or the run was asked to stop."""
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        # Not in step with others that wait for the same service; nothing here is a secret.
        seconds = self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        self._left -= seconds
        return self._left > 0 and self._wait(seconds)


def patiently(call: Callable[[], T], patience: Patience) -> T:
    """Ask the database, again if the connection is lost or the server is away or busy.

    Only for what may be repeated: a lost connection doesn't tell whether a commit happened.

    Raises:
        SQLAlchemyError: It still fails, or it isn't that kind of error.
    """
    while True:
        try:
            return call()
        except sa.exc.DBAPIError as error:
            if not (is_passing(error) or is_busy(error)) or not patience.again():
                raise


def at_the_start(call: Callable[[], T], seconds: float) -> T:
    """Look into the database before anything has begun: again for a moment only.

    A connection that was cut is worth another try; where the server isn't there, somebody may have
    mistyped its name and waits for an answer.

    Raises:
        StoreError: It still fails.
    """

    def wait(pause: float) -> bool:
        time.sleep(pause)
        return True

    patience = Patience(min(seconds, _AT_THE_START), wait)
    while True:
        try:
            return call()
        except DatabaseUnavailableError:
            if not patience.again():
                raise


def is_passing(error: sa.exc.DBAPIError) -> bool:
    """Tell whether the connection is the trouble, not the statement."""
    state = sqlstate_of(error)
    if is_disconnect(error) or state.startswith(_PASSING):
        return True
    # While connecting there is no SQLSTATE yet; SQLite never has one, and isn't away.
    name = type(error.orig).__module__
    return not state and isinstance(error, sa.exc.OperationalError) and "sqlite" not in name


def is_busy(error: sa.exc.DBAPIError) -> bool:
    """Tell whether somebody else held what was needed, so that nothing was done."""
    state = sqlstate_of(error)
    if state:
        return state in _BUSY
    text = str(error.orig)
    return "locked" in text or "busy" in text
