"""Counting what is stored: `status`, by section, key and version, and `ages`, by month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from keyhinge import (
    ConfigError,
    KeyManager,
    KeyRef,
    OperationError,
    ProviderError,
    SectionNotConfiguredError,
)
from keyhinge_store._about import SectionInfo, database_text, sections_of
from keyhinge_store._codec import OR, PLAIN, UNREADABLE
from keyhinge_store._counting import (
    Counted,
    LabelCount,
    count_labels,
    count_months,
    count_outside,
)
from keyhinge_store._errors_sql import guarded
from keyhinge_store._estimating import estimated_counts
from keyhinge_store._policy import BROKEN, NOT_KNOWN, cutoff, judge, key_age
from keyhinge_store._runs._history import first_seen
from keyhinge_store._stored import Column, Stored, columns_of
from keyhinge_store._table import now

__all__ = ["LabelStatus", "MonthCount", "StatusReport", "TableStatus", "ages", "status"]

T = TypeVar("T")


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
        undated: How many of them have no `encrypted_at`.
        overdue: How many have one that is longer ago than `max_key_age`; None without that.
        policy: Whether `max_key_age` is "kept" or "broken" by this key version, or "not known";
            None without that.
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
    undated: int
    overdue: int | None
    policy: str | None


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
        unversioned: Values whose key version wasn't recorded.
        undated: Values without an `encrypted_at`.
        outside: Values in rows that the mapping's `where` leaves out. They are in no other
            number, may be plaintexts, and aren't moved, opened or judged.
    """

    table: str
    values: int
    empty: int
    unreadable: int
    plaintexts: int
    bound: bool
    unversioned: int
    undated: int
    outside: int


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
        at: When it was counted.
        max_key_age: For how many seconds a key version may be in use; None for any time.
        overdue: Values that were encrypted longer ago than that; None without `max_key_age`.
        undated: Values without an `encrypted_at`.
        outside: Values in rows that a mapping's `where` leaves out; in no other number.
        database: The database's URL, without password and query.
        sections: The sections of the configuration.
        estimated: Whether the counts of a table are estimates, as they were asked for.
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
    at: datetime
    max_key_age: float | None
    overdue: int | None
    undated: int
    outside: int
    database: str
    sections: tuple[SectionInfo, ...]
    estimated: bool = False

    @property
    def policy(self) -> str | None:
        """Whether `max_key_age` is "kept" by all, "broken" by one, or "not known"; None without."""
        if self.max_key_age is None:
            return None
        found = {label.policy for label in self.labels}
        return next((word for word in (BROKEN, NOT_KNOWN) if word in found), "kept")

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON; times in ISO 8601."""
        return {**attrs.asdict(self, value_serializer=_plain), "policy": self.policy}


@attrs.frozen
class MonthCount:
    """Values by the month in which they were encrypted.

    Attributes:
        table: The labels of table and column.
        section: As the rows have it.
        month: As in "2026-01", in UTC; "" where it isn't known.
        values: How many there are.
    """

    table: str
    section: str
    month: str
    values: int


def status(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    max_key_age: timedelta | None = None,
    estimate: bool = False,
) -> StatusReport:
    """Count what is stored by section, key id and version.

    The database does the counting, so the memory goes by the number of keys, not of rows. It
    counts one part of a table after the other, in short transactions.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.
        max_key_age: For how long a key version may be in use; what the configuration says if None.
        estimate: Don't count large tables in PostgreSQL, but estimate from a sample of their pages.
            Labels that few values have may be missing. The age of keys isn't judged then.

    Raises:
        ValueError: Both `max_key_age` and `estimate`: a sample proves nothing about ages.
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    if estimate and max_key_age is not None:
        msg = "an estimate doesn't tell whether all keys are younger than max_key_age"
        raise ValueError(msg)
    at, longest = now(), None if estimate else key_age(keys, max_key_age)
    before = cutoff(at, longest)
    current, problem = _current(keys)
    columns = columns_of(store)
    # Rows that are written anew have new dates; an old inventory may know better.
    seen = {} if before is None else first_seen(columns[0].state)
    tables: list[TableStatus] = []
    labels: list[LabelStatus] = []
    estimated = False
    for column in columns:
        layout = column.layout.for_keys(keys)
        guess = scanned(column, partial(estimated_counts, layout=layout)) if estimate else None
        estimated |= guess is not None
        if guess is None:
            counted = scanned(column, partial(count_labels, layout=layout, before=before))
            outside = scanned(column, partial(count_outside, layout=layout))
        else:
            counted, outside = guess
        tables.append(_table(layout.name, counted, outside, bound=layout.codec.bound))
        for each in counted.labels:
            told = _label(keys, current, layout.name, each)
            if before is not None:
                first = seen.get((each.section, each.key_id, each.version))
                policy = judge(each, before, encrypts=told.encrypts, seen=first)
                told = attrs.evolve(told, overdue=each.overdue, policy=policy)
            labels.append(told)
    stale = [label.stale for label in labels]
    return StatusReport(
        primary=keys.primary,
        current=current,
        current_error=problem,
        values=sum(label.values for label in labels),
        labels=tuple(labels),
        stale=None if None in stale else sum(label.values for label in labels if label.stale),
        unreadable=sum(table.unreadable for table in tables),
        tables=tuple(tables),
        not_configured=sum(
            label.values
            for label in labels
            if not label.configured and label.section not in (PLAIN, UNREADABLE)
        ),
        unencrypted=sum(label.values for label in labels if label.encrypts is False),
        oldest=min((label.oldest for label in labels if label.oldest is not None), default=None),
        at=at,
        max_key_age=None if longest is None else longest.total_seconds(),
        overdue=None if before is None else sum(label.overdue or 0 for label in labels),
        undated=sum(label.undated for label in labels),
        outside=sum(table.outside for table in tables),
        database=database_text(columns[0].engine),
        sections=sections_of(keys),
        estimated=estimated,
    )


