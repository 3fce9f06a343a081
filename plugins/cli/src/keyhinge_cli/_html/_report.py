"""The page that `keyhinge report --html` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyhinge_cli._html._elements import Child, Element, el, table, time
from keyhinge_cli._html._inventory import age, keys_in_use, tables, warnings
from keyhinge_cli._html._page import configuration, facts, made, page, tiles
from keyhinge_cli._html._runs import participants, reasons, run_title, summary
from keyhinge_cli._text import moment

if TYPE_CHECKING:
    from keyhinge_store import AuditReport, Inventory, RunEvidence

__all__ = ["report_page"]


def report_page(report: AuditReport) -> str:
    """Write the page."""
    status = report.status
    between = ("Time", f"{moment(report.since)} to {moment(report.until)}")
    return page(
        "Keyhinge: keys and runs",
        facts([*made(status), between, ("Runs in that time", f"{len(report.runs):,}")]),
        tiles(warnings(status)),
        el("h2", "Runs"),
        _overview(report),
        [_run(each, report) for each in report.runs if _is_told(each)],
        el("h2", "What is stored now"),
        keys_in_use(status)[1:],
        age(status),
        tables(status),
        configuration(status),
    )


def _overview(report: AuditReport) -> Element:
    if not report.runs:
        return el("p", "No run was under way in this time.")
    rows = []
    for each in report.runs:
        run = each.run
        rows.append(
            [
                str(run.run_id),
                run.operation,
                run.table,
                time(moment(run.started_at)),
                run.started_by,
                run.state,
                f"{run.moved:,}" if run.target else "–",
                f"{each.verified:,}",
                f"{run.failed:,}",
            ]
        )
    names = ["Run", "What", "Table", "Started", "By", "State", "Moved", "Verified", "Failed"]
    return table("Runs in this time", names, rows, numbers=[6, 7, 8])


def _is_told(each: RunEvidence) -> bool:
    """Tell whether a run has more to say than its line: a verification that was fine hasn't."""
    return bool(each.run.target or each.run.failed or each.run.state != "finished")


def _run(each: RunEvidence, report: AuditReport) -> Element:
    run = each.run
    if run.target:
        verified = "each of them was opened again, by a second set of keys, before it was written"
        what = [
            ("Rows to move", f"{run.matched:,} of {run.rows:,}"),
            ("Moved", f"{run.moved:,}; {verified}"),
            ("Changed meanwhile", f"{run.changed:,} changed, {run.gone:,} deleted"),
        ]
    else:
        what = [("Opened", f"{each.verified:,} of {run.matched:,}")]
    what.append(("Failed", f"{run.failed:,}"))
    if run.target:
        what += [("Before", _inventory(each.before)), ("After", _inventory(each.after))]
    return el(
        "article",
        el("h3", run_title(run)),
        summary(run, report.at, what),
        _labels(each),
        reasons(dict(each.reasons)),
        participants(run),
    )


def _labels(each: RunEvidence) -> Child:
    if not each.labels:
        return None
    rows = [
        [
            label.section,
            label.key_id or "–",
            label.version or "–",
            "–" if label.before is None else f"{label.before:,}",
            "–" if label.after is None else f"{label.after:,}",
        ]
        for label in each.labels
    ]
    names = ["Section", "Key id", "Version", "Before", "After"]
    caption = "Values before and after, with what applications wrote meanwhile"
    return table(caption, names, rows, numbers=[3, 4], ids=[1])


def _inventory(found: Inventory | None) -> str:
    if found is None:
        return "no inventory was taken"
    text = f"{found.values:,} values at {moment(found.taken_at)}"
    for number, what in ((found.unreadable, "unreadable"), (found.plaintexts, "plaintext")):
        text += f", {number:,} {what}" if number else ""
    return text
