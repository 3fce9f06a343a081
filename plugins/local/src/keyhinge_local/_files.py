"""Writing a file of secrets: one writer at a time, never half a file, never over another.

Needs a POSIX system, as `_access` does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from keyhinge_local._errors import KeyFileError, Kind

T = TypeVar("T")

LOCK_SECONDS = 30.0
_LOCK_POLL = 0.02
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file of a key file, `<path>.lock`, which stays where it is.

    Leftovers of writers that were killed (temporary files, which hold keys) are removed.

    Raises:
        KeyFileError: "io" if it can't be had in time, "denied" if it can't be opened.
    """
    lock = path.with_name(path.name + ".lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = attempt(lock, "opening the lock file", lambda: os.open(lock, flags, 0o600))
    try:
        deadline = time.monotonic() + seconds
        while not attempt(lock, "locking", lambda: _try_lock(descriptor)):
            if time.monotonic() >= deadline:
                held = f"another process has held it for {seconds:g} s; try again"
                raise KeyFileError("io", str(lock), held)
            time.sleep(_LOCK_POLL)
        attempt(path.parent, "removing leftovers", lambda: _remove_leftovers(path))
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def exists_already(path: Path) -> KeyFileError:
    """Describe a file that stands where a new one was to be made."""
    what = "there is a file already, and a key file is never overwritten"
    return KeyFileError("exists", str(path), what)


def create(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600 in one step; never over an existing one.

    Raises:
        KeyFileError: "exists", "denied" or "io".
    """
    with _temporary(path, content, None) as temporary:
        exists = not attempt(path, "creating the file", lambda: _link(temporary, path))
    if exists:
        raise exists_already(path)
    _sync_folder(path)


def replace(path: Path, content: bytes, old: os.stat_result) -> None:
    """Replace a file in one step, keeping its owner, group and mode.

    Args:
        path: The file itself, not a symbolic link to it.
        content: The new content.
        old: The status of the file that is replaced.

    Raises:
        KeyFileError: "denied" or "io"; then the old file is still there.
    """
    with _temporary(path, content, old) as temporary:
        attempt(path, "replacing the file", lambda: temporary.replace(path))
    _sync_folder(path)


def attempt(path: Path, doing: str, call: Callable[[], T]) -> T:
    """Call something; an OSError becomes a KeyFileError that says what failed where."""
    try:
        return call()
    except OSError as error:
        failed = error.errno or 0
    kind: Kind = "denied" if failed in (errno.EACCES, errno.EPERM) else "io"
    who = f" (this process: uid {os.geteuid()})" if kind == "denied" else ""
    raise KeyFileError(kind, str(path), f"{doing} failed: {os.strerror(failed)}{who}")


@contextmanager
def _temporary(path: Path, content: bytes, like: os.stat_result | None) -> Iterator[Path]:
    """Write and fsync a file beside `path`, and remove it afterwards if it is still there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        attempt(path, "writing a file beside it", lambda: _write(temporary, content, like))
        yield temporary
    finally:
        attempt(temporary, "removing it", lambda: temporary.unlink(missing_ok=True))


def _write(temporary: Path, content: bytes, like: os.stat_result | None) -> None:
    descriptor = os.open(temporary, _NEW_FLAGS, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if like is not None:
            _take_after(descriptor, like)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _take_after(descriptor: int, like: os.stat_result) -> None:
    """Give the new file owner, group and mode of the old one, or fail before it takes its place.

    A file that its application can't read any more would be worse than no rotation.
    """
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path, follow_symlinks=False)  # fails where there is something
    except FileExistsError:
        return False
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    for entry in path.parent.iterdir():
        if leftover.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    attempt(path.parent, "fsync of the folder", lambda: _sync(path.parent))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
