"""What is said of rows that a mapping's `where` leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyhinge_cli._text import count

if TYPE_CHECKING:
    from keyhinge_cli._output import Output
    from keyhinge_store import StatusReport

__all__ = ["outside_note", "outside_rows"]


def outside_note(out: Output, report: StatusReport) -> None:
    """Say how many values there are that nobody moves, lest they be taken for moved."""
    for table in report.tables:
        if table.outside:
            out.note(
                f"{count(table.outside, 'value')} of {table.table} outside `where`: not counted "
                "above, and not migrated or verified; `can-retire` looks at them, too"
            )


def outside_rows(report: StatusReport, columns: int) -> list[list[str]]:
    """Give a line for these values to stand under the sections: in how many columns, if any."""
    if not report.outside:
        return []
    cells = ["outside `where`", "-", "-", f"{report.outside:,}", "not looked at"]
    return [[*cells, *[""] * columns][:columns]]
