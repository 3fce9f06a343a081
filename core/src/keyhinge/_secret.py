"""A secret of the configuration that doesn't show itself."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path
from typing import NoReturn, final

from keyhinge._errors import Problem, SecretFileError

__all__ = ["Secret"]

_MAX_BYTES = 1 << 20
# File systems stamp times as coarsely as every two seconds, so a file that changed a moment ago
# may change again without looking different: until it is this old, it is read each time.
_SETTLED_NS = 2_000_000_000

_Stamp = tuple[int, int, int]

_REASONS = {
    errno.ENOENT: "doesn't exist",
    errno.ENOTDIR: "doesn't exist",
    errno.EACCES: "can't be read: permission denied",
    errno.EPERM: "can't be read: permission denied",
    errno.EISDIR: "is a folder, not a file",
    errno.ELOOP: "can't be read: too many symbolic links",
    errno.ENAMETOOLONG: "can't be read: the name is too long",
}


class _ReadFailedError(Exception):
    """Carries one of our own reasons out of the reading functions."""


@final
class Secret:
    """Text that appears in no repr, log, pickle or copy; only `reveal` hands it out.

    A secret that stands in a file is read when it is needed and again whenever the file
    changes, as Vault Agent and Kubernetes change files under a running application.

    Args:
        text: The secret itself.
        path: Or the file that it stands in; see `from_file`.
    """

    __slots__ = ("_cached", "_path", "_text")

    def __init__(
        self, text: str | None = None, *, path: str | os.PathLike[str] | None = None
    ) -> None:
        if (text is None) == (path is None) or not isinstance(text, str | type(None)):
            msg = "a Secret is made of a text (str) or of a path"
            raise TypeError(msg)
        self._text = text
        self._path = None if path is None else Path(path)
        self._cached: tuple[_Stamp, str] | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Secret:
        """Make a secret whose text stands in a file.

        Args:
            path: The file: UTF-8, at most 1 MiB. One newline at its end is dropped.

        Returns:
            The secret. Nothing is read yet.
        """
        return cls(path=path)

    @property
    def path(self) -> Path | None:
        """The file that the secret stands in; None if it was given itself."""
        return self._path

    def reveal(self) -> str:
        """Give the text. Don't keep it: a file's secret may be another one next time.

        Returns:
            The secret.

        Raises:
            SecretFileError: The file is missing, unreadable, empty, too large or not UTF-8.
        """
        if self._text is not None:
            return self._text
        reason = ""
        try:
            return self._read(Path(self._path or ""))
        except _ReadFailedError as error:
            reason = str(error)
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, "can't be read")
        except ValueError:
            reason = "can't be opened: the path holds a character that no path may hold"
        msg = f"the file {self._path} {reason}"
        raise SecretFileError([Problem("", msg)])

    def _read(self, path: Path) -> str:
        # No lock: the pair is replaced in one step, and reading twice does no harm.
        cached = self._cached
        if cached is not None and cached[0] == _stamp(os.stat(path)):  # noqa: PTH116 - hot path
            return cached[1]
        content, stamp = _read_file(path)
        text = _decode(content)
        settled = time.time_ns() - stamp[0] > _SETTLED_NS
        self._cached = (stamp, text) if settled else None
        return text

    def __repr__(self) -> str:
        return "Secret(redacted)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "a Secret can't be pickled or copied; pass the settings that hold it instead"
        raise TypeError(msg)


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _read_file(path: Path) -> tuple[bytes, _Stamp]:
    # Non-blocking, so that a named pipe at that path is refused instead of waited for.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "")
        if not stat.S_ISREG(status.st_mode):
            msg = "isn't a regular file"
            raise _ReadFailedError(msg)
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        msg = "is larger than 1 MiB, so it can't be the right one"
        raise _ReadFailedError(msg)
    return content, _stamp(status)


def _decode(content: bytes) -> str:
    text = None
    with contextlib.suppress(UnicodeDecodeError):
        text = content.decode("utf-8")
    if text is None:
        msg = "isn't UTF-8 text"
        raise _ReadFailedError(msg)
    if text.endswith("\n"):
        text = text[:-2] if text.endswith("\r\n") else text[:-1]
    if not text:
        msg = "is empty"
        raise _ReadFailedError(msg)
    return text
