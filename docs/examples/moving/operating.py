"""What the operator types: `keyhinge`, and what to do about its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

AGAIN = {6, 75}  # "unsettled" and "temporary": nothing is wrong, run it again
ATTEMPTS = 10


class CommandError(Exception):
    """A command ended with an exit code that a person should look at."""


def keyhinge(config: Path, *arguments: str) -> str:
    """Run a command to its end.

    Returns:
        What it printed.

    Raises:
        CommandError: Its exit code isn't 0.
    """
    [process] = start(config, [arguments])
    out, err = process.communicate()
    if process.returncode:
        raise CommandError(_failure(arguments, process.returncode, err))
    return out


def stale(config: Path) -> int:
    """Ask `keyhinge status` how many values the primary section hasn't encrypted."""
    [report] = map(json.loads, keyhinge(config, "status", "--json").splitlines())
    found: int = report["stale"]
    return found


def migrate(config: Path, *arguments: str, processes: int = 2) -> list[dict[str, Any]]:
    """Run `keyhinge migrate` in several processes, and each again for as long as it asks for it.

    With PostgreSQL they share the work. With SQLite all but one are told to try again later.

    Returns:
        The report of each, when it was done.

    Raises:
        CommandError: One has failed, or asked too often.
    """
    reports: list[dict[str, Any]] = []
    command = ("migrate", *arguments, "--json")
    for _ in range(ATTEMPTS):
        running = start(config, [command] * (processes - len(reports)))
        for process in running:
            out, err = process.communicate()
            if process.returncode == 0:
                reports.append(json.loads(out.splitlines()[-1]))
            elif process.returncode not in AGAIN:
                raise CommandError(_failure(command, process.returncode, err))
        if len(reports) == processes:
            return reports
    msg = f"`keyhinge migrate` came to no end in {ATTEMPTS} attempts"
    raise CommandError(msg)


def start(config: Path, commands: list[tuple[str, ...]]) -> list[subprocess.Popen[str]]:
    """Start commands side by side. The database's URL is in KEYHINGE_DATABASE."""
    return [
        subprocess.Popen(
            [sys.executable, "-m", "keyhinge_cli", *command, "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]


def _failure(command: tuple[str, ...], code: int, err: str) -> str:
    return f"`keyhinge {' '.join(command)}` ended with exit code {code}:\n{err.strip()}"
