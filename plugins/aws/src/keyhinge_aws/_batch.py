"""Batches: KMS has no call for them, so a few threads share the items."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from keyhinge import OperationError
from keyhinge_aws._errors import is_whole, translate

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")

WORKERS = 8
"""How many items are under way at once; beyond that, KMS's own quota is what limits."""


def run(items: Sequence[I], one: Callable[[I], T | OperationError]) -> list[T | OperationError]:
    """Do the same for each item, in the calling thread and up to seven others.

    The threads live as long as the batch: there is nothing to close, and nothing to lose in a
    fork. After an error that concerns the service and not the item, what wasn't begun fails with
    the same error at once, so that an outage takes as long as one call and not as one for each.

    Args:
        items: The items.
        one: Gives a result or an error for one item; doesn't raise.

    Returns:
        A result or an error for each item, in their order.
    """
    batch = _Batch(items, one)
    threads: list[threading.Thread] = []
    # The first item alone: in an outage, it is the only one that waits.
    batch.step()
    for _ in range(min(WORKERS, len(items) - 1) - 1):
        thread = threading.Thread(target=batch.work, name="keyhinge-aws", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had: those that there are do the work
            break
        threads.append(thread)
    batch.work()
    for thread in threads:
        thread.join()
    return batch.finished()


class _Batch:
    """The state that the threads of one batch share."""

    def __init__(self, items: Sequence[I], one: Callable[[I], T | OperationError]) -> None:
        self._items = items
        self._one = one
        self._next = iter(range(len(items)))  # a range's iterator gives each number once
        self._lock = threading.Lock()
        self._results: dict[int, object] = {}
        self._broken: OperationError | None = None

    def work(self) -> None:
        """Do items until there are none left."""
        while self.step():
            pass

    def step(self) -> bool:
        """Do the next item; tell whether there was one."""
        with self._lock:
            index = next(self._next, None)
        if index is None:
            return False
        result: object = self._broken and _again(self._broken)
        if result is None:
            try:
                result = self._one(self._items[index])
            except Exception as failure:  # noqa: BLE001 - one item's slip isn't the others'
                result = translate(failure, "kms")
            if isinstance(result, OperationError) and is_whole(result):
                self._broken = result
        self._results[index] = result
        return True

    def finished(self) -> list[T | OperationError]:
        """Give the results in order."""
        return [self._results[index] for index in range(len(self._items))]  # type: ignore[misc]


def _again(error: OperationError) -> OperationError:
    return copy.copy(error)
