"""Opening one stored value for each key that something is stored under: a check, not a proof."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import attrs
import sqlalchemy as sa

from keyhinge import KeyhingeError, KeyManager, OperationError, SectionNotConfiguredError
from keyhinge_store._any_text import sent
from keyhinge_store._codec import OR, PLAIN, Labels
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout, Row, label_text
from keyhinge_store._stored import Stored, columns_of
from keyhinge_store._trial import open_items

__all__ = ["Sample", "SampleReport", "samples"]

_MAX_ROWS = 1_000_000
_MAX_LABELS = 100
# Different labels that are read at all; ordinary tables have a handful.
_MAX_GROUPS = 10_000


@attrs.frozen
class Sample:
    """A stored value that was opened, or couldn't be, for all with the same labels.

    Attributes:
        table: The table's name.
        section: As the rows have it.
        key_id: As the rows have it.
        version: As the rows have it; empty where it wasn't recorded.
        values: How many rows have these labels, among those that were looked at.
        key: The primary key of the row that was tried, by column.
        configured: Whether the configuration has the section, and can use it.
        error: Why the value doesn't open; None if it does. It holds nothing of the value.
    """

    table: str
    section: str
    key_id: str
    version: str
    values: int
    key: Mapping[str, Any]
    configured: bool
    error: KeyhingeError | None

    @property
    def ok(self) -> bool:
        """Whether the value opened."""
        return self.error is None


@attrs.frozen
class SampleReport:
    """What came of opening a few stored values.

    Attributes:
        tables: The tables' names.
        values: How many rows were looked at.
        samples: One for each table, section, key id and version among them.
        complete: Whether these are all; otherwise a table was too large to look at every row's
            labels, or has more different ones than were asked for.
    """

    tables: tuple[str, ...]
    values: int
    samples: tuple[Sample, ...]
    complete: bool

    @property
    def ok(self) -> bool:
        """Whether every value that was tried opened."""
        return all(sample.ok for sample in self.samples)


@frameless
def samples(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    sections: Collection[str] | None = None,
    max_rows: int = _MAX_ROWS,
    max_labels: int = _MAX_LABELS,
) -> SampleReport:
    """Open one stored value for each section, key id and version that something is stored under.

    Reads the labels of each table once, then one row for each of them. The values are decrypted
    one by one and dropped. A section that doesn't answer is asked once.

    Args:
        store: Where the values are. Nothing is made or changed there.
        keys: The configured sections; the store's own if None.
        sections: Only values of these sections; of all, also those that aren't configured, if
            None.
        max_rows: How many rows' labels are read at most, in each table.
        max_labels: How many values are opened at most, in each table.

    Raises:
        TableMissingError: There is no such table.
        DatabaseMissingError: There is no such database.
        MappingError: A mapping doesn't fit its table.
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    opening = _Opening(keys)
    tables, found = [], []
    values, complete = 0, True
    for column in columns_of(store):
        layout = column.layout.for_keys(keys)
        looked = column.run(
            partial(
                _read, layout=layout, keys=keys, sections=sections, bounds=(max_rows, max_labels)
            )
        )
        tables.append(layout.table.fullname)
        found += [opening.sample(layout, *example) for example in looked.examples[:max_labels]]
        values += looked.values
        complete &= looked.values < max_rows and looked.groups < _MAX_GROUPS
        complete &= len(looked.examples) <= max_labels
    return SampleReport(tuple(dict.fromkeys(tables)), values, tuple(found), complete)


class _Group(NamedTuple):
    """Rows with the same labels.

    Attributes:
        cells: What they were grouped by.
        labels: The section, key id and version that this means.
        values: How many there are.
        first: The least that stands in the first column of their keys; None where the database
            has no least of these.
    """

    cells: tuple[Any, ...]
    labels: Labels
    values: int
    first: Any


class _Looked(NamedTuple):
    """What was found in a table."""

    values: int
    groups: int
    examples: list[tuple[_Group, Row]]


