"""Wrong about threads, forks and ends: they share, break, and never come back."""

from __future__ import annotations

import os
import threading
import time

from tests.core.wrong_providers._right import Module, Right, wrong

from keyhinge import ProviderError, UnavailableError, hookimpl

SOON = 0.5  # seconds: for those that never come back


def forever():
    """Wait for something that nobody does."""
    threading.Event().wait()


@wrong("R24", "test_many_threads")
class SharesBetweenThreads(Right):
    """Puts down what it works on where every thread finds it."""

    def bound(self, context):
        self.at_work = context
        time.sleep(0.001)
        return super().bound(self.at_work)


@wrong("R24", "test_many_threads")
class BelongsToOneThread(Right):
    """Has a connection that only the thread that made it may use."""

    owner: int | None = None

    def key(self):
        self.owner = self.owner or threading.get_ident()
        if self.owner != threading.get_ident():
            raise UnavailableError("the connection belongs to another thread")
        return super().key()


CONNECTED: list[int] = []


@wrong("R25", "test_forked_child")
class BreaksAfterFork(Right):
    """Keeps a connection in the module, and its child finds it there."""

    def key(self):
        CONNECTED.append(os.getpid())
        if CONNECTED[0] != os.getpid():
            raise UnavailableError("two processes talk over one connection")
        return super().key()


LOCK = threading.Lock()


@wrong("R25", "test_forked_child", timeout=8 * SOON)
class WaitsForTheParentsLock(Right):
    """Has a lock in the module that a thread of the parent may hold."""

    def key(self):
        if CONNECTED_HERE.setdefault("pid", os.getpid()) != os.getpid():
            forever()
        return super().key()


CONNECTED_HERE: dict[str, int] = {}


@wrong("R26", "test_provider_closes_twice")
class ClosesOnce(Right):
    """Can't be closed again."""

    closed = False

    @hookimpl
    def keyhinge_close(self):
        if self.closed:
            raise ProviderError("it is closed already")
        self.closed = True


@wrong("R26", "test_provider_closes_twice")
class ClosesOnlyAfterUse(Right):
    """Closes what it hasn't got yet."""

    @hookimpl
    def keyhinge_close(self):
        del self.client

    def key(self):
        self.client = object()
        return super().key()


@wrong("R26", "test_close")
class RaisesWhenClosing(Right):
    """Fails at the end."""

    @hookimpl
    def keyhinge_close(self):
        raise ProviderError("it can't let go")


@wrong("R27", "test_hooks_come_back", timeout=SOON)
class BlocksForEver(Right):
    """Has no limit on what it waits for."""

    def seal(self, plaintext, context):
        forever()


@wrong("R27", "test_round_trip", timeout=SOON)
class BlocksWhenDecrypting(Right):
    """Waits for an answer that doesn't come."""

    def open(self, value, context):
        forever()


@wrong("R27", "test_hooks_come_back", timeout=SOON)
class BlocksWhenClosing(Right):
    """Waits for a thread that doesn't end."""

    @hookimpl
    def keyhinge_close(self):
        forever()


class Blocking(Module):
    """Blocks before there is a provider."""

    @hookimpl
    def keyhinge_configure(self, settings, section):
        forever()


wrong("R27", "test_round_trip", module=Blocking(Right), timeout=SOON)(
    type("BlocksWhenConfigured", (), {})
)
