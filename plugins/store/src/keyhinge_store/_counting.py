"""Counting what is stored by its labels, in the database: for `status` and for runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge_store._codec import OR, PLAIN, UNREADABLE, Labels
from keyhinge_store._layout import Key, Layout, label_text
from keyhinge_store._reader import Reader
from keyhinge_store._resolver import count_known

__all__ = [
    "Counted",
    "LabelCount",
    "count_labels",
    "count_months",
    "count_outside",
    "label_counts",
    "labels_statement",
    "merged",
    "outside_at_once",
    "snapshot",
]

# An inventory that is kept names so many keys, and sums the others up.
_KEPT_LABELS = 1000
PART_KEYS = 50_000
"""So many keys are counted by one statement."""


@attrs.frozen
class LabelCount:
    """The values of one column with one section, key id and version.

    Attributes:
        section: As the rows have it; PLAIN or UNREADABLE where there is none.
        key_id: As the rows have it.
        version: As the rows have it.
        values: How many there are.
        oldest: The oldest time of encryption among them.
        undated: How many of them say no such time.
        overdue: How many say one that is before the moment that was asked about.
        contradicting: How many say something else than the columns beside them.
    """

    section: str
    key_id: str
    version: str
    values: int
    oldest: datetime | None
    undated: int
    overdue: int
    contradicting: int

    def plus(self, other: LabelCount) -> LabelCount:
        """Add the counts of another group with the same labels."""
        dates = [date for date in (self.oldest, other.oldest) if date is not None]
        return attrs.evolve(
            self,
            values=self.values + other.values,
            oldest=min(dates, default=None),
            undated=self.undated + other.undated,
            overdue=self.overdue + other.overdue,
            contradicting=self.contradicting + other.contradicting,
        )


@attrs.frozen
class Counted:
    """What one column holds.

    Attributes:
        labels: One entry for each section, key id and version.
        empty: Rows in which the column is NULL.
    """

    labels: tuple[LabelCount, ...]
    empty: int

    def under(self, section: str) -> int:
        """Count the values under a label."""
        return sum(each.values for each in self.labels if each.section == section)

    @property
    def values(self) -> int:
        """All values."""
        return sum(each.values for each in self.labels)

    @property
    def unreadable(self) -> int:
        """What is no encrypted value, or contradicts the columns beside it."""
        return self.under(UNREADABLE) + sum(each.contradicting for each in self.labels)

    @property
    def plaintexts(self) -> int:
        """Plaintexts in a column that is being adopted."""
        return self.under(PLAIN)


def count_labels(
    connection: sa.Connection,
    layout: Layout,
    *,
    before: datetime | None = None,
    dated: bool = True,
) -> Counted:
    """Count a column's values by their labels. The database counts, one part after the other.

    Each part is a statement and a transaction of its own, so that nothing long holds back what
    PostgreSQL has to clean up. So it isn't a picture of one moment; a value that is moved
    meanwhile is counted once all the same, since its key stays.

    Args:
        connection: Where to read. Its transaction is ended after each part.
        layout: The column; see `Layout.for_keys`.
        before: Values that were encrypted before this moment count as overdue.
        dated: Whether times of encryption matter. If not, one that can't be read does no harm.
    """
    wanted = labels_statement(layout, before=before, dated=dated)
    found: list[LabelCount] = []
    empty = 0
    for conditions, given in parts(connection, layout):
        rows = connection.execute(wanted.where(*conditions), given).all()
        found = list(merged([*found, *label_counts(layout, rows)]))
        empty += _empty(connection, layout, conditions, given)
    unclear = {name for each in found if OR in each.section for name in each.section.split(OR)}
    if unclear:
        known = count_known(connection, layout, sorted(unclear))
        found = [part for each in found for part in _told_apart(each, known)]
    return Counted(merged(found), empty)


def count_months(connection: sa.Connection, layout: Layout) -> dict[tuple[str, str], int]:
    """Count a column's values by section and by the month (UTC) of their encryption.

    Args:
        connection: As for `count_labels`.
        layout: The column.

    Returns:
        Values by section and month, as in "2026-01"; the month is "" where none is known.
    """
    table, codec = layout.table, layout.codec
    names = codec.groups(table)
    month: sa.ColumnElement[Any] = sa.literal("")
    if layout.encrypted_at is not None:
        column = table.c[layout.encrypted_at]
        if connection.dialect.name == "postgresql":
            month = sa.func.to_char(sa.func.timezone("UTC", column), "YYYY-MM")
        else:
            month = sa.func.substr(sa.type_coerce(column, sa.Text()), 1, len("2026-01"))
    wanted = _grouped((*names, month), layout).add_columns(sa.func.count())
    found: Counter[tuple[str, str]] = Counter()
    for conditions, given in parts(connection, layout):
        for *group, when, values in connection.execute(wanted.where(*conditions), given):
            section = label_text(codec.labels_of(group)[0])
            found[section, str(when or "")] += int(values)
    return dict(found)


def count_outside(connection: sa.Connection, layout: Layout) -> int:
    """Count the values in rows that `where` leaves out: of any kind, also plaintexts.

    Ends the connection's transaction after each part of the table.
    """
    if not layout.where_columns:
        return 0
    return sum(outside_at_once(connection, layout, *part) for part in parts(connection, layout))


def outside_at_once(
    connection: sa.Connection,
    layout: Layout,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
    given: Mapping[str, Any] | None = None,
) -> int:
    """Count the same in one statement, in the rows for which some conditions hold."""
    if layout.where is None or not layout.where_columns:
        return 0
    # NULL in a column of `where` is neither true nor false, and outside all the same.
    outside = layout.where.is_not(sa.true())
    there = layout.table.c[layout.value].is_not(None)
    counted = sa.select(sa.func.count()).select_from(layout.table)
    return int(connection.execute(counted.where(outside, there, *conditions), given).scalar_one())


def parts(
    connection: sa.Connection, layout: Layout
) -> Iterator[tuple[list[sa.ColumnElement[bool]], dict[str, Any]]]:
    """Divide a table by its key, and end the connection's transaction after each part.

    Yields:
        The conditions for a part, and what to send with them.
    """
    reader = Reader(connection.engine, layout, None, rows=1, size=1)
    after: Key | None = None
    while True:
        last = reader.ahead(after, PART_KEYS, connection=connection)
        yield reader.between(after, last)
        connection.commit()
        if last is None:
            return
        after = last


def labels_statement(layout: Layout, *, before: datetime | None, dated: bool) -> sa.Select[Any]:
    """Count by labels; `label_counts` reads what comes of it."""
    table, codec = layout.table, layout.codec
    return _grouped(codec.groups(table), layout).add_columns(
        sa.func.count(),
        *_dates(layout.encrypted_at if dated else None, layout, before),
        _sum(codec.contradicts(table)),
    )


def label_counts(layout: Layout, rows: Iterable[Sequence[Any]]) -> list[LabelCount]:
    """Read the rows that `labels_statement` gives."""
    return [_label_count(layout.codec.labels_of(row[:-5]), row[-5:]) for row in rows]


def snapshot(connection: sa.Connection, layout: Layout) -> dict[str, Any]:
    """Take a column's inventory as JSON can hold it: labels and numbers, nothing of a value."""
    counted = count_labels(connection, layout, dated=False)
    labels = sorted(counted.labels, key=lambda each: -each.values)
    return {
        "labels": [
            {
                "section": each.section,
                "key_id": each.key_id,
                "version": each.version,
                "values": each.values,
            }
            for each in labels[:_KEPT_LABELS]
        ],
        "others": sum(each.values for each in labels[_KEPT_LABELS:]),
        "values": counted.values,
        "empty": counted.empty,
        "unreadable": counted.unreadable,
        "plaintexts": counted.plaintexts,
    }


