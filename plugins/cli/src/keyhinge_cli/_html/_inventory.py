"""The parts of a page that show what is stored: keys, ages, columns, policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from keyhinge_cli._html._charts import Bar, Column, bars, columns, legend
from keyhinge_cli._html._elements import Child, Element, el, scrolling, table, time
from keyhinge_cli._html._page import share
from keyhinge_cli._text import count, moment

if TYPE_CHECKING:
    from keyhinge_store import LabelStatus, MonthCount, StatusReport

__all__ = ["age", "key_name", "keys_in_use", "months", "tables", "warnings"]

_SHOWN_BARS = 20
_SHOWN_ROWS = 1000
_SHOWN_MONTHS = 60
_COLOURS = 6
_DAY = 86400.0
_STATES = {
    "current": "current key",
    "stale": "stale",
    "missing": "section not configured",
    "unknown": "not known",
}


def keys_in_use(report: StatusReport) -> list[Child]:
    """Show how many values are under which key, as bars and as a table."""
    labels = sorted(report.labels, key=lambda each: -each.values)
    rows = [
        Bar(
            key_name(each.section, each.key_id, each.version),
            each.values,
            f"{each.values:,} · {share(each.values, report.values)}",
            _kind(each),
        )
        for each in labels[:_SHOWN_BARS]
    ]
    kinds = {_kind(each): _STATES[_kind(each)] for each in labels}
    cells = [
        [
            *_names(each, several=len(report.tables) > 1),
            f"{each.values:,}",
            share(each.values, report.values),
            _state(each),
        ]
        for each in labels[:_SHOWN_ROWS]
    ]
    names = [*_headings(report), "Values", "Share", "State"]
    return [
        el("h2", "Keys in use"),
        _figure("Values by key", bars("Values by key", rows), kinds, len(labels)),
        table(
            "Values by section, key id and version",
            names,
            cells,
            numbers=_after(names, 2, 1),
            ids=[1],
        ),
        _cut(len(labels)),
    ]


def age(report: StatusReport) -> list[Child]:
    """Show for how long each key has been in use, as bars and as a table."""
    labels = sorted(report.labels, key=lambda each: (each.oldest is None, each.oldest or report.at))
    limit = None if report.max_key_age is None else report.max_key_age / _DAY
    rows = []
    for each in labels[:_SHOWN_BARS]:
        name = key_name(each.section, each.key_id, each.version)
        if each.oldest is None:
            rows.append(Bar(name, 0.0, "not known", "unknown"))
            continue
        days = max((report.at - each.oldest).total_seconds() / _DAY, 0.0)
        kind = {"broken": "missing", "kept": "current"}.get(each.policy or "", "unknown")
        rows.append(Bar(name, days, count(int(days), "day"), kind if limit is not None else "c1"))
    cells = [
        [
            *_names(each, several=len(report.tables) > 1),
            time(moment(each.oldest)) or "not known",
            f"{each.undated:,}",
            "–" if each.overdue is None else f"{each.overdue:,}",
            each.policy or "–",
        ]
        for each in labels[:_SHOWN_ROWS]
    ]
    names = [*_headings(report), "Oldest value", "No date", "Overdue", "Policy"]
    kinds = {}
    if limit is not None:
        kinds = {"current": "kept", "missing": "broken", "unknown": "not known"}
        kinds["limit"] = "dashed line: maxKeyAge"
    title = "Days since the oldest value of each key was encrypted"
    return [
        el("h2", "Age"),
        el("p", _policy(report)),
        _figure(title, bars(title, rows, limit=limit), kinds, len(labels)),
        table(
            "Age by section, key id and version", names, cells, numbers=_after(names, 2, 1), ids=[1]
        ),
        _cut(len(labels)),
    ]


def months(found: Sequence[MonthCount]) -> list[Child]:
    """Show when what is stored was encrypted, as columns and as a table."""
    sections = sorted({each.section for each in found})
    colour = {name: f"c{min(place, _COLOURS - 1) + 1}" for place, name in enumerate(sections)}
    counted: dict[str, dict[str, int]] = {}
    for each in found:
        by_section = counted.setdefault(each.month, {})
        by_section[each.section] = by_section.get(each.section, 0) + each.values
    known = sorted(month for month in counted if month)
    drawn = []
    for month in _all_months(known)[-_SHOWN_MONTHS:]:
        parts: dict[str, int] = {}
        for section, values in sorted(counted.get(month, {}).items()):
            parts[colour[section]] = parts.get(colour[section], 0) + values
        drawn.append(Column(month, parts))
    title = "Values by the month of their encryption (UTC)"
    kinds: dict[str, str] = {}
    for name in sections:
        kinds[colour[name]] = f"{kinds[colour[name]]}, {name}" if colour[name] in kinds else name
    cells = [
        [month or "not known", *(f"{counted[month].get(name, 0):,}" for name in sections)]
        for month in (*known, *([""] if "" in counted else []))
    ]
    picture = _figure(title, columns(title, drawn), kinds, 0) if drawn else None
    numbers = range(1, len(sections) + 1)
    return [
        el("h3", "By month"),
        picture,
        table(title, ["Month", *sections], cells, numbers=numbers) if cells else None,
    ]


def tables(report: StatusReport) -> list[Child]:
    """Show what each column holds, and what of it is out of the ordinary."""
    cells = [
        [
            each.table,
            f"{each.values:,}",
            f"{each.empty:,}",
            f"{each.unreadable:,}",
            "0" if each.bound else f"{each.values:,}",
            f"{each.unversioned:,}",
            f"{each.undated:,}",
            f"{each.plaintexts:,}",
            f"{each.outside:,}",
        ]
        for each in report.tables
    ]
    names = ["Table and column", "Values", "NULL", "Unreadable", "Not bound"]
    names += ["No key version", "No date", "Plaintext", "Outside where"]
    return [
        el("h2", "Tables"),
        table("Values by column", names, cells, numbers=range(1, len(names))),
        el(
            "p",
            "Not bound: the values have no context, so a value that is copied to another row opens "
            "there. No key version, no date: it isn't recorded. Outside where: the mapping leaves "
            "these rows out, so they are in no other number, and nobody moves or opens them.",
            class_="dim",
        ),
    ]


def warnings(report: StatusReport) -> list[tuple[str, str, str]]:
    """Give the most important figures, as `tiles` takes them."""
    stale = "not known" if report.stale is None else f"{report.stale:,}"
    found = [
        ("values", f"{report.values:,}", ""),
        ("stale", stale, "old" if report.stale else ""),
        ("unreadable", f"{report.unreadable:,}", "bad" if report.unreadable else ""),
        ("not encrypted", f"{report.unencrypted:,}", "bad" if report.unencrypted else ""),
    ]
    if report.not_configured:
        found.append(("section not configured", f"{report.not_configured:,}", "bad"))
    if report.outside:
        found.append(("outside where", f"{report.outside:,}", "old"))
    if report.overdue is not None:
        found.append(("overdue", f"{report.overdue:,}", "bad" if report.overdue else ""))
        policy = report.policy or ""
        kind = {"kept": "", "broken": "bad"}.get(policy, "old")
        found.append(("maxKeyAge", policy, kind))
    return found


def key_name(section: str, key_id: str, version: str) -> str:
    """Name a key version in few words."""
    key = f" {key_id}" if key_id else ""
    return f"{section}{key} v{version}" if version else f"{section}{key}"


def _headings(report: StatusReport) -> list[str]:
    names = ["Section", "Key id", "Version"]
    return [*names, "Table"] if len(report.tables) > 1 else names


def _names(label: LabelStatus, *, several: bool) -> list[Child]:
    names: list[Child] = [label.section, label.key_id or "–", label.version or "–"]
    return [*names, label.table] if several else names


def _after(names: Sequence[str], numbers: int, text: int) -> range:
    """Give the places of the last columns with numbers, before those with text at the end."""
    return range(len(names) - text - numbers, len(names) - text)


def _policy(report: StatusReport) -> str:
    if report.max_key_age is None:
        return "The configuration sets no maxKeyAge."
    # Imported here, since only a page needs it.
    from keyhinge.config import duration_text

    longest = duration_text(timedelta(seconds=report.max_key_age))
    return (
        f"maxKeyAge is {longest}: {report.policy}. A key version is at least as old as its "
        "oldest value, and as the first inventory that it is in. Where values have no date, its "
        "age isn't known."
    )


def _figure(caption: str, picture: Element, kinds: dict[str, str], bars_in_all: int) -> Element:
    more = f" (the first {_SHOWN_BARS} of {bars_in_all:,})" if bars_in_all > _SHOWN_BARS else ""
    colours = legend(kinds) if kinds else None
    return el("figure", el("figcaption", caption + more), scrolling(picture, caption), colours)


def _cut(rows: int) -> Element | None:
    if rows <= _SHOWN_ROWS:
        return None
    return el("p", f"These are {_SHOWN_ROWS:,} of {rows:,}; --json has all.", class_="dim")


def _kind(label: LabelStatus) -> str:
    if not label.configured:
        return "missing"
    return {None: "unknown", True: "stale", False: "current"}[label.stale]


def _state(label: LabelStatus) -> str:
    words = {"missing": "not configured", "current": "current", "unknown": "not known"}
    state = words.get(_kind(label), "stale")
    return state if label.encrypts is not False else f"{state}, not encrypted"


def _all_months(known: Sequence[str]) -> list[str]:
    """Fill the gaps between months, so that a year without values looks like one."""
    if not known:
        return []
    try:
        year, month = map(int, known[0].split("-"))
        last = tuple(map(int, known[-1].split("-")))
    except ValueError:
        return list(known)  # SQLite keeps anything in a column
    found: list[str] = []
    while (year, month) <= last and len(found) < 12_000:
        found.append(f"{year:04}-{month:02}")
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found
