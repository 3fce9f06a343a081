"""Data keys in memory: bounded in number and age, each got once at a time, renewed early."""

from __future__ import annotations

import heapq
import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from keyhinge import ClosedError, OperationError
from keyhinge_local.envelope._flights import Flights
from keyhinge_local.envelope._renewal import Renewal

__all__ = ["Keeping", "KeyCache"]

log = logging.getLogger("keyhinge.envelope")

# Renewed in the last quarter of its age, not all at the same moment.
_SOON = (0.75, 0.9)
# After a failure, again when this part of what is left has gone by.
_AGAIN = 0.25
_SHORTEST_PAUSE = 1.0
# When there is no room, the part that wasn't used for longest goes.
_EVICTED = 8


class Entry(Protocol):
    """A key in memory; the times are the clock's seconds.

    Attributes:
        asked_at: When the key service was asked for it.
        soon_at: From when on it should be renewed.
        seen_at: When it was used last.
    """

    asked_at: float
    soon_at: float
    seen_at: float


R = TypeVar("R")
E = TypeVar("E", bound=Entry)


class Keeping(NamedTuple):
    """How keys are kept.

    Attributes:
        max_keys: How many are kept.
        max_age: How many seconds after the key service was asked a key is still used.
        renewal: Does work in the background.
        clock: Monotonic seconds.
    """

    max_keys: int
    max_age: float
    renewal: Renewal
    clock: Callable[[], float]


class KeyCache(Generic[R, E]):
    """Keys by what they are found by.

    Args:
        get: Gets several keys from the key service: a key or an error for each request.
        keeping: How many are kept, and for how long.

    Attributes:
        entries: The keys; read by the hot path, which compares `soon_at` with the clock.
    """

    def __init__(
        self,
        get: Callable[[Mapping[bytes, R]], Mapping[bytes, E | OperationError]],
        keeping: Keeping,
    ) -> None:
        self.entries: dict[bytes, E] = {}
        self._get = get
        self._size = keeping.max_keys
        self._max_age = keeping.max_age
        self._renewal = keeping.renewal
        self._clock = keeping.clock
        self._closed = False
        self.start_anew()

    def start_anew(self) -> None:
        """Forget all keys, and that anybody is at work; a forked child does."""
        # Whoever holds it may be interrupted by the garbage collector, and that by `close`.
        self._lock = threading.RLock()
        self._renewing: set[bytes] = set()
        self._flights = Flights(self._fetch, self.fresh)
        self.entries.clear()

    def close(self) -> None:
        """Forget all keys, as far as Python can: it can't wipe memory. No more come in."""
        with self._lock:
            self._closed = True
            self.entries.clear()

    def fresh(self, lookup: bytes) -> E | None:
        """Give a key that isn't too old; None where there is none."""
        entry = self.entries.get(lookup)
        if entry is None or self._clock() >= entry.asked_at + self._max_age:
            return None
        return entry

    def obtain(self, wanted: Mapping[bytes, R]) -> dict[bytes, E | OperationError]:
        """Give the keys for some requests, those at hand and others from the key service.

        Returns:
            A key or an error for each. The keys can be used even where there was no room for all
            of them.

        Raises:
            ClosedError: It was closed.
        """
        return self._flights.run(wanted)

    def is_due(self, entry: E) -> bool:
        """Tell whether a key should be renewed."""
        return self._clock() >= entry.soon_at

    def put(self, entries: Mapping[bytes, E]) -> None:
        """Keep keys that were got in another way.

        Raises:
            ClosedError: It was closed.
        """
        share = random.uniform(*_SOON)  # noqa: S311 - spreads load, protects nothing
        with self._lock:
            if self._closed:
                raise ClosedError("the section was closed meanwhile")
            for lookup, entry in entries.items():
                entry.soon_at = entry.asked_at + share * self._max_age
                self.entries.pop(lookup, None)
                self._make_room()
                self.entries[lookup] = entry

    def renew(self, lookup: bytes, request: R) -> None:
        """Have a key renewed in the background, unless that is under way.

        It stays in use meanwhile, and after a failure, but never for longer than `max_age`.
        """
        with self._lock:
            if lookup in self._renewing or self._closed:
                return
            self._renewing.add(lookup)
        self._renewal.submit(lambda: self._renew(lookup, request))

    def drop(self, lookup: bytes, entry: E) -> None:
        """Forget a key that can't be used any more."""
        with self._lock:
            if self.entries.get(lookup) is entry:
                del self.entries[lookup]

    def drop_where(self, unfit: Callable[[E], bool]) -> None:
        """Forget the keys of which something holds."""
        with self._lock:
            for lookup in [key for key, entry in self.entries.items() if unfit(entry)]:
                del self.entries[lookup]

    def _renew(self, lookup: bytes, request: R) -> None:
        try:
            outcome = self._flights.run({lookup: request}, anew=True)[lookup]
            if isinstance(outcome, OperationError):
                self._postpone(lookup, outcome)
        except ClosedError:
            return  # nobody waits for it any more
        finally:
            with self._lock:
                self._renewing.discard(lookup)

    def _postpone(self, lookup: bytes, failure: OperationError) -> None:
        entry = self.entries.get(lookup)
        if entry is None:
            return
        now = self._clock()
        end = entry.asked_at + self._max_age
        left = max(0.0, end - now)
        # The hot path looks at nothing else: it must not be later than the end.
        entry.soon_at = min(end, now + max(_SHORTEST_PAUSE, left * _AGAIN))
        log.warning(
            "a data key couldn't be renewed (%s); it is used for another %d s at most",
            type(failure).__name__,
            left,
            extra={"event": "keyhinge.data_key_not_renewed", "seconds_left": left},
        )

    def _fetch(self, requests: Mapping[bytes, R]) -> Mapping[bytes, E | OperationError]:
        if self._closed:
            raise ClosedError("the section is closed")
        outcomes = self._get(requests)
        self.put({key: got for key, got in outcomes.items() if not isinstance(got, OperationError)})
        return outcomes

    def _make_room(self) -> None:
        if len(self.entries) < self._size:
            return
        count = max(1, self._size // _EVICTED)
        seen = self.entries.items()
        for lookup, _ in heapq.nsmallest(count, seen, key=lambda item: item[1].seen_at):
            del self.entries[lookup]
