"""Trying again: with jitter, for as long as the settings allow in all, and only where it helps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from keyhinge_vault._errors import ServiceError

__all__ = ["Patience"]

T = TypeVar("T")

_FIRST = 0.1
_LONGEST = 3.0
_LONGEST_ASKED = 10.0
_SHORTEST_ATTEMPT = 0.5


class Patience:
    """One bound in time for everything that a call does, however many requests that is.

    Once it has run out, further requests are made once and not tried again; once an attempt was
    the last one of an outage, the remaining requests of the same call fail at once with it.

    Args:
        seconds: How long to go on trying; 0 tries once.
        clock: Monotonic seconds.
        sleep: Waits; True from it means "stop trying", as `Event.wait` of a closing provider gives.
        jitter: A number from 0 to 1.
    """

    __slots__ = ("_broken", "_clock", "_jitter", "_sleep", "_until")

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._until = clock() + seconds
        self._broken: ServiceError | None = None

    def call(self, attempt: Callable[[float | None], T]) -> T:
        """Call something until it succeeds, fails in a way that stays, or patience runs out.

        Args:
            attempt: What to do. It is given the seconds that it may take: None the first time
                (as long as any request), later what is left.

        Returns:
            What it returned.

        Raises:
            ServiceError: Its last failure.
        """
        error = self._broken
        left: float | None = None
        tries = 0
        while error is None:
            try:
                return attempt(left)
            except ServiceError as failure:
                error = failure
            tries += 1
            if not error.retry:
                break
            left = self._wait(error, tries)
            if left is None:
                self._broken = error
            else:
                error = None
        try:
            raise error.with_traceback(None)
        finally:
            del error

    def _wait(self, error: ServiceError, tries: int) -> float | None:
        """Wait before the next attempt; give the seconds left for it, None if there are none."""
        pause: float = self._jitter() * min(_LONGEST, _FIRST * 2.0 ** min(tries, 10))
        if error.retry_after is not None:
            pause += min(error.retry_after, _LONGEST_ASKED)
        left = self._until - self._clock() - pause
        if left < _SHORTEST_ATTEMPT or self._sleep(pause) is True:
            return None
        return left
