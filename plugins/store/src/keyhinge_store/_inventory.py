"""Looking at what is stored: `status` counts by label, `verify` opens everything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import (
    ConfigError,
    Decrypt,
    KeyManager,
    KeyRef,
    OperationError,
    ProviderError,
    SectionNotConfiguredError,
)
from keyhinge_store._codec import PLAIN, UNREADABLE, Adopted
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout, Row, label_text
from keyhinge_store._migrate._reader import Reader
from keyhinge_store._migrate._report import SHOWN_FAILURES, RowFailure, Stop, stop_asked
from keyhinge_store._stored import Column, Stored, columns_of
from keyhinge_store._trial import open_items

__all__ = ["LabelStatus", "StatusReport", "TableStatus", "VerifyReport", "status", "verify"]

_PAGE_ROWS = 1000
_PAGE_BYTES = 8 * 1024 * 1024


@attrs.frozen
class LabelStatus:
    """The values with one section, key id and version.

    Attributes:
        section: As the rows have it.
        key_id: As the rows have it.
        version: As the rows have it; empty where it wasn't recorded.
        values: How many there are.
        oldest: The oldest `encrypted_at` among them.
        stale: Whether they aren't under the primary's current key; None where the key service
            doesn't tell that key now.
        configured: Whether the configuration has the section.
        encrypts: Whether the section encrypts; None if it isn't configured.
        table: The labels of table and column.
    """

    section: str
    key_id: str
    version: str
    values: int
    oldest: datetime | None
    stale: bool | None
    configured: bool
    encrypts: bool | None
    table: str


@attrs.frozen
class TableStatus:
    """The values of one encrypted column.

    Attributes:
        table: The labels of table and column.
        values: How many there are.
        empty: Rows in which the column is NULL.
        unreadable: Rows that hold no encrypted value, or one that says something else than the
            columns beside it.
        plaintexts: Rows that hold a plaintext still, in a column that is being adopted.
        bound: Whether the values have a context.
    """

    table: str
    values: int
    empty: int
    unreadable: int
    plaintexts: int
    bound: bool


@attrs.frozen
class StatusReport:
    """What is stored, by its labels. Nothing was decrypted.

    Attributes:
        primary: The section that encrypts now.
        current: Its current key; None where it doesn't tell it.
        current_error: Why it doesn't.
        values: Rows in all.
        labels: One entry for each section, key id and version.
        stale: Values that aren't under the current key; None where that isn't known.
        unreadable: Rows whose value doesn't begin with their own labels, so that it can't open.
        not_configured: Values whose section the configuration doesn't have.
        unencrypted: Values of sections that don't encrypt.
        oldest: The oldest `encrypted_at`.
        tables: One entry for each encrypted column; one alone for a store.
    """

    primary: str
    current: KeyRef | None
    current_error: str
    values: int
    labels: tuple[LabelStatus, ...]
    stale: int | None
    unreadable: int
    not_configured: int
    unencrypted: int
    oldest: datetime | None
    tables: tuple[TableStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON; times in ISO 8601."""
        return attrs.asdict(self, value_serializer=_plain)


@attrs.frozen
class VerifyReport:
    """What came of opening every stored value.

    Attributes:
        values: Rows that were looked at.
        opened: Values that opened.
        plaintexts: Plaintexts in columns that are being adopted; there is nothing to open.
        failed: Values that didn't.
        failures: The first of these.
        reasons: How many failed, by the name of the error's class.
        interrupted: Whether it was asked to stop before the end.
        duration: Seconds.
    """

    values: int
    opened: int
    plaintexts: int
    failed: int
    failures: tuple[RowFailure, ...]
    reasons: Mapping[str, int]
    interrupted: bool
    duration: float

    @property
    def ok(self) -> bool:
        """Whether every value opened."""
        return self.failed == 0 and not self.interrupted

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON."""
        return attrs.asdict(self)


def status(store: Stored, keys: KeyManager | None = None) -> StatusReport:
    """Count what is stored by section, key id and version.

    The database does the counting, so the memory goes by the number of keys, not of rows.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.

    Raises:
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    tables, groups = _count_all(columns_of(store), keys)
    current, problem = _current(keys)
    labels = tuple(_label(keys, current, name, group) for name, group in groups)
    dated = [label.oldest for label in labels if label.oldest is not None]
    return StatusReport(
        primary=keys.primary,
        current=current,
        current_error=problem,
        values=sum(label.values for label in labels),
        labels=labels,
        stale=None
        if any(label.stale is None for label in labels)
        else sum(label.values for label in labels if label.stale),
        unreadable=sum(table.unreadable for table in tables),
        tables=tables,
        not_configured=sum(label.values for label in labels if not label.configured),
        unencrypted=sum(label.values for label in labels if label.encrypts is False),
        oldest=min(dated, default=None),
    )


