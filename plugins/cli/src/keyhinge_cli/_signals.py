"""What an operator's signals do: end a command in order, or ask a long one to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from keyhinge_cli._exit import INTERRUPTED, TERMINATED

__all__ = ["Stop", "Terminated", "stoppable", "terminable"]


class Terminated(BaseException):
    """SIGTERM arrived."""


def _terminated(*_: object) -> None:
    raise Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, so that locks and temporary files are cleaned up."""
    with _handling({signal.SIGTERM: _terminated}):
        yield


class Stop:
    """Whether somebody asked to stop, and what the exit code then is."""

    def __init__(self, asked: Callable[[], None]) -> None:
        self.code: int | None = None
        self.event = threading.Event()
        self._asked = asked

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self.code is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal: the first one asks, the second one ends the command at once."""
        if self.code is not None:
            if number == signal.SIGTERM:
                raise Terminated
            raise KeyboardInterrupt
        self.code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
        self.event.set()
        self._asked()


@contextmanager
def stoppable(asked: Callable[[], None]) -> Iterator[Stop]:
    """Let the first SIGINT or SIGTERM only ask to stop.

    Args:
        asked: Called at the first signal, to say what happens now.
    """
    stop = Stop(asked)
    with _handling({signal.SIGINT: stop.handle, signal.SIGTERM: stop.handle}):
        yield stop


@contextmanager
def _handling(
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any]],
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets handlers in the main thread only
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
