"""How new values are made, whatever they are of."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from keyhinge_store._migrate._report import OnProgress

__all__ = ["Options", "Waiter"]


@attrs.frozen
class Options:
    """How new values are made."""

    batch_size: int
    patience: float
    max_errors: int | None
    on_progress: OnProgress | None
    stop: Callable[[], bool]


class Waiter:
    """Waits, and knows whether somebody asked to stop.

    Args:
        stop: Tells that.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self.interrupted = False

    def __call__(self, seconds: float) -> bool:
        """Wait, in small steps; False if there was such a request."""
        end = time.monotonic() + seconds
        while True:
            if self._stop():
                self.interrupted = True
                return False
            rest = end - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, 0.1))
