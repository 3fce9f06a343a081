"""Several batches under way at once: some are converted while another one is written.

They are written in the order in which they were read, one after the other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Flow"]

T = TypeVar("T")
_WAITING, _NOTHING = 3, 0.001
_Task = tuple[Callable[[], None], "Future[None]"]


class _Crew:
    """Threads that never keep a program from ending, unlike those of the standard library."""

    def __init__(self, name: str, size: int) -> None:
        self._size = size
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._tasks.put((work, future))
        return future

    def dismiss(self) -> None:
        for _ in range(self._size):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(None)
            del task, work, future  # they hold rows, and the next task may be long in coming


class Flow(Generic[T]):
    """Hands batches from one to the other.

    Args:
        convert: Is called for several batches at the same time.
        passed: Is called for each batch in order, in the caller's thread, when it is converted.
        write: Is called for each batch in order.
        converting: How many batches are converted at once. They are where most of the time is
            spent waiting; otherwise it is done in the caller's thread, which is faster.
        threaded: Whether to write in another thread, so that reading and converting go on.
    """

    def __init__(
        self,
        convert: Callable[[T], None],
        passed: Callable[[T], None],
        write: Callable[[T], None],
        *,
        converting: int,
        threaded: bool,
    ) -> None:
        self._convert = convert
        self._passed = passed
        self._write = write
        self._converting = converting
        self._converters: _Crew | None = None
        self._seen = 0
        self._writer = _Crew("keyhinge-write", 1) if threaded else None
        self._queue: deque[tuple[T, Future[None]]] = deque()
        self._under_way: Future[None] | None = None

    def submit(self, batch: T) -> None:
        """Take a batch, when there is room.

        Raises:
            Exception: What converting or writing raised, of this batch or of one before it.
        """
        if self._converters is None:
            self._convert_here(batch)
            self._hand_over(batch)
            return
        self._queue.append((batch, self._converters.submit(lambda: self._convert(batch))))
        while len(self._queue) >= self._converting:
            self._next()

    def drain(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: As for `submit`.
        """
        while self._queue:
            self._next()
        self._finish()

    def stop(self) -> None:
        """Finish what is being written, and leave what isn't as it was.

        Raises:
            Exception: What writing raised.
        """
        self._forget()
        self._finish()

    def _forget(self) -> None:
        for _, future in self._queue:
            future.cancel()
        self._queue.clear()

    def _convert_here(self, batch: T) -> None:
        """Convert a batch, and look whether it was work or waiting."""
        wall, worked = time.monotonic(), time.thread_time()
        self._convert(batch)
        wall, worked = time.monotonic() - wall, time.thread_time() - worked
        self._seen += wall > _NOTHING
        # Not the first one: it logs in, opens connections, reads files.
        if self._seen == 2 and self._converting > 1 and wall > _WAITING * worked:
            self._converters = _Crew("keyhinge-convert", self._converting)

    def _next(self) -> None:
        batch, future = self._queue[0]
        future.result()
        self._queue.popleft()
        self._hand_over(batch)

    def _hand_over(self, batch: T) -> None:
        self._finish()
        if self._writer is None:
            self._write(batch)
        else:
            self._under_way = self._writer.submit(lambda: self._write(batch))
        self._passed(batch)

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
        self._forget()
        for crew in (self._converters, self._writer):
            if crew is not None:
                crew.dismiss()
        # What is being written ends, unless the program is to end at once. If something was
        # raised already, that goes on; a batch that fails besides is still as it was.
        if error is None:
            self._finish()
        elif isinstance(error, Exception) and self._under_way is not None:
            self._under_way.exception()