def ages(store: Stored, keys: KeyManager | None = None) -> list[MonthCount]:
    """Count what is stored by section and by the month in which it was encrypted.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.

    Returns:
        The counts, column by column, the oldest month first; those without a month at the end.

    Raises:
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    found: list[MonthCount] = []
    for column in columns_of(store):
        layout = column.layout.for_keys(keys)
        counted = scanned(column, partial(count_months, layout=layout))
        months = [MonthCount(layout.name, *group, values) for group, values in counted.items()]
        found += sorted(months, key=lambda each: (not each.month, each.month, each.section))
    return found


def scanned(column: Column, work: Callable[[sa.Connection], T]) -> T:
    """Do some work that ends its transactions itself, on a table that is known to be there."""
    column.run(lambda _: None)

    def scan() -> T:
        with column.state.connect() as connection:
            return work(connection)

    return guarded(scan)


def _table(name: str, counted: Counted, outside: int, *, bound: bool) -> TableStatus:
    return TableStatus(
        table=name,
        values=counted.values,
        empty=counted.empty,
        unreadable=counted.unreadable,
        plaintexts=counted.plaintexts,
        bound=bound,
        unversioned=sum(each.values for each in counted.labels if not each.version),
        undated=sum(each.undated for each in counted.labels),
        outside=outside,
    )


def _label(keys: KeyManager, current: KeyRef | None, table: str, count: LabelCount) -> LabelStatus:
    own: list[str] = []
    encrypts: bool | None = None
    try:
        # Where a row doesn't tell which of several sections made its value, there are several.
        own = [keys.section_of(name) for name in count.section.split(OR)]
        encrypts = all(keys.capabilities(name).encrypts for name in own)
    except SectionNotConfiguredError:
        encrypts = False if count.section == PLAIN else None
    stale: bool | None = True
    if keys.primary in own:
        key = (count.key_id, count.version)
        here = current is not None and key == (current.key_id, current.version)
        stale = None if current is None or (here and len(own) > 1) else not here
    return LabelStatus(
        section=count.section,
        key_id=count.key_id,
        version=count.version,
        values=count.values,
        oldest=count.oldest,
        stale=stale,
        configured=bool(own),
        encrypts=encrypts,
        table=table,
        undated=count.undated,
        overdue=None,
        policy=None,
    )


def _current(keys: KeyManager) -> tuple[KeyRef | None, str]:
    try:
        return keys.current_key(), ""
    except (OperationError, ConfigError, ProviderError) as error:
        return None, str(error)


def _plain(_: object, __: object, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
