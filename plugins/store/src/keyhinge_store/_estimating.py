"""Estimating what is stored, from a sample of PostgreSQL's pages."""

from __future__ import annotations

from typing import Any, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.sql import visitors

from keyhinge_store._counting import (
    Counted,
    LabelCount,
    label_counts,
    labels_statement,
    merged,
    outside_at_once,
)
from keyhinge_store._layout import Layout

__all__ = ["estimated_counts"]

SAMPLE_ROWS = 50_000
"""A table with no more rows than that is counted instead; of a larger one, so many are read."""

# What the server remembers of the last VACUUM or ANALYZE; of a partitioned table, its parts.
_ROWS = sa.text(
    "SELECT sum(greatest(c.reltuples, 0)), min(c.reltuples) FROM pg_class AS t "
    "JOIN pg_namespace AS n ON n.oid = t.relnamespace "
    "CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(t.oid) WHERE isleaf "
    "UNION SELECT t.oid WHERE t.relkind = 'r') AS part "
    "JOIN pg_class AS c ON c.oid = part.relid "
    "WHERE t.relname = :name AND t.relkind IN ('r', 'p') "
    "AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_table_is_visible(t.oid) "
    "ELSE n.nspname = :schema END"
)


def estimated_counts(connection: sa.Connection, layout: Layout) -> tuple[Counted, int] | None:
    """Estimate a column's values by their labels; a few short statements, however large it is.

    Args:
        connection: Where to read.
        layout: The column; see `Layout.for_keys`.

    Returns:
        What there may be, and how many values in rows that `where` leaves out; a label that only
        few values have may be missing. None where it has to be counted: the table is small, was
        never analyzed, or isn't in PostgreSQL.
    """
    if connection.dialect.name != "postgresql":
        return None
    place = {"name": layout.table.name, "schema": layout.table.schema}
    rows, least = connection.execute(_ROWS, place).one()
    if rows is None or least < 0 or rows <= SAMPLE_ROWS:
        return None
    share = SAMPLE_ROWS / float(rows)
    sampled = _sampled(layout, share)
    counted = connection.execute(labels_statement(sampled, before=None, dated=True)).all()
    labels = [_scaled(each, share) for each in merged(label_counts(layout, counted))]
    outside = round(outside_at_once(connection, sampled) / share)
    return Counted(tuple(labels), _empty(connection, sampled, share)), outside


def _sampled(layout: Layout, share: float) -> Layout:
    """Give the layout of a sample: of some of the table's pages, chosen by chance."""
    sample = sa.tablesample(layout.table, sa.func.system(100 * share), name="sample")

    def replace(element: Any, **_: Any) -> Any:
        is_own = isinstance(element, sa.Column) and element.table is layout.table
        return sample.c[element.key] if is_own else None

    where = layout.where
    if where is not None:
        where = visitors.replacement_traverse(where, {}, replace)
    return attrs.evolve(layout, table=cast("sa.Table", sample), where=where)


def _scaled(count: LabelCount, share: float) -> LabelCount:
    names = ("values", "undated", "overdue", "contradicting")
    return attrs.evolve(count, **{name: round(getattr(count, name) / share) for name in names})


def _empty(connection: sa.Connection, sampled: Layout, share: float) -> int:
    if not sampled.cell(sampled.value).nullable:
        return 0
    where = [] if sampled.where is None else [sampled.where]
    without = sa.select(sa.func.count()).where(*where, sampled.table.c[sampled.value].is_(None))
    return round(int(connection.execute(without).scalar_one()) / share)
