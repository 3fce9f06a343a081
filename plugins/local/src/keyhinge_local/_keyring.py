"""The key set as a running process holds it: loaded at first use, and again when it changes.

At most once a second an operation looks at the file's status, and reads the file if it changed.
So what `rotate` and `activate` do reaches a running process within a second or so of its next
use. A value under a version that isn't known makes it look at once.

Where the changed file can't be used, keys that are loaded stay in force, and the log says so:
an editor's slip must not stop an application. `check` reports it as an error.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from keyhinge import (
    AccessDeniedError,
    ClosedError,
    Failure,
    KeyUnavailableError,
    OperationError,
    Secret,
    UnavailableError,
)
from keyhinge_local._errors import KeyFileError, Kind, Sensitive

if TYPE_CHECKING:
    from keyhinge_local._keyset import KeySet, KeyVersion
    from keyhinge_local._sealing import Sealer

LOOK_SECONDS = 1.0
# File systems stamp times coarsely: a file that changed just now may change again without
# looking different, so its stamp isn't believed until it is this old.
_SETTLED_SECONDS = 2.0

_OPERATION_ERRORS: dict[Kind, type[OperationError]] = {
    "missing": KeyUnavailableError,
    "malformed": KeyUnavailableError,
    "denied": AccessDeniedError,
    "io": UnavailableError,
}

_log = logging.getLogger("keyhinge.local")


class Source(Protocol):
    """Where a key set comes from."""

    where: str
    """What messages call it."""
    look_every: float
    """Seconds between two looks at the stamp."""

    def stamp(self) -> object:
        """Tell the present state of the source from others, cheaply; None where it can't."""

    def load(self) -> tuple[KeySet, object]:
        """Read the key set, and its stamp; a stamp of None is never equal to another."""


class FileSource:
    """A key file."""

    look_every = LOOK_SECONDS

    def __init__(self, path: Path, *, allow_group_read: bool) -> None:
        self.path = path
        self.where = str(path)
        self.allow_group_read = allow_group_read

    def stamp(self) -> object:
        """Give the file's device, inode, size and times."""
        from keyhinge_local import _access

        try:
            return _access.signature(os.stat(self.path))  # noqa: PTH116 - half the time
        except (OSError, ValueError):
            return None  # loading says what is wrong

    def load(self) -> tuple[KeySet, object]:
        """Check and read the file."""
        from keyhinge_local import _access, keyfile

        key_set, status = keyfile.load(self.path, allow_group_read=self.allow_group_read)
        settled = time.time() - status.st_mtime > _SETTLED_SECONDS
        return key_set, _access.signature(status) if settled else None


class TextSource:
    """The content of a key file, given in the configuration."""

    look_every = math.inf

    def __init__(self, text: Secret, where: str) -> None:
        self.text = text
        self.where = where

    def stamp(self) -> object:
        """Give always the same: a configuration doesn't change until it is loaded again."""
        return "configuration"

    def load(self) -> tuple[KeySet, object]:
        """Parse the text."""
        from keyhinge_local._parse import parse

        return parse(self.text.reveal(), self.where), self.stamp()


class Loaded(Sensitive):
    """A key set with the ciphers of its versions; immutable but for ciphers made when needed."""

    __slots__ = ("_sealers", "active", "key_id", "key_set")

    def __init__(self, key_set: KeySet) -> None:
        self.key_set = key_set
        self.key_id = key_set.key_id
        self._sealers: dict[str, Sealer] = {}
        numbers = {version.number: version for version in key_set.versions}
        active = numbers[key_set.active]
        self.active = self._sealers[active.label] = self._make(active)

    def sealer(self, key_id: str, label: str) -> Sealer | None:
        """Give the cipher of exactly this key set and version; None where it isn't here."""
        if key_id != self.key_id:
            return None
        sealer = self._sealers.get(label)
        if sealer is None:
            for version in self.key_set.versions:
                if version.label == label:
                    sealer = self._sealers[label] = self._make(version)
        return sealer

    def _make(self, version: KeyVersion) -> Sealer:
        from keyhinge_local._sealing import Sealer

        return Sealer(self.key_id, version.label, version.key)


class Keyring(Sensitive):
    """Holds the key set of one section; safe between threads.

    Args:
        source: Where the key set comes from. Nothing is read before the first use.
        clock: Seconds that only grow, for tests.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._stamp: object = None
        self._next_look = 0.0
        self._warned = ""
        self._closed = False

    def at_hand(self) -> Loaded | None:
        """Give the key set if that takes no look at the file; None otherwise."""
        return self._loaded if self._clock() < self._next_look else None

    def current(self) -> Loaded:
        """Give the key set, loaded or looked at again if it is time.

        Raises:
            OperationError: There is none: it can't be loaded.
            ClosedError: It was closed.
        """
        loaded = self._loaded
        if loaded is None:
            return self.newer(None)
        if self._clock() < self._next_look or not self._lock.acquire(blocking=False):
            return loaded  # who has keys doesn't wait while another thread looks, at a slow disk
        try:
            return self._look(loaded)
        finally:
            self._lock.release()

    def newer(self, than: Loaded | None) -> Loaded:
        """Look at the file now, and give what is there; for a value that can't be opened.

        Raises:
            OperationError: There is no key set, and none can be loaded.
            ClosedError: It was closed.
        """
        with self._lock:
            return self._look(than)

    def close(self) -> None:
        """Drop the keys, as far as Python can: it can't wipe memory."""
        with self._lock:
            self._closed = True
            self._loaded = None
            self._next_look = 0.0

    def _look(self, seen: Loaded | None) -> Loaded:
        if self._closed:
            raise ClosedError("the section is closed")
        if self._loaded is not None and self._loaded is not seen:
            return self._loaded  # somebody else looked while we waited
        self._next_look = self._clock() + self.source.look_every
        stamp = self.source.stamp()
        if self._loaded is None or stamp is None or stamp != self._stamp:
            self._reload()
        assert self._loaded is not None  # noqa: S101 - _reload leaves one or raises
        return self._loaded

    def _reload(self) -> None:
        failed = None
        try:
            key_set, stamp = self.source.load()
            before = self._loaded
            self._loaded, self._stamp, self._warned = Loaded(key_set), stamp, ""
            if before is not None:
                _warn_of_lost_keys(self.source.where, before.key_set, key_set)
        except KeyFileError as error:
            failed = error.kind, str(error)
        if failed is None:
            return
        kind, message = failed
        if self._loaded is None:
            raise _OPERATION_ERRORS[kind](message, failure=Failure(type="KeyFileError", code=kind))
        if message != self._warned:
            self._warned = message
            _log.warning("%s. The keys that were loaded before stay in use.", message)


def _warn_of_lost_keys(where: str, before: KeySet, now: KeySet) -> None:
    """Say so where a changed file, perhaps the wrong one, lacks keys that were loaded before."""
    kept = {version.label for version in now.versions} if now.key_id == before.key_id else set()
    lost = [version.label for version in before.versions if version.label not in kept]
    if lost:
        _log.warning(
            "%s: the file was exchanged, and lacks keys that were in use before (key set %s, "
            "version %s): what they encrypted can't be opened. If that wasn't meant, put the "
            "other file back at once, since new values are encrypted with this one.",
            where,
            before.key_id,
            ", ".join(lost[-5:]),
        )
