"""The page that `keyhinge status --html` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keyhinge_cli._html._elements import Child, el
from keyhinge_cli._html._inventory import age, keys_in_use, months, tables, warnings
from keyhinge_cli._html._page import configuration, facts, made, page, tiles
from keyhinge_cli._html._runs import progress, reasons, run_title, summary

if TYPE_CHECKING:
    from keyhinge_store import MonthCount, RunInfo, StatusReport

__all__ = ["status_page"]


def status_page(
    report: StatusReport,
    ages: Sequence[MonthCount],
    migrations: Sequence[RunInfo],
    verification: RunInfo | None,
) -> str:
    """Write the page.

    Args:
        report: What is stored.
        ages: The same by month.
        migrations: The run that is under way, or the last one, of each column.
        verification: The last verification, if there was one.
    """
    return page(
        "Keyhinge: what is stored",
        facts(made(report)),
        tiles(warnings(report)),
        keys_in_use(report),
        age(report),
        months(ages),
        tables(report),
        _runs(report, migrations, verification),
        configuration(report),
    )


def _runs(
    report: StatusReport, migrations: Sequence[RunInfo], verification: RunInfo | None
) -> list[Child]:
    found: list[Child] = [el("h2", "Progress")]
    if not migrations:
        found.append(el("p", "No migration has run in this database yet."))
    for run in migrations:
        named = Counter(failure.reason for failure in run.failures)
        found += [el("article", el("h3", run_title(run)), progress(run, report.at), reasons(named))]
    if verification is not None:
        opened = ("Opened", f"{verification.already:,} of {verification.matched:,}")
        failed = ("Failed", f"{verification.failed:,}")
        heading = f"Last verification: {verification.table}"
        parts = summary(verification, report.at, [opened, failed])
        found.append(el("article", el("h3", heading), parts))
    return found
