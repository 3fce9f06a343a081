"""One does the work; whoever waited for it takes what came of it, a failure too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from keyhinge_vault._errors import ServiceError

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Lets one thread at a time do something that all of them want done once.

    In an outage the first one spends its patience; the others, who waited for it, don't begin
    anew one after the other.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failure: tuple[float, ServiceError] | None = None

    def wait(self, seconds: float) -> None:
        """Wait until nobody is at work, but not for ever."""
        if self._lock.acquire(timeout=seconds):
            self._lock.release()

    def run(self, done: Callable[[], T | None], work: Callable[[], T], seconds: float) -> T:
        """Do the work, or take what another thread made of it.

        Args:
            done: Gives what is there already; None where it has to be done.
            work: Does it.
            seconds: How long to wait for another thread that is at it.

        Raises:
            ServiceError: It failed, here or while this thread waited; "timeout" if that took too
                long.
        """
        arrived = self._clock()
        if not self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            raise ServiceError("timeout")
        try:
            there = done()
            if there is not None:
                return there
            failure = self._failure
            if failure is not None and failure[0] >= arrived:
                raise failure[1].copy()
            return self._run(work)
        finally:
            self._lock.release()

    def _run(self, work: Callable[[], T]) -> T:
        error = None
        try:
            made = work()
        except ServiceError as failed:
            error = failed.copy()
        if error is not None:
            self._failure = (self._clock(), error.copy())
            raise error
        self._failure = None
        return made
