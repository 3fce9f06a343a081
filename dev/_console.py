"""Play ``console`` examples: type the commands into a shell and compare what comes back."""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TIMEOUT = 60  # seconds for one command
ANYTHING = "…"


class Console:
    """A shell session in a folder: working folder and exported variables outlive a command."""

    def __init__(self, folder: Path) -> None:
        self.state = folder.with_name(folder.name + ".state")
        programs = Path(sys.executable).parent
        self.environ = {
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            "PWD": str(folder),
            "COLUMNS": "100",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        self.folder = str(folder)

    def play(self, text: str) -> str | None:
        """Run the commands of a fence in turn.

        Returns:
            What went wrong, or None.
        """
        steps = list(split(text))
        if not steps:
            return "a console fence needs at least one line that begins with `$ `"
        for command, expected in steps:
            code, printed = self.run(command)
            if code:
                return f"$ {command}\nended with exit code {code} and printed:\n{printed}"
            if not matches(expected, printed):
                difference = difflib.unified_diff(
                    expected.splitlines(),
                    printed.splitlines(),
                    "the page",
                    "what it printed",
                    lineterm="",
                )
                return "\n".join([f"$ {command}", *difference])
        return None

    def run(self, command: str) -> tuple[int, str]:
        """Run one command; return its exit code and what a terminal would show."""
        with tempfile.TemporaryDirectory() as scratch:
            state = Path(scratch) / "state"
            script = f"{command}\ncode=$?\n{{ env -0; }} > '{state}'\nexit $code"
            # A file, not a pipe: a program left in the background would keep a pipe open.
            with (Path(scratch) / "output").open("w+b") as output:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", script],
                    cwd=self.folder,
                    env=self.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                try:
                    code = process.wait(TIMEOUT)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    code = process.wait()
                output.seek(0)
                printed = output.read().decode(errors="replace")
            if state.is_file():
                pairs = (
                    item.partition("=")
                    for item in state.read_text(encoding="utf-8").split("\0")
                    if item
                )
                self.environ = {name: value for name, _, value in pairs if name != "_"}
                self.folder = self.environ["PWD"]
        return code, printed


def split(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a fence with the output that the page shows for it."""
    command: list[str] = []
    output: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "\n".join(output)
            command, output = [line[2:]], []
        elif line.startswith("> ") and command and not output:
            command.append(line[2:])
        else:
            output.append(line)
    if command:
        yield "\n".join(command), "\n".join(output)


def matches(expected: str, printed: str) -> bool:
    """Compare output; ``…`` stands for anything in a line, and alone for any number of lines."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line.strip() == ANYTHING:
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += "[^\n]*".join(map(re.escape, line.rstrip().split(ANYTHING))) + "\n"
    actual = "".join(line.rstrip() + "\n" for line in printed.rstrip().splitlines())
    return re.fullmatch(pattern, actual) is not None
