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

    Only trouble counts: attempts that failed, and the pauses behind them. Once an outage used it
    up, the remaining requests of the same call fail at once with what the last one failed with.

    Calls may stand inside of each other, as where a request is tried again together with what has
    to be known before it. The time of the inner ones isn't counted twice.

    Args:
        seconds: How long to go on trying in all; 0 tries once.
        clock: Monotonic seconds.
        sleep: Waits; True from it means "stop trying", as `Event.wait` of a closing provider gives.
        jitter: A number from 0 to 1.
    """

    __slots__ = ("_broken", "_clock", "_jitter", "_left", "_sleep")

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._left = seconds
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._broken: ServiceError | None = None

    @property
    def left(self) -> float:
        """How many seconds of trouble are left; never less than none."""
        return max(0.0, self._left)

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
        seconds: float | None = None
        tries = 0
        while error is None:
            started, left = self._clock(), self._left
            try:
                return attempt(seconds)
            except ServiceError as failure:
                error = failure
            if not error.retry or self._broken is not None:
                break
            tries += 1
            self._left = min(self._left, left - (self._clock() - started))
            if self._wait(error, tries):
                seconds, error = self._left, None
            else:
                self._broken = error.copy()  # without the frames, which hold request bodies
        try:
            raise error.with_traceback(None)
        finally:
            # The traceback of an error keeps this frame.
            del error, attempt

    def _wait(self, error: ServiceError, tries: int) -> bool:
        """Wait before the next attempt; tell whether there is to be one."""
        # Full jitter, so that many callers don't come back together.
        pause = self._jitter() * min(_LONGEST, _FIRST * 2.0 ** min(tries, 10))
        if error.retry_after is not None:
            pause += min(error.retry_after, _LONGEST_ASKED)
        if self._left - pause < _SHORTEST_ATTEMPT:
            return False
        self._left -= pause
        return self._sleep(pause) is not True
