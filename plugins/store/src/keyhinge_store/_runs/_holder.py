"""Who works on something, and whether they are known to be gone."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import platform
import uuid
from pathlib import Path

__all__ = ["actor", "is_gone", "new_holder", "shown"]

_SEPARATOR = "/"


def new_holder() -> str:
    """Make a name for this process that no other one has, not even after it is over."""
    pid = os.getpid()
    parts = (_host(), str(pid), _started(pid), _machine(), uuid.uuid4().hex[:8])
    return _SEPARATOR.join(parts)


def actor() -> str:
    """Say who starts something: the system's user on this machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "?"  # a container's user without a name
    return f"{user}@{_host()}"


def shown(holder: str) -> str:
    """Give a holder's machine and process id, for people."""
    host, pid, *_ = [*holder.split(_SEPARATOR), "?", "?"]
    return f"{host}:{pid}"


def is_gone(holder: str) -> bool:
    """Tell whether a holder was on this machine and its process has ended.

    Nobody has to wait for the lease of such a one. False where nothing is known.
    """
    parts = holder.split(_SEPARATOR)
    if len(parts) != 5 or not parts[2] or parts[3] != _machine():
        return False
    pid = int(parts[1])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's, so it is there
    started = _started(pid)
    return bool(started) and started != parts[2]


def _host() -> str:
    return platform.node().replace(_SEPARATOR, "-") or "?"


def _machine() -> str:
    """Tell this machine, and what of it can see each other's processes, from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return "-"  # not Linux: leases have to do
    return hashlib.sha256(f"{boot}{space}".encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """Give when a process began, as Linux counts it; "" where that isn't known.

    Source: proc_pid_stat(5). A process that has ended and was not waited for yet counts as over.
    """
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return "over" if fields[0] in "ZX" else fields[19]
    return ""
