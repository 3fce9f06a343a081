"""Opening one stored value for each key that something is stored under: a check, not a proof."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import attrs
import sqlalchemy as sa

from keyhinge import KeyhingeError, KeyManager, OperationError, SectionNotConfiguredError
from keyhinge_store._any_text import sent
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout, Row, label_text
from keyhinge_store._store import SecretStore

__all__ = ["Sample", "SampleReport", "samples"]

_MAX_ROWS = 1_000_000
_MAX_LABELS = 100
# Different labels that are read at all; ordinary tables have a handful.
_MAX_GROUPS = 10_000


@attrs.frozen
class Sample:
    """A stored value that was opened, or couldn't be, for all with the same labels.

    Attributes:
        section: As the rows have it.
        key_id: As the rows have it.
        version: As the rows have it; empty where it wasn't recorded.
        values: How many rows have these labels, among those that were looked at.
        account_id: The row that was tried.
        secret_id: The row that was tried.
        configured: Whether the configuration has the section, and can use it.
        error: Why the value doesn't open; None if it does. It holds nothing of the value.
    """

    section: str
    key_id: str
    version: str
    values: int
    account_id: str
    secret_id: str
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
        table: The table's name.
        values: How many rows were looked at.
        samples: One for each section, key id and version among them.
        complete: Whether these are all; otherwise the table was too large to look at every row's
            labels, or has more different ones than were asked for.
    """

    table: str
    values: int
    samples: tuple[Sample, ...]
    complete: bool

    @property
    def ok(self) -> bool:
        """Whether every value that was tried opened."""
        return all(sample.ok for sample in self.samples)


@frameless
def samples(
    store: SecretStore,
    keys: KeyManager | None = None,
    *,
    sections: Collection[str] | None = None,
    max_rows: int = _MAX_ROWS,
    max_labels: int = _MAX_LABELS,
) -> SampleReport:
    """Open one stored value for each section, key id and version that something is stored under.

    Reads the labels of the table once, then one row for each of them by its primary key. The
    values are decrypted one by one and dropped. A section that doesn't answer is asked once.

    Args:
        store: Where the values are. Nothing is made or changed there.
        keys: The configured sections; the store's own if None.
        sections: Only values of these sections; of all, also those that aren't configured, if
            None.
        max_rows: How many rows' labels are read at most.
        max_labels: How many values are opened at most.

    Raises:
        TableMissingError: There is no such table.
        DatabaseMissingError: There is no such database.
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    bounds = {"max_rows": max_rows, "max_labels": max_labels}
    groups, rows = store.run(
        lambda connection: _read(connection, store.layout, keys, sections=sections, **bounds)
    )
    values = sum(group.values for group in groups)
    opening = _Opening(keys, store.layout)
    return SampleReport(
        table=store.layout.table.fullname,
        values=values,
        samples=tuple(opening.sample(group, row) for group, row in rows[:max_labels]),
        complete=values < max_rows and len(groups) < _MAX_GROUPS and len(rows) <= max_labels,
    )


class _Group(NamedTuple):
    section: Any
    key_id: Any
    version: Any
    values: int
    account_id: Any


def _read(
    connection: sa.Connection,
    layout: Layout,
    keys: KeyManager,
    *,
    sections: Collection[str] | None,
    max_rows: int,
    max_labels: int,
) -> tuple[list[_Group], list[tuple[_Group, Row]]]:
    groups = _groups(connection, layout, max_rows)
    wanted = [group for group in groups if _is_wanted(keys, group.section, sections)]
    # A row that isn't there was moved or deleted a moment ago.
    examples = [(group, _example(connection, layout, group)) for group in wanted[: max_labels + 1]]
    return groups, [(group, row) for group, row in examples if row is not None]


def _groups(connection: sa.Connection, layout: Layout, max_rows: int) -> list[_Group]:
    """Read which labels there are, how often, and the first account of each."""
    table = layout.table
    names = [table.c[name] for name in layout.labels]
    looked = sa.select(*names, table.c.account_id).limit(max_rows).subquery("looked")
    labels = [looked.c[name] for name in layout.labels]
    first = sa.func.min(looked.c.account_id)
    groups = sa.select(*labels, sa.func.count(), first).group_by(*labels).order_by(*labels)
    return [_Group._make(row) for row in connection.execute(groups.limit(_MAX_GROUPS))]


def _example(connection: sa.Connection, layout: Layout, group: _Group) -> Row | None:
    """Read one row with these labels; the primary key begins with the account."""
    table = layout.table
    named = zip(layout.labels, group[:3], strict=True)
    wanted = (
        sa.select(*(table.c[name] for name in layout.columns))
        .where(table.c.account_id == _bound(group.account_id))
        .where(*(table.c[name].is_not_distinct_from(_bound(label)) for name, label in named))
        .limit(1)
    )
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
    try:
        return keys.section_of(label) in sections
    except SectionNotConfiguredError:
        return label in sections


class _Opening:
    """Opens values one by one, and asks a section that is down only once."""

    def __init__(self, keys: KeyManager, layout: Layout) -> None:
        self._keys = keys
        self._layout = layout
        self._down: dict[str, OperationError] = {}

    def sample(self, group: _Group, row: Row) -> Sample:
        section, key_id, version = map(label_text, group[:3])
        account_id, secret_id = map(label_text, self._layout.key_of(row))
        try:
            own = self._keys.section_of(section)
        except SectionNotConfiguredError:
            own = ""
        return Sample(
            section=section,
            key_id=key_id,
            version=version,
            values=group.values,
            account_id=account_id,
            secret_id=secret_id,
            configured=own != "",
            error=self._down.get(own) or self._error(row, own),
        )

    def _error(self, row: Row, section: str) -> KeyhingeError | None:
        try:
            item = self._layout.item_of(row)
            self._keys.decrypt(item.value, context=item.context)
        except KeyhingeError as error:
            failure = error.with_traceback(None)
        else:
            return None
        if isinstance(failure, OperationError) and failure.retryable:
            self._down[section] = failure
        return failure
