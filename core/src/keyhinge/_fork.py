"""What must happen in a forked child: nothing that a parent opened may be used there."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that has to start anew in a child."""

    def after_fork(self) -> None:
        """Drop what belongs to the parent; runs in the child before anything else does."""


_living: weakref.WeakSet[Forked] = weakref.WeakSet()


def start_anew_after_fork(thing: Forked) -> None:
    """Have a thing's `after_fork` called in every child forked while it lives.

    For what must never be used by two processes, such as a data key. Core configures every
    section anew in a child by itself.

    Args:
        thing: Something that weak references can refer to, with a method `after_fork()`.
    """
    _living.add(thing)


def _in_child() -> None:
    failures: list[Exception] = []
    for thing in list(_living):
        try:
            thing.after_fork()
        except Exception as failure:  # noqa: BLE001 - the others must start anew all the same
            failures.append(failure)
    if failures:
        raise failures[0]  # Python shows it, and goes on


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