def _read(
    connection: sa.Connection,
    *,
    layout: Layout,
    keys: KeyManager,
    sections: Collection[str] | None,
    bounds: tuple[int, int],
) -> _Looked:
    max_rows, max_labels = bounds
    groups = _groups(connection, layout, max_rows)
    # A plaintext in a column that is being adopted needs no key: there is nothing to open.
    closed = [group for group in groups if group.labels[0] != PLAIN]
    wanted = [group for group in closed if _is_wanted(keys, group.labels[0], sections)]
    # A row that isn't there was moved or deleted a moment ago.
    examples = [(group, _example(connection, layout, group)) for group in wanted[: max_labels + 1]]
    there = [(group, row) for group, row in examples if row is not None]
    return _Looked(sum(group.values for group in groups), len(groups), there)


def _groups(connection: sa.Connection, layout: Layout, max_rows: int) -> list[_Group]:
    """Read which labels there are, how often, and where the first row of each may be."""
    grouped = layout.codec.groups(layout.table)
    names = [f"g{number}" for number in range(len(grouped))]
    cells = [cell.label(name) for cell, name in zip(grouped, names, strict=True)]
    key = layout.key[0]
    looked = (
        sa.select(*cells, layout.table.c[key].label("key"))
        .where(*layout.present)
        .limit(max_rows)
        .subquery("looked")
    )
    by = [looked.c[name] for name in names]
    first = sa.func.min(looked.c.key) if _has_least(layout, key) else sa.null()
    groups = sa.select(*by, sa.func.count(), first).group_by(*by).order_by(*by)
    return [
        _Group(tuple(row[:-2]), layout.codec.labels_of(row[:-2]), row[-2], row[-1])
        for row in connection.execute(groups.limit(_MAX_GROUPS))
    ]


def _has_least(layout: Layout, key: str) -> bool:
    """Tell whether every version of the database knows min() for such a column."""
    return layout.cell(key).kind in ("text", "integer")


def _example(connection: sa.Connection, layout: Layout, group: _Group) -> Row | None:
    """Read one row with these labels; with the first column of its key, an index may help."""
    cells = layout.codec.groups(layout.table)
    wanted = (
        sa.select(*(layout.selected(name) for name in layout.columns))
        .where(*layout.present)
        .where(
            *(c.is_not_distinct_from(_bound(x)) for c, x in zip(cells, group.cells, strict=True))
        )
        .limit(1)
    )
    if group.first is not None:
        wanted = wanted.where(layout.table.c[layout.key[0]] == _bound(group.first))
    return connection.execute(wanted).first()


def _bound(value: Any) -> Any:
    """Give what was read from a column as an expression to compare with."""
    given = sent(value)
    return value if given is value else sa.cast(sa.literal(given), sa.Text)


def _is_wanted(keys: KeyManager, label: object, sections: Collection[str] | None) -> bool:
    if sections is None:
        return True
    if not isinstance(label, str):
        return False
    # Where a row doesn't tell which of several sections made its value, there are several.
    return any(_own(keys, name, name) in sections for name in label.split(OR))


def _own(keys: KeyManager, label: str, unknown: str = "") -> str:
    """Name the section that a label means."""
    try:
        return keys.section_of(label)
    except SectionNotConfiguredError:
        return unknown


class _Opening:
    """Opens values one by one, and asks a section that is down only once."""

    def __init__(self, keys: KeyManager) -> None:
        self._keys = keys
        self._down: dict[str, OperationError] = {}

    def sample(self, layout: Layout, group: _Group, row: Row) -> Sample:
        section, key_id, version = map(label_text, group.labels)
        own = _own(self._keys, section.split(OR)[0])
        return Sample(
            table=layout.table.fullname,
            section=section,
            key_id=key_id,
            version=version,
            values=group.values,
            key={name: _shown(part) for name, part in layout.shown_key(row).items()},
            configured=own != "",
            error=self._down.get(own) or self._error(layout, row, own),
        )

    def _error(self, layout: Layout, row: Row, section: str) -> KeyhingeError | None:
        try:
            item = layout.item_of(row)
        except KeyhingeError as error:
            return error.with_traceback(None)
        [(_, outcome)] = open_items(layout.codec, [item], self._keys.decrypt_many)
        failure = outcome.error
        if failure is not None and failure.retryable:
            self._down[section] = failure
        return failure


def _shown(part: Any) -> Any:
    return part if isinstance(part, int) else label_text(part)
