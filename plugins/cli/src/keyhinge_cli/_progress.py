"""Showing how far a migration is: a bar for people, lines in a pipe, events for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keyhinge_cli._output import Output, is_terminal
from keyhinge_cli._text import span

if TYPE_CHECKING:
    from keyhinge_store import Progress

__all__ = ["progress"]

_SECONDS = 5.0

Show = Callable[["Progress"], None]


@contextmanager
def progress(out: Output) -> Iterator[Show]:
    """Show progress for as long as the context is open.

    Args:
        out: Where to: with `--json` each report is an event; otherwise standard error gets a bar
            on a terminal, and elsewhere a line every five seconds.
    """
    if out.as_json:
        yield lambda now: _event(out, now)
    elif is_terminal(sys.stderr):
        with _bar() as show:
            yield show
    else:
        yield _lines(out)


def _event(out: Output, now: Progress) -> None:
    out.event(
        "progress",
        sweep=now.sweep,
        matched=now.matched,
        done=now.done,
        moved=now.moved,
        failed=now.failed,
        elapsed=round(now.elapsed, 3),
        rate=round(now.rate, 1),
        table=now.table,
        processes=now.processes,
        all_matched=now.all_matched,
        all_moved=now.all_moved,
        all_failed=now.all_failed,
        time_left=None if now.time_left is None else round(now.time_left, 1),
    )


def _lines(out: Output) -> Show:
    last = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            failed = f", {now.all_failed:,} failed" if now.all_failed else ""
            others = f", {now.processes} processes" if now.processes > 1 else ""
            left = "" if now.time_left is None else f", about {span(now.time_left)} left"
            out.note(
                f"moved {now.all_moved:,} of {now.all_matched:,}{failed} "
                f"({now.rate:,.0f} a second here{others}{left})"
            )

    return show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("moving"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("moving", total=None, rate="")

        def show(now: Progress) -> None:
            done = now.all_moved + now.all_failed
            failed = f", {now.all_failed:,} failed" if now.all_failed else ""
            bar.update(
                task,
                completed=done,
                total=max(now.all_matched, done),
                rate=f"{now.rate:,.0f} rows/s{failed}",
            )

        yield show
