"""One Transit key: its paths, what was found out about it, and for how long that is believed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from keyhinge_vault._names import api_path
from keyhinge_vault._single import SingleFlight
from keyhinge_vault._wire import Mode

__all__ = ["EXISTS_SECONDS", "PROVEN_SECONDS", "Key"]

# A derived key that is deleted and made anew without `derived` ignores every context, and says
# nothing. So what was proven of a derived key is believed for so long, and no longer. The same
# holds for what the token may do.
PROVEN_SECONDS = 300.0
# Where the token may make keys, a deleted one would come back with the next encryption: before
# each request that encrypts it is looked for, but not more often than this. So what remains is a
# key that is deleted less than so many seconds after the last look, or while the request is on its
# way. No request to Transit says "only if it is there"; a policy with `update` alone does.
EXISTS_SECONDS = 5.0


class Key:
    """One key: its paths, and what was found out about it.

    Attributes:
        name: Its name.
        mode: How it binds a context; None where that isn't known (any more).
        highest: The highest version that encrypting gave.
        generation: Counts in this process how often all that was known of it was forgotten.
        may_create: Whether encrypting could make it; None where that isn't known (any more).
        single: Lets one thread find out, however many wait for it.
    """

    def __init__(self, name: str, mount: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.encrypt = api_path(mount, "encrypt", name)
        self.decrypt = api_path(mount, "decrypt", name)
        self.rewrap = api_path(mount, "rewrap", name)
        self.read = api_path(mount, "keys", name)
        self._clock = clock
        self._start_anew()

    def _start_anew(self) -> None:
        self.highest = 0
        self.generation = 0
        self.single: SingleFlight[Mode] = SingleFlight(self._clock)
        self._lock = threading.Lock()
        self.mode: Mode | None = None
        self._proven_until = 0.0
        self._exists_until = 0.0
        self._may_create: bool | None = None
        self._asked_until = 0.0
        # Last: whoever sees it finds nothing of the parent's any more.
        self._pid = os.getpid()

    def after_fork(self) -> None:
        """Believe nothing that a parent found out: one of its threads may have been at it."""
        if self._pid != os.getpid():
            self._start_anew()

    @property
    def proven(self) -> Mode | None:
        """How it binds a context, as long as the proof may be believed."""
        mode = self.mode
        return None if mode == "context" and self._clock() >= self._proven_until else mode

    def usable(self, *, sealing: bool) -> Mode | None:
        """Give its mode, if nothing has to be found out before it is used."""
        if sealing and self._clock() >= self._exists_until:
            return None
        return self.proven

    @property
    def may_create(self) -> bool | None:
        """Whether encrypting could make it; None where that isn't known."""
        return self._may_create if self._clock() < self._asked_until else None

    def learned_rights(self, *, may_create: bool) -> None:
        """Note whether encrypting could make it."""
        self._may_create = may_create
        self._asked_until = self._clock() + PROVEN_SECONDS

    def learned(self, mode: Mode, generation: int) -> None:
        """Note what was proven, unless it was all forgotten since `generation`."""
        with self._lock:
            if generation == self.generation:
                self.mode = mode
                self._proven_until = self._clock() + PROVEN_SECONDS

    def exists(self) -> None:
        """Note that it was there just now, or that encrypting can't make it."""
        creates = self.may_create is not False
        self._exists_until = self._clock() + (EXISTS_SECONDS if creates else PROVEN_SECONDS)

    def forget(self) -> None:
        """Believe nothing of it any more."""
        self.after_fork()
        with self._lock:
            self._forget()

    def saw(self, version: str) -> bool:
        """Note a version that encrypting gave; False, and all forgotten, if it's a lower one.

        Then the key was made anew, perhaps as another kind. (Or a node that lags behind answered.)
        """
        self.after_fork()
        number = int(version)
        with self._lock:
            lower = number < self.highest
            if lower:
                self._forget()
            else:
                self.highest = number
        return not lower

    def _forget(self) -> None:
        self.generation += 1
        self.highest = 0
        self.mode = None
        self._exists_until = 0.0
