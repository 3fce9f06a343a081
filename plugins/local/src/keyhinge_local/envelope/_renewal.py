"""One thread in the background, which is there only while it has something to do."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Renewal"]

log = logging.getLogger("keyhinge.envelope")


class Renewal:
    """Does one piece of work after the other, off the callers' way.

    Its thread is a daemon: it never keeps a process from ending.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget what is waiting; a forked child does, which has no such thread."""
        self._lock = threading.RLock()  # as in `KeyCache`
        self._waiting: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Have something done soon."""
        with self._lock:
            self._waiting.append(work)
            # Dead without having said so: what a client library raises isn't always an Exception.
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="keyhinge-envelope", daemon=True)
                # No thread can be had, as at the end of a program: nothing is lost, the caller
                # who finds the key too old renews it.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def close(self) -> None:
        """Forget what is waiting. What is under way ends by itself."""
        with self._lock:
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                work = self._waiting.popleft()
            try:
                work()
            except Exception as failure:  # noqa: BLE001 - the next piece of work must not suffer
                log.error(  # noqa: TRY400 - a traceback might show keys
                    "renewing a data key failed: %s",
                    type(failure).__name__,
                    extra={"event": "keyhinge.renewal_failed"},
                )
