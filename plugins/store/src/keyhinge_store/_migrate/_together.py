"""Several tables, one after the other, and one report on them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from keyhinge_store._errors import MigrationStoppedError
from keyhinge_store._migrate._migration import Migration
from keyhinge_store._migrate._report import SHOWN_FAILURES, KeyCalls, MigrationReport

__all__ = ["together"]

_ADDED = (
    "rows",
    "matched",
    "already",
    "moved",
    "verified",
    "left",
    "failed",
    "changed",
    "gone",
    "busy",
    "duration",
)


def together(migrations: Sequence[Migration]) -> MigrationReport:
    """Move the tables' values, table by table.

    Raises:
        MigrationStoppedError: One had to stop; its report is on all that were begun.
    """
    reports: list[MigrationReport] = []
    for migration in migrations:
        try:
            reports.append(migration.go())
        except MigrationStoppedError as stopped:
            reports.append(stopped.report)
            stopped.report = _sum(reports, len(migrations))
            raise
        if reports[-1].interrupted:
            break
    return _sum(reports, len(migrations))


def _sum(reports: Sequence[MigrationReport], of: int) -> MigrationReport:
    if of == 1:
        return reports[0]
    complete = len(reports) == of
    calls: dict[str, KeyCalls] = {}
    for report in reports:
        for section, asked in report.calls.items():
            added = calls.setdefault(section, KeyCalls())
            added.batches += asked.batches
            added.values += asked.values
    prices = [report.price for report in reports if report.price is not None]
    failures = [failure for report in reports for failure in report.failures]
    return attrs.evolve(
        reports[0],
        **{name: sum(getattr(report, name) for report in reports) for name in _ADDED},
        failures=tuple(failures[:SHOWN_FAILURES]),
        calls=calls,
        sweeps=max(report.sweeps for report in reports),
        settled=complete and all(report.settled for report in reports),
        interrupted=any(report.interrupted for report in reports),
        unsettled=any(report.unsettled for report in reports),
        reason="; ".join(dict.fromkeys(report.reason for report in reports if report.reason)),
        table="",
        run=None,
        price=sum(prices) if prices else None,
        warnings=tuple(dict.fromkeys(text for each in reports for text in each.warnings)),
        tables=tuple(reports),
    )
