"""The parts of a page that show runs: how far one is, who took part, what failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from keyhinge_cli._html._charts import legend, progress_bar
from keyhinge_cli._html._elements import Child, Element, el, table, time
from keyhinge_cli._html._page import facts, share
from keyhinge_cli._text import count, moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from keyhinge_store import RunInfo

__all__ = ["participants", "progress", "reasons", "run_title", "summary"]


def run_title(run: RunInfo) -> str:
    """Name a run in few words."""
    return f"Run {run.run_id}: {run.operation} {run.table}{direction(run)}"


def direction(run: RunInfo) -> str:
    """Say from where to where a run goes; "" for a verification."""
    if not run.target:
        return ""
    if run.operation == "new-data-keys":
        return f" in {run.target}"
    source = f" from {', '.join(run.source)}" if run.source else ""
    key = f" (key {run.target_key[0]}, version {run.target_key[1]})" if run.target_key else ""
    return f"{source} to {run.target}{key}"


def progress(run: RunInfo, now: datetime) -> list[Child]:
    """Show how far a migration is, as a bar and in words."""
    left = max(0, run.matched - run.moved - run.failed) if run.state != "finished" else 0
    parts = {"moved": run.moved, "failed": run.failed, "left": left}
    names = {
        "moved": f"moved: {run.moved:,} ({share(run.moved, run.matched)})",
        "failed": f"failed: {run.failed:,}",
        "left": f"left: {left:,}",
    }
    title = f"{run.moved:,} of {run.matched:,} rows moved"
    return [
        el("figure", el("figcaption", title), progress_bar(title, parts), legend(names)),
        summary(run, now),
        participants(run),
    ]


def summary(run: RunInfo, now: datetime, more: Iterable[tuple[str, Child]] = ()) -> Element:
    """Say what a run is, when it was, who started it, and how fast it is."""
    seconds = max(0.0, ((run.ended_at or now) - run.started_at).total_seconds())
    rate = f"{run.moved / seconds:,.0f} rows a second" if seconds >= 1 else "–"
    limit = "" if run.rate is None else f", limited to {run.rate:,g}"
    state = f"{run.state}: {run.reason}" if run.reason else run.state
    known: list[tuple[str, Child]] = [
        ("State", state),
        ("Started", [time(moment(run.started_at)), f" by {run.started_by}"]),
        ("Ended", time(moment(run.ended_at)) or _under_way(run)),
        ("Took", span(seconds)),
    ]
    if run.target:
        known += [
            ("Speed", f"{rate}{limit}"),
            ("Sweep", f"{run.sweep} of at most {run.max_sweeps}"),
        ]
    return facts([*known, *more])


def _under_way(run: RunInfo) -> str:
    if any(not each.silent for each in run.processes):
        return "it is under way"
    return "not yet, and nobody works on it now: start the same command again to go on"


def participants(run: RunInfo) -> Element | None:
    """List who took part, and how many rows each moved."""
    if not run.participants:
        return None
    at_work = {each.name: each for each in run.processes}
    rows: list[list[Child]] = []
    for each in run.participants:
        row: list[Child] = [each.name, each.actor, time(moment(each.joined_at)), f"{each.moved:,}"]
        process = at_work.get(each.name)
        if process is not None:
            ranges = f"at work on {count(process.ranges, 'range')}"
            row.append("silent" if process.silent else ranges)
        elif at_work:
            row.append("–")
        rows.append(row)
    rest = run.moved - sum(each.moved for each in run.participants)
    if rest > 0:
        rows.append(["parts begun and left", "–", "–", f"{rest:,}", *(["–"] if at_work else [])])
    names = ["Process", "User", "Joined", "Moved", *(["Now"] if at_work else [])]
    return table("Processes that took part", names, rows, numbers=[3])


def reasons(found: dict[str, int]) -> Element | None:
    """List why rows failed."""
    if not found:
        return None
    rows = [[reason, f"{number:,}"] for reason, number in found.items()]
    return table("Rows that failed, by reason", ["Reason", "Rows"], rows, numbers=[1])
