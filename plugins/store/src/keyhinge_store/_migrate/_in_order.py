"""Writing one batch while the next one is being made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

from keyhinge_store._migrate._convert import Change

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["InOrder"]


class InOrder:
    """Hands batches over one after the other; at most one is under way.

    Args:
        apply: Writes a batch.
        threaded: Whether to do it in another thread, or at once.
    """

    def __init__(self, apply: Callable[[Sequence[Change]], None], *, threaded: bool) -> None:
        self._apply = apply
        self._pool = ThreadPoolExecutor(1, "keyhinge-write") if threaded else None
        self._under_way: Future[None] | None = None

    def submit(self, changes: Sequence[Change]) -> None:
        """Begin to write a batch, when the one before it is done.

        Raises:
            Exception: What writing raised, now or in the batch before.
        """
        self._finish()
        if self._pool is None:
            self._apply(changes)
        else:
            self._under_way = self._pool.submit(self._apply, changes)

    def _finish(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What is under way ends in any case. If something was raised already, that goes on; the
        # rows of a batch that failed besides are still as they were.
        try:
            with contextlib.suppress(Exception) if error else contextlib.nullcontext():
                self._finish()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
