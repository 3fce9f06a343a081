"""Opening everything that is stored: `verify` tells how many values open, and shows none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import Decrypt, EncryptedValue, KeyManager, OperationError
from keyhinge_store._codec import Adopted
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._migrate._report import SHOWN_FAILURES, RowFailure, Stop, stop_asked
from keyhinge_store._reader import Reader
from keyhinge_store._resolver import Resolver
from keyhinge_store._runs._verified import Checked, record_checks
from keyhinge_store._stored import Column, Stored, columns_of
from keyhinge_store._trial import open_items

__all__ = ["VerifyReport", "verify"]

_Known = Callable[[Sequence[tuple[Row, Decrypt]]], dict[Key, EncryptedValue]]

_PAGE_ROWS = 1000
_PAGE_BYTES = 8 * 1024 * 1024


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
        recorded: Whether it is among the `runs` of the database, as "verify": if our own tables
            are there, and may be written.
    """

    values: int
    opened: int
    plaintexts: int
    failed: int
    failures: tuple[RowFailure, ...]
    reasons: Mapping[str, int]
    interrupted: bool
    duration: float
    recorded: bool = False

    @property
    def ok(self) -> bool:
        """Whether every value opened."""
        return self.failed == 0 and not self.interrupted

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON."""
        return attrs.asdict(self)


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
    for column in columns:
        run.begin(column.layout)
    interrupted, asked = False, stop_asked(stop)
    for known, layout, rows in _pages(columns, keys, batch_size):
        run.look_at(known, layout, rows)
        if on_progress is not None:
            on_progress(run.values, run.failed)
        if asked():
            interrupted = True
            break
    return run.report(columns[0].state, interrupted=interrupted)


def _pages(
    columns: Sequence[Column], keys: KeyManager, batch_size: int
) -> Iterator[tuple[_Known, Layout, list[Row]]]:
    for column in columns:
        layout = column.layout.for_keys(keys)
        pages = Reader(column.state, layout, None, rows=batch_size, size=_PAGE_BYTES).pages()
        known = partial(Resolver(layout).known, column.state)
        while rows := guarded(partial(next, pages, None)):
            yield known, layout, rows


class _Verification:
    def __init__(self, keys: KeyManager) -> None:
        self._keys = keys
        self._failures: list[RowFailure] = []
        self._checks: dict[str, Checked] = {}
        self._started = time.monotonic()

    @property
    def values(self) -> int:
        return sum(each.values for each in self._checks.values())

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self._checks.values())

    def look_at(self, known: _Known, layout: Layout, rows: list[Row]) -> None:
        checked = self.begin(layout)
        parsed: list[tuple[Row, Decrypt]] = []
        checked.values += len(rows)
        for row in rows:
            try:
                item = layout.read(row)
            except OperationError as error:
                self._fail(layout, row, error)
            else:
                if isinstance(item, Adopted):
                    checked.plaintexts += 1
                else:
                    parsed.append((row, item))
        sure = guarded(partial(known, parsed))
        items = [
            Decrypt(sure.get(layout.key_of(row), item.value), item.context) for row, item in parsed
        ]
        opened = open_items(layout.codec, items, self._keys.decrypt_many)
        for (row, _), (_, outcome) in zip(parsed, opened, strict=True):
            if outcome.error is not None:
                if outcome.error.retryable:
                    raise outcome.error.with_traceback(None)
                self._fail(layout, row, outcome.error)

    def begin(self, layout: Layout) -> Checked:
        made = Checked(layout.name, layout.table.fullname)
        return self._checks.setdefault(layout.name, made)

    def _fail(self, layout: Layout, row: Row, error: OperationError) -> None:
        reason = type(error).__name__
        reasons = self.begin(layout).reasons
        reasons[reason] = reasons.get(reason, 0) + 1
        if len(self._failures) < SHOWN_FAILURES:
            key = layout.shown_key(row)
            self._failures.append(RowFailure(key, reason, str(error)))

    def report(self, engine: sa.Engine, *, interrupted: bool) -> VerifyReport:
        checks = self._checks.values()
        duration = time.monotonic() - self._started
        reason = "stopped before the end" if interrupted else ""
        return VerifyReport(
            values=self.values,
            opened=sum(each.opened for each in checks),
            plaintexts=sum(each.plaintexts for each in checks),
            failed=self.failed,
            failures=tuple(self._failures),
            reasons=dict(sum((Counter(each.reasons) for each in checks), Counter[str]())),
            interrupted=interrupted,
            duration=duration,
            recorded=record_checks(engine, checks, seconds=duration, reason=reason),
        )
