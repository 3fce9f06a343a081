"""Free ports on loopback, and waiting for whoever is to listen there."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable


def free_port(neighbours: int = 0) -> int:
    """Find a free port; with `neighbours`, the ports behind it are free too."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            if port + neighbours < 65536 and all(_is_free(port + n + 1) for n in range(neighbours)):
                return port
    raise AssertionError("no free port")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_until(
    ready: Callable[[], object], seconds: float = 20, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until something is true, and see to it that the process that makes it so lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the server ended by itself, exit code {process.returncode}")
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError(f"not ready after {seconds} s")