def _label_count(labels: Sequence[Any], counts: Sequence[Any]) -> LabelCount:
    section, key_id, version = map(label_text, labels)
    values, oldest, undated, overdue, wrong = counts
    return LabelCount(
        section, key_id, version, int(values), oldest, int(undated), int(overdue), int(wrong)
    )


def _told_apart(count: LabelCount, known: Mapping[Labels, int]) -> list[LabelCount]:
    """Divide a group that may be of several sections into those that the ledger knows."""
    parts = []
    for name in count.section.split(OR) if OR in count.section else ():
        sure = min(count.values, known.get((name, count.key_id, count.version), 0))
        if sure:
            # Their common `oldest` is right for one of them, and no later than the others'.
            parts.append(
                attrs.evolve(
                    count,
                    section=name,
                    values=sure,
                    undated=min(count.undated, sure),
                    overdue=min(count.overdue, sure),
                    contradicting=0,
                )
            )
            count = attrs.evolve(count, values=count.values - sure)
    return [*parts, count] if count.values else parts


def _grouped(names: Iterable[sa.ColumnElement[Any]], layout: Layout) -> sa.Select[Any]:
    labelled = [name.label(f"g{index}") for index, name in enumerate(names)]
    places = [sa.text(str(index + 1)) for index in range(len(labelled))]
    return sa.select(*labelled).where(*layout.present).group_by(*places).order_by(*places)


def _dates(
    name: str | None, layout: Layout, before: datetime | None
) -> list[sa.ColumnElement[Any]]:
    if name is None:
        return [sa.null(), sa.func.count(), sa.literal(0)]
    column = layout.table.c[name]
    overdue = sa.false() if before is None else column < before
    return [sa.func.min(column), _sum(column.is_(None)), _sum(overdue)]


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _empty(
    connection: sa.Connection,
    layout: Layout,
    conditions: Sequence[sa.ColumnElement[bool]],
    given: Mapping[str, Any],
) -> int:
    if not layout.cell(layout.value).nullable:
        return 0
    where = [] if layout.where is None else [layout.where]
    without = sa.select(sa.func.count()).where(*where, layout.table.c[layout.value].is_(None))
    return int(connection.execute(without.where(*conditions), given).scalar_one())


def merged(groups: Iterable[LabelCount]) -> tuple[LabelCount, ...]:
    """Bring groups with the same labels together, as there are where something is unreadable."""
    found: dict[tuple[str, str, str], LabelCount] = {}
    for group in groups:
        labels = group.section, group.key_id, group.version
        found[labels] = found[labels].plus(group) if labels in found else group
    return tuple(found[labels] for labels in sorted(found))
