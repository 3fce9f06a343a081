"""What an `envelope` section counts."""

from __future__ import annotations

import itertools
from collections import deque

__all__ = ["Counter", "Counters"]


class Counter:
    """Counts up by one, from any thread, without a lock.

    Attributes:
        tick: Counts one; gives the number before it.
    """

    __slots__ = ("_count", "tick")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.tick = self._count.__next__

    def add(self, number: int) -> None:
        """Count several."""
        deque(itertools.islice(self._count, number), maxlen=0)

    @property
    def value(self) -> int:
        """The number so far."""
        # The one way to read it that doesn't count: it says "count(5)".
        return int(repr(self._count)[6:-1])


class Counters:
    """What happened since a section was opened in this process.

    Attributes:
        hits: Values that found their data key at hand. A batch's first value under a new data key
            is a miss, the others are hits.
        misses: Times that a data key had to be waited for.
        wraps: Data keys that were sent to the key service to be wrapped or wrapped again.
        unwraps: Wrapped keys that were sent to the key service to be opened.
    """

    __slots__ = ("hits", "misses", "unwraps", "wraps")

    def __init__(self) -> None:
        self.hits = Counter()
        self.misses = Counter()
        self.wraps = Counter()
        self.unwraps = Counter()

    def as_dict(self) -> dict[str, int]:
        """Give the numbers by their names."""
        return {
            "hits": self.hits.value,
            "misses": self.misses.value,
            "wraps": self.wraps.value,
            "unwraps": self.unwraps.value,
        }
