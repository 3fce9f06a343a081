"""What the conformance tests share: opening a provider, forking, running threads."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keyhinge import KeyManager

PROVIDER = "provider-under-test"


@contextmanager
def opened(
    provider: object, settings: Mapping[str, Any], other_settings: Mapping[str, Any]
) -> Iterator[KeyManager]:
    """Open three sections: `one` and `twin` with the same settings, `stranger` with other ones."""
    block = {
        "provider": "one",
        "one": {"type": PROVIDER, **settings},
        "twin": {"type": PROVIDER, **settings},
        "stranger": {"type": PROVIDER, **other_settings},
    }
    keys = KeyManager.open({"keyManagement": block}, providers={PROVIDER: provider}, environ={})
    with keys:
        yield keys


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


def in_fork(work: Callable[[], bytes]) -> bytes:
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
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def reachable_text(error: BaseException) -> str:
    """Give everything that an error shows or refers to, as text, to search for secrets."""
    parts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    parts += map(reachable_text, filter(None, (error.__cause__, error.__context__)))
    return "\n".join(parts)
