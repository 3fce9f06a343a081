"""What preparing or swapping did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from keyhinge_store._failure import RowFailure
from keyhinge_store._migrate._report import SHOWN_FAILURES, KeyCalls

__all__ = ["StagedReport", "add_up"]

_ADDED = ("rows", "matched", "ready", "made", "swapped", "left", "failed", "dropped")


@attrs.frozen(kw_only=True)
class StagedReport:
    """What `migrate_staged` or `abandon_staged` did.

    Attributes:
        state: "prepared": the table is as it was. "swapped": the new values are in it, all of
            them. "abandoned": the table is as it was, and nothing is prepared any more.
        target: The section that values were prepared for.
        rows: Rows in the table at the start.
        matched: Rows that aren't at the target for sure, at the start.
        ready: How many rows have a new value, opened again and compared, or are found to need
            none.
        made: How many new values were made in this call; the others were there already.
        swapped: Rows that hold their new value now.
        left: Rows that were left as they were, because they can't be opened.
        failed: Rows that can't be opened, or whose value the target can't hold.
        failures: The first of these.
        dropped: How many prepared rows were dropped.
        calls: What the sections that may have to wait for a key service were asked.
        price: What AWS KMS charges for the calls, in US dollars; None where it isn't asked.
        interrupted: Whether it was asked to stop before the end.
        duration: Seconds.
        locked: For how many seconds of them nobody could write to the table.
        table: The table; empty where there are several.
        run_id: The swap's number, as `keyhinge runs` shows it.
        warnings: What doesn't stop it, but should be known.
        tables: The reports of the tables, where there are several.
    """

    state: Literal["prepared", "swapped", "abandoned"]
    target: str
    rows: int = 0
    matched: int = 0
    ready: int = 0
    made: int = 0
    swapped: int = 0
    left: int = 0
    failed: int = 0
    failures: tuple[RowFailure, ...] = ()
    dropped: int = 0
    calls: Mapping[str, KeyCalls] = attrs.field(factory=dict)
    price: float | None = None
    interrupted: bool = False
    duration: float = 0.0
    locked: float = 0.0
    table: str = ""
    run_id: int | None = None
    warnings: tuple[str, ...] = ()
    tables: tuple[StagedReport, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every row is swapped; before the swap, whether every row is ready for it."""
        whole = not self.failed and not self.left and not self.interrupted
        return whole and (self.state == "swapped" or self.ready >= self.matched)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON."""
        told = attrs.asdict(self, recurse=False)
        told["failures"] = [attrs.asdict(failure) for failure in self.failures]
        told["calls"] = {name: attrs.asdict(calls) for name, calls in self.calls.items()}
        told["tables"] = [table.to_dict() for table in self.tables]
        return {**told, "complete": self.complete}


def add_up(reports: Sequence[StagedReport], **whole: Any) -> StagedReport:
    """Make one report of the tables' reports.

    Args:
        reports: One for each table.
        whole: What goes for all of them together.
    """
    if len(reports) == 1:
        return attrs.evolve(reports[0], **whole)
    calls: dict[str, KeyCalls] = {}
    for section, asked in (pair for report in reports for pair in report.calls.items()):
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
        price=sum(prices) if prices else None,
        warnings=tuple(dict.fromkeys(text for each in reports for text in each.warnings)),
        table="",
        run_id=None,
        tables=tuple(reports),
        **whole,
    )
