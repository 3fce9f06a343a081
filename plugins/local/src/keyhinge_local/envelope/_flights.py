"""Work that several threads want done at the same time is done once, for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLong
from copy import copy
from time import monotonic
from typing import Generic, TypeVar

from keyhinge import OperationError, UnavailableError

__all__ = ["Flights"]

R = TypeVar("R")
E = TypeVar("E")

# Providers bound their calls; this is for one that doesn't. After so long another thread takes its
# place.
WAIT_SECONDS = 120.0


class Flights(Generic[R, E]):
    """Gets things by key, each one once at a time, however many threads want it.

    Args:
        get: Gets several things in one go: a result or an error for each.
        landed: Gives what is there already, by key.
    """

    def __init__(
        self,
        get: Callable[[Mapping[bytes, R]], Mapping[bytes, E | OperationError]],
        landed: Callable[[bytes], E | None],
    ) -> None:
        self._get = get
        self._landed = landed
        self._lock = threading.Lock()
        self._under_way: dict[bytes, Future[E | OperationError | None]] = {}

    def run(
        self, wanted: Mapping[bytes, R], *, anew: bool = False
    ) -> dict[bytes, E | OperationError]:
        """Give a result or an error for each key, got here or by a thread that was at it.

        Args:
            wanted: What to ask for, by key.
            anew: Don't take what is there already.
        """
        results: dict[bytes, E | OperationError] = {}
        while missing := {key: wanted[key] for key in wanted if key not in results}:
            others = self._fly(missing, results, anew=anew)
            # Only now: whoever waits has nothing left that others could be waiting for.
            until = monotonic() + WAIT_SECONDS
            for key, future in others.items():
                outcome = self._wait(key, future, until)
                if outcome is not None:  # else that thread was interrupted: another round
                    results[key] = outcome
        return results

    def _fly(
        self, missing: Mapping[bytes, R], results: dict[bytes, E | OperationError], *, anew: bool
    ) -> dict[bytes, Future[E | OperationError | None]]:
        """Get what nobody is at; give what others are at."""
        mine: dict[bytes, Future[E | OperationError | None]] = {}
        outcomes: Mapping[bytes, E | OperationError] = {}
        try:
            others = self._claim(missing, mine, results, anew=anew)
            if mine:
                outcomes = self._get(_some(missing, mine))
                results.update(outcomes)
        finally:
            self._land(mine, outcomes)
        return others

    def _claim(
        self,
        missing: Mapping[bytes, R],
        mine: dict[bytes, Future[E | OperationError | None]],
        results: dict[bytes, E | OperationError],
        *,
        anew: bool,
    ) -> dict[bytes, Future[E | OperationError | None]]:
        others: dict[bytes, Future[E | OperationError | None]] = {}
        with self._lock:
            for key in missing:
                there = None if anew else self._landed(key)
                if there is not None:
                    results[key] = there
                elif key in self._under_way:
                    others[key] = self._under_way[key]
                else:
                    # Ours first: whoever is interrupted must find all that there is to clean up.
                    mine[key] = self._under_way[key] = Future()
        return others

    def _land(
        self,
        mine: Mapping[bytes, Future[E | OperationError | None]],
        outcomes: Mapping[bytes, E | OperationError],
    ) -> None:
        self._forget(mine)
        for key, future in mine.items():
            future.set_result(outcomes.get(key))

    def _forget(self, futures: Mapping[bytes, Future[E | OperationError | None]]) -> None:
        """Let others get some keys, unless one of them is at it already."""
        with self._lock:
            for key, future in futures.items():
                if self._under_way.get(key) is future:
                    del self._under_way[key]

    def _wait(
        self, key: bytes, future: Future[E | OperationError | None], until: float
    ) -> E | OperationError | None:
        try:
            outcome = future.result(timeout=max(0.0, until - monotonic()))
        except WaitedTooLong:
            self._forget({key: future})
            msg = "another thread's call to the key service doesn't come back"
            return UnavailableError(msg)
        # Another one for each thread: an exception that is raised in several collects tracebacks.
        return copy(outcome) if isinstance(outcome, OperationError) else outcome


def _some(requests: Mapping[bytes, R], keys: Iterable[bytes]) -> dict[bytes, R]:
    return {key: requests[key] for key in keys}