@frameless
def verify(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    batch_size: int = _PAGE_ROWS,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Stop | None = None,
) -> VerifyReport:
    """Open every stored value, and tell only how many opened.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.
        batch_size: Rows in a batch.
        on_progress: Called after each batch, with the rows so far and those that failed.
        stop: Asked after each batch; True, or a set event, ends it.

    Raises:
        OperationError: A key service doesn't answer for now; `retryable` is True.
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    columns = columns_of(store)
    for column in columns:
        column.run(lambda _: None)  # finds a missing or foreign table before the first page
    run = _Verification(keys)
    interrupted, asked = False, stop_asked(stop)
    for layout, rows in _pages(columns, keys, batch_size):
        run.look_at(layout, rows)
        if on_progress is not None:
            on_progress(run.values, run.failed)
        if asked():
            interrupted = True
            break
    return run.report(interrupted=interrupted)


def _pages(
    columns: Sequence[Column], keys: KeyManager, batch_size: int
) -> Iterator[tuple[Layout, list[Row]]]:
    for column in columns:
        layout = column.layout.for_keys(keys)
        pages = Reader(column.engine, layout, None, rows=batch_size, size=_PAGE_BYTES).pages()
        while rows := guarded(partial(next, pages, None)):
            yield layout, rows


class _Verification:
    def __init__(self, keys: KeyManager) -> None:
        self._keys = keys
        self._failures: list[RowFailure] = []
        self._reasons: dict[str, int] = {}
        self._started = time.monotonic()
        self.values = 0
        self.failed = 0
        self.plaintexts = 0

    def look_at(self, layout: Layout, rows: list[Row]) -> None:
        parsed: list[tuple[Row, Decrypt]] = []
        self.values += len(rows)
        for row in rows:
            try:
                item = layout.read(row)
            except OperationError as error:
                self._fail(layout, row, error)
            else:
                if isinstance(item, Adopted):
                    self.plaintexts += 1
                else:
                    parsed.append((row, item))
        items = [item for _, item in parsed]
        opened = open_items(layout.codec, items, self._keys.decrypt_many)
        for (row, _), (_, outcome) in zip(parsed, opened, strict=True):
            if outcome.error is not None:
                if outcome.error.retryable:
                    raise outcome.error.with_traceback(None)
                self._fail(layout, row, outcome.error)

    def _fail(self, layout: Layout, row: Row, error: OperationError) -> None:
        self.failed += 1
        reason = type(error).__name__
        self._reasons[reason] = self._reasons.get(reason, 0) + 1
        if len(self._failures) < SHOWN_FAILURES:
            key = layout.shown_key(row)
            self._failures.append(RowFailure(key, reason, str(error)))

    def report(self, *, interrupted: bool) -> VerifyReport:
        return VerifyReport(
            values=self.values,
            opened=self.values - self.failed - self.plaintexts,
            plaintexts=self.plaintexts,
            failed=self.failed,
            failures=tuple(self._failures),
            reasons=self._reasons,
            interrupted=interrupted,
            duration=time.monotonic() - self._started,
        )


_Group = tuple[str, tuple[Any, ...]]


def _count_all(
    columns: Sequence[Column], keys: KeyManager
) -> tuple[tuple[TableStatus, ...], list[_Group]]:
    tables, groups = [], []
    for column in columns:
        counted, empty = column.run(partial(_count, layout=column.layout.for_keys(keys)))
        layout = column.layout
        counts: Counter[str] = Counter()
        wrong = 0
        for group in counted:
            counts[str(group[0])] += group[3]
            wrong += group[5]
        tables.append(
            TableStatus(
                table=layout.name,
                values=sum(counts.values()),
                empty=empty,
                unreadable=counts[UNREADABLE] + wrong,
                plaintexts=counts[PLAIN],
                bound=layout.codec.bound,
            )
        )
        groups += [(layout.name, group) for group in counted]
    return tuple(tables), groups


def _count(connection: sa.Connection, layout: Layout) -> tuple[list[tuple[Any, ...]], int]:
    """Count by labels: section, key id, version, values, the oldest, and contradictions."""
    table, codec = layout.table, layout.codec
    names = codec.groups(table)
    oldest = sa.null() if layout.encrypted_at is None else sa.func.min(table.c[layout.encrypted_at])
    wrong = sa.func.sum(sa.case((codec.contradicts(table), 1), else_=0))
    inner = sa.select(*(name.label(f"g{index}") for index, name in enumerate(names)))
    wanted = (
        inner.add_columns(sa.func.count(), oldest, wrong)
        .where(*layout.present)
        .group_by(*(sa.text(str(index + 1)) for index in range(len(names))))
        .order_by(*(sa.text(str(index + 1)) for index in range(len(names))))
    )
    counted = [
        (*codec.labels_of(row[: len(names)]), int(row[-3]), row[-2], int(row[-1]))
        for row in connection.execute(wanted)
    ]
    empty = 0
    if layout.cell(layout.value).nullable:
        where = [] if layout.where is None else [layout.where]
        without = sa.select(sa.func.count()).where(*where, table.c[layout.value].is_(None))
        empty = int(connection.execute(without).scalar_one())
    return _merged(counted), empty


def _merged(groups: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Bring groups with the same labels together, as there are where something is unreadable."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for group in groups:
        labels, (values, oldest, wrong) = group[:3], group[3:]
        if labels in found:
            other = found[labels]
            dates = [date for date in (oldest, other[1]) if date is not None]
            values, oldest, wrong = values + other[0], min(dates, default=None), wrong + other[2]
        found[labels] = (values, oldest, wrong)
    return [(*labels, *rest) for labels, rest in found.items()]


def _label(
    keys: KeyManager, current: KeyRef | None, table: str, group: tuple[Any, ...]
) -> LabelStatus:
    section, key_id, version = map(label_text, group[:3])
    values, oldest = group[3:5]
    own, encrypts = None, None
    try:
        own = keys.section_of(section)
        encrypts = keys.capabilities(own).encrypts
    except SectionNotConfiguredError:
        encrypts = False if section == PLAIN else None
    stale: bool | None = True
    if own == keys.primary:
        stale = None if current is None else (key_id, version) != (current.key_id, current.version)
    return LabelStatus(
        section, key_id, version, values, oldest, stale, own is not None, encrypts, table
    )


def _current(keys: KeyManager) -> tuple[KeyRef | None, str]:
    try:
        return keys.current_key(), ""
    except (OperationError, ConfigError, ProviderError) as error:
        return None, str(error)


def _plain(_: object, __: object, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
