"""Whether new values fit into their columns: tried with the longest one, before the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from keyhinge_store._errors import MigrationError
from keyhinge_store._layout import Layout, Row
from keyhinge_store._migrate._convert import Change
from keyhinge_store._migrate._plan import Plan

__all__ = ["is_bounded", "longest", "refuse_narrow"]


def is_bounded(layout: Layout) -> bool:
    """Tell whether a column that is written has a greatest length, as `varchar(255)` does."""
    return any(layout.cell(name).length is not None for name in layout.codec.columns)


def longest(connection: sa.Connection, plan: Plan) -> list[Row]:
    """Read the row that has the longest value of those to be moved; none if there are none."""
    layout = plan.layout
    size = sa.func.length(layout.table.c[layout.value])
    wanted = (
        sa.select(*(layout.selected(name) for name in layout.columns))
        .where(*layout.present, plan.condition)
        .order_by(size.desc())
        .limit(1)
    )
    return list(connection.execute(wanted))


def refuse_narrow(
    layout: Layout, rows: Sequence[Row], convert: Callable[[Sequence[Row]], list[Change]]
) -> None:
    """Refuse a column that can't hold what these rows would get.

    Args:
        layout: The table.
        rows: What `longest` gave.
        convert: Makes their new values. A row that fails is left to the migration itself.

    Raises:
        MigrationError: One doesn't fit.
    """
    for change in convert(rows):
        for name, cell in zip(layout.codec.columns, change.cells, strict=True):
            most = layout.cell(name).length
            if most is not None and isinstance(cell, str) and len(cell) > most:
                msg = (
                    f"the column {name!r} of {layout.table.fullname} takes {most} characters, and "
                    f"the longest new value has {len(cell)}. Make it wider first"
                )
                raise MigrationError(msg)
