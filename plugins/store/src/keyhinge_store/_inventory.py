"""Looking at what is stored: `status` counts by label, `verify` opens everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import (
    ConfigError,
    InvalidCiphertextError,
    KeyManager,
    KeyRef,
    OperationError,
    ProviderError,
    SectionNotConfiguredError,
)
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._layout import label_text
from keyhinge_store._migrate._reader import Reader
from keyhinge_store._migrate._report import SHOWN_FAILURES, RowFailure, Stop, stop_asked
from keyhinge_store._store import SecretStore

__all__ = ["LabelStatus", "StatusReport", "VerifyReport", "status", "verify"]

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
    """

    section: str
    key_id: str
    version: str
    values: int
    oldest: datetime | None
    stale: bool | None
    configured: bool
    encrypts: bool | None


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

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON; times in ISO 8601."""
        return attrs.asdict(self, value_serializer=_plain)


@attrs.frozen
class VerifyReport:
    """What came of opening every stored value.

    Attributes:
        values: Rows that were looked at.
        opened: Values that opened.
        failed: Values that didn't.
        failures: The first of these.
        reasons: How many failed, by the name of the error's class.
        interrupted: Whether it was asked to stop before the end.
        duration: Seconds.
    """

    values: int
    opened: int
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


def status(store: SecretStore, keys: KeyManager | None = None) -> StatusReport:
    """Count what is stored by section, key id and version.

    The database does the counting, so the memory goes by the number of keys, not of rows.

    Args:
        store: Where the values are.
        keys: The configured sections; the store's own if None.

    Raises:
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    groups, unreadable = store.run(lambda connection: _count(connection, store))
    current, problem = _current(keys)
    labels = tuple(_label(keys, current, group) for group in groups)
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
        unreadable=unreadable,
        not_configured=sum(label.values for label in labels if not label.configured),
        unencrypted=sum(label.values for label in labels if label.encrypts is False),
        oldest=min(dated, default=None),
    )


@frameless
def verify(
    store: SecretStore,
    keys: KeyManager | None = None,
    *,
    batch_size: int = _PAGE_ROWS,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Stop | None = None,
) -> VerifyReport:
    """Open every stored value, and tell only how many opened.

    Args:
        store: Where the values are.
        keys: The configured sections; the store's own if None.
        batch_size: Rows in a batch.
        on_progress: Called after each batch, with the rows so far and those that failed.
        stop: Asked after each batch; True, or a set event, ends it.

    Raises:
        OperationError: A key service doesn't answer for now; `retryable` is True.
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    store.run(lambda _: None)  # finds a missing or foreign table before the first page
    run = _Verification(store, keys)
    reader = Reader(store.engine, store.layout, None, rows=batch_size, size=_PAGE_BYTES)
    pages = reader.pages()
    interrupted, asked = False, stop_asked(stop)
    while rows := guarded(lambda: next(pages, None)):
        run.look_at(rows)
        if on_progress is not None:
            on_progress(run.values, run.failed)
        if asked():
            interrupted = True
            break
    return run.report(interrupted=interrupted)


class _Verification:
    def __init__(self, store: SecretStore, keys: KeyManager) -> None:
        self._layout = store.layout
        self._keys = keys
        self._failures: list[RowFailure] = []
        self._reasons: dict[str, int] = {}
        self._started = time.monotonic()
        self.values = 0
        self.failed = 0

    def look_at(self, rows: list[Any]) -> None:
        parsed = []
        self.values += len(rows)
        for row in rows:
            try:
                parsed.append((row, self._layout.item_of(row)))
            except InvalidCiphertextError as error:
                self._fail(row, error)
        opened = self._keys.decrypt_many([item for _, item in parsed])
        for (row, _), outcome in zip(parsed, opened, strict=True):
            if outcome.error is not None:
                if outcome.error.retryable:
                    raise outcome.error.with_traceback(None)
                self._fail(row, outcome.error)

    def _fail(self, row: Any, error: OperationError) -> None:
        self.failed += 1
        reason = type(error).__name__
        self._reasons[reason] = self._reasons.get(reason, 0) + 1
        if len(self._failures) < SHOWN_FAILURES:
            key = self._layout.shown_key(row)
            self._failures.append(RowFailure(key, reason, str(error)))

    def report(self, *, interrupted: bool) -> VerifyReport:
        return VerifyReport(
            values=self.values,
            opened=self.values - self.failed,
            failed=self.failed,
            failures=tuple(self._failures),
            reasons=self._reasons,
            interrupted=interrupted,
            duration=time.monotonic() - self._started,
        )


def _count(connection: sa.Connection, store: SecretStore) -> tuple[list[tuple[Any, ...]], int]:
    table, layout = store.layout.table, store.layout
    names = [table.c[name] for name in layout.labels]
    oldest = sa.null() if layout.encrypted_at is None else sa.func.min(table.c[layout.encrypted_at])
    groups = sa.select(*names, sa.func.count(), oldest).group_by(*names).order_by(*names)
    beginning: sa.ColumnElement[str] = sa.literal("kh1:")
    for name in names:
        beginning = beginning.concat(name).concat(":")
    value = table.c[layout.value]
    cut = sa.func.substr(value, 1, sa.func.length(beginning))
    other = cut.is_distinct_from(beginning)
    unreadable = sa.select(sa.func.count()).select_from(table).where(other)
    counted = [tuple(row) for row in connection.execute(groups)]
    return counted, int(connection.execute(unreadable).scalar_one())


def _label(keys: KeyManager, current: KeyRef | None, group: tuple[Any, ...]) -> LabelStatus:
    section, key_id, version = map(label_text, group[:3])
    values, oldest = group[3:]
    own, encrypts = None, None
    try:
        own = keys.section_of(section)
        encrypts = keys.capabilities(own).encrypts
    except SectionNotConfiguredError:
        pass
    stale: bool | None = True
    if own == keys.primary:
        stale = None if current is None else (key_id, version) != (current.key_id, current.version)
    return LabelStatus(section, key_id, version, values, oldest, stale, own is not None, encrypts)


def _current(keys: KeyManager) -> tuple[KeyRef | None, str]:
    try:
        return keys.current_key(), ""
    except (OperationError, ConfigError, ProviderError) as error:
        return None, str(error)


def _plain(_: object, __: object, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
