"""A guard that finds out who connects, reads files or starts programs where nobody may."""

from __future__ import annotations

import builtins
import io
import os
import pathlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["Guard", "guarded"]

_FORBIDDEN: tuple[tuple[Any, str, str], ...] = (
    (socket.socket, "connect", "connected"),
    (socket.socket, "connect_ex", "connected"),
    (socket, "getaddrinfo", "looked up a host's address"),
    (builtins, "open", "opened a file"),
    (io, "open", "opened a file"),
    (os, "open", "opened a file"),
    (subprocess.Popen, "__init__", "started a program"),
)
# Python 3.10's paths keep a reference of their own.
_ACCESSOR: Any = getattr(pathlib, "_NormalAccessor", None)


class Guard:
    """What was done while it stood.

    Attributes:
        done: What somebody did, in words.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        # Threads that run already may do what they like: they have nothing to do with this.
        self._others = {thread.ident for thread in threading.enumerate()}
        self._others.discard(threading.get_ident())

    def replacing(self, original: Callable[..., Any], word: str) -> Callable[..., Any]:
        """Make a function that refuses, and notes that it was called."""

        def refuse(*args: Any, **options: Any) -> Any:
            if threading.get_ident() in self._others:
                return original(*args, **options)
            self.done.append(word)
            # Raised, too, so that nothing waits for a server that isn't there.
            msg = f"the conformance kit: it {word} where no provider may"
            raise PermissionError(msg)

        return refuse


@contextmanager
def guarded() -> Iterator[Guard]:
    """Refuse connections, files and programs to this thread and those that it starts."""
    guard = Guard()
    with ExitStack() as stack:
        for owner, name, word in _FORBIDDEN:
            own = vars(owner).get(name)
            stack.callback(_restore, owner, name, own)
            setattr(owner, name, guard.replacing(getattr(owner, name), word))
        if _ACCESSOR is not None:
            own = vars(_ACCESSOR)["open"]
            stack.callback(_restore, _ACCESSOR, "open", own)
            _ACCESSOR.open = staticmethod(guard.replacing(io.open, "opened a file"))
        yield guard


def _restore(owner: Any, name: str, own: Any) -> None:
    if own is None:  # it was inherited
        delattr(owner, name)
    else:
        setattr(owner, name, own)
