"""What the conformance tests share: forking, running threads, forging values."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keyhinge import EncryptedValue

__all__ = ["in_fork", "in_threads", "reachable_text", "recorded", "with_changes"]


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run `work` in threads that begin together; give what they raised."""
    barrier = threading.Barrier(count)
    raised: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            work(number)
        except BaseException as failure:  # noqa: BLE001 - the test looks at all of them
            raised.append(failure)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    if any(thread.is_alive() for thread in threads):
        raised.append(TimeoutError("a thread didn't end within two minutes"))
    return raised


def in_fork(work: Callable[[], bytes], timeout: float = 60) -> bytes:
    """Run `work` in a forked child; give what it returned, or the name of what it raised."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking while threads run: that this works is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as failure:  # noqa: BLE001 - reported to the parent
            answer = b"raised " + type(failure).__name__.encode()
        os.write(writer, answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        # A lock that a thread of the parent held is held for ever in the child.
        ready, _, _ = select.select([pipe], [], [], timeout)
        answer = pipe.read() if ready else b"raised TimeoutError"
    if not ready:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer


def reachable_text(error: BaseException) -> str:
    """Give everything that an error shows or refers to, as text, to search for secrets."""
    parts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    parts += map(reachable_text, filter(None, (error.__cause__, error.__context__)))
    return "\n".join(parts)


def with_changes(value: EncryptedValue, **changes: Any) -> EncryptedValue:
    """Give a value with other parts: what somebody could plant in a database."""
    parts = {
        "section": value.section,
        "key_id": value.key_id,
        "version": value.version,
        "ciphertext": value.ciphertext,
    }
    return EncryptedValue(**{**parts, **changes})


class _Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {record.exc_info or ''} {vars(record)}"
        self.records.append((record.name, text))


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """Collect all log records, down to DEBUG: the logger's name, and all of the record as text."""
    root, recorder = logging.getLogger(), _Recorder()
    level = root.level
    root.addHandler(recorder)
    root.setLevel(logging.DEBUG)
    try:
        yield recorder.records
    finally:
        root.setLevel(level)
        root.removeHandler(recorder)
