"""Results to standard output, messages to standard error, for people or for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, TextIO

import click

from keyhinge_cli._text import aligned, moment, safe

__all__ = ["Output", "is_terminal"]

# What stands in a cell alone and means something good or bad.
_COLOURS = {
    "ok": "green",
    "info": "cyan",
    "warning": "yellow",
    "error": "red",
    "broken": "red",
    "conflict": "red",
    "stale": "yellow",
    "yes": "green",
    "passed": "green",
    "failed": "red",
    "skipped": "cyan",
}


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person sees what is written to a stream, with colours and moving bars."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Output:
    """Where a command writes.

    With `--json`, standard output has one JSON object a line for each result and event, and
    standard error one for each note, warning and error; each has an `event`.

    Args:
        as_json: Whether `--json` was given.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._warned: set[str] = set()

    def event(self, event: str, **fields: Any) -> None:
        """Write a result or event for programs; nothing without `--json`."""
        if self.as_json:
            _write(sys.stdout, _json(event, fields))

    def line(self, text: str = "") -> None:
        """Write a line of the result for people; nothing with `--json`."""
        if not self.as_json:
            _write(sys.stdout, safe(text))

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True
    ) -> None:
        """Write a table for people; nothing with `--json`, and nothing if there are no rows.

        Args:
            columns: The headings.
            rows: The cells, as text that may be hostile.
            header: Whether to write the headings; not where it is another page of a table.
        """
        if self.as_json or not rows:
            return
        if is_terminal(sys.stdout):
            _rich_table(columns, rows, header=header)
        else:
            for line in aligned([columns, *rows])[0 if header else 1 :]:
                _write(sys.stdout, line)

    def note(self, text: str) -> None:
        """Say something on standard error that isn't a result: advice, progress."""
        if self.as_json:
            _write(sys.stderr, _json("note", {"message": text}))
        else:
            _write(sys.stderr, safe(text, keep="\n"))

    def urgent(self, text: str) -> None:
        """Say something from within a signal handler, whatever is being written just now."""
        line = _json("note", {"message": text}) if self.as_json else text
        os.write(2, f"{line}\n".encode())  # a Python stream can't be entered twice

    def warn(self, message: str, **fields: Any) -> None:
        """Warn on standard error, about the same thing only once."""
        if message not in self._warned:
            self._warned.add(message)
            self._problem("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Say on standard error why the command failed."""
        self._problem("error", message, fields)

    def _problem(self, kind: str, message: str, fields: Mapping[str, Any]) -> None:
        if self.as_json:
            _write(sys.stderr, _json(kind, {**fields, "message": message}))
            return
        head = f"{kind}:"
        if is_terminal(sys.stderr) and "NO_COLOR" not in os.environ:
            head = click.style(head, fg=_COLOURS[kind], bold=True)
        _write(sys.stderr, f"{head} {safe(message, keep=chr(10))}")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()  # whoever reads a pipe sees events when they happen


def _json(event: str, fields: Mapping[str, Any]) -> str:
    return json.dumps({"event": event, **fields}, default=_jsonable)


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return f"({type(value).__name__})"  # a provider's finding may hold anything


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=header)
    for column in columns:
        # Folded, never cut: the end of a key id matters as much as its beginning.
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: square brackets in a value aren't markup.
        table.add_row(*(Text(safe(cell), style=_COLOURS.get(cell, "")) for cell in row))
    Console(file=sys.stdout).print(table)
