"""Reading a file of secrets: only if nobody else could have read or changed it.

Needs a POSIX system (owners and modes).
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from keyhinge_local._errors import KeyFileError

# Non-blocking, so that a named pipe at that path is refused instead of waited for.
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_MISSING = (
    "the key file doesn't exist. If there was one, put its backup here, since a new one can't "
    "open what the old one encrypted; otherwise make it with `keyhinge local init`"
)

# First, since an administrator who gives the file to himself takes it away from the application.
_AS_WHOM = (
    "If the application runs as another user, change nothing and run this as that user. "
    "Otherwise, to mend it: "
)


def read(path: Path, limit: int, *, allow_group_read: bool) -> tuple[bytes, os.stat_result]:
    """Read a file of secrets after checking, on the opened descriptor, who can get at it.

    Args:
        path: The file; symbolic links are followed, as Kubernetes mounts need it.
        limit: The most bytes to return, and one more that tells that there are more.
        allow_group_read: Whether the file's group may read it.

    Returns:
        Its content, at most ``limit + 1`` bytes, and its status.

    Raises:
        KeyFileError: "missing", "denied" or "io".
    """
    failed: OSError
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError as error:
        failed = error
    except ValueError:  # the path holds a NUL
        failed = OSError(errno.ENOENT, "")
    else:
        try:
            status = os.fstat(descriptor)
            check_access(path, status, allow_group_read=allow_group_read)
            return _read_all(descriptor, limit + 1), status
        except OSError as error:
            failed = error
        finally:
            os.close(descriptor)
    raise _unreadable(path, failed)


def check_access(path: Path, status: os.stat_result, *, allow_group_read: bool) -> None:
    """Refuse what isn't a regular file of ours or root's that only we (or our group) can read.

    Raises:
        KeyFileError: "denied", with owner, mode, our uid and the command that mends it.
    """
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError("denied", str(path), "the key file isn't a regular file")
    us, mode, quoted = os.geteuid(), stat.S_IMODE(status.st_mode), shlex.quote(str(path))
    if status.st_uid not in (0, us):
        what = "its owner, who is neither root nor this process's user, could change the keys"
        mend = f"{_AS_WHOM}chown {us} {quoted} (as root)"
    elif mode & 0o027:
        what = "others than its owner can get at it"
        mend = f"To mend it: chmod {'0640' if allow_group_read else '0600'} {quoted}"
    elif mode & 0o050 and not allow_group_read:
        what = "its group can read it, and allowGroupRead isn't set"
        mend = f"To mend it: chmod 0600 {quoted}"
    else:
        return
    raise KeyFileError("denied", str(path), _denied(f"is refused: {what}", status, mend))


def signature(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Tell one state of a file from another without reading it."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _read_all(descriptor: int, limit: int) -> bytes:
    parts = []
    while limit > 0 and (part := os.read(descriptor, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _unreadable(path: Path, failed: OSError) -> KeyFileError:
    if failed.errno in (errno.ENOENT, errno.ENOTDIR):
        return KeyFileError("missing", str(path), _MISSING)
    if failed.errno not in (errno.EACCES, errno.EPERM):
        return KeyFileError("io", str(path), f"reading failed: {os.strerror(failed.errno or 0)}")
    us, status = os.geteuid(), None
    with suppress(OSError):
        status = path.stat()
    if status is None:
        return KeyFileError("denied", str(path), _closed_folder(path))
    quoted = shlex.quote(str(path))
    mend = f"{_AS_WHOM}chown {us} {quoted} && chmod 0600 {quoted} (as root)"
    return KeyFileError("denied", str(path), _denied("can't be read", status, mend))


def _denied(what: str, status: os.stat_result, mend: str) -> str:
    mode = stat.S_IMODE(status.st_mode)
    return (
        f"the key file {what}. Owner: uid {status.st_uid}, group {status.st_gid}, "
        f"mode {mode:04o}; this process: uid {os.geteuid()}. {mend}"
    )


def _closed_folder(path: Path) -> str:
    for folder in reversed(path.absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            break
    else:
        folder = path.parent
    return (
        f"the key file can't be reached: uid {os.geteuid()} may not enter {folder}. "
        "Move the file to a folder that it may enter, or give it the permission (execute)"
    )
