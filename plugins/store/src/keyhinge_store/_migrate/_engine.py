"""Moving stored values: the functions that programs call."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from keyhinge import KeyManager, KeyRef
from keyhinge_store._errors import MigrationError
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout
from keyhinge_store._migrate._migration import Migration, Options
from keyhinge_store._migrate._patience import at_the_start
from keyhinge_store._migrate._plan import (
    Plan,
    count_sections,
    plan_migration,
    plan_new_data_keys,
    plan_rewrap,
)
from keyhinge_store._migrate._report import MigrationReport, OnProgress, Stop, stop_asked
from keyhinge_store._migrate._together import together
from keyhinge_store._stored import Stored, columns_of

__all__ = ["migrate", "rewrap"]

PATIENCE = 60.0
IN_FLIGHT = 3
_NOTICE = 3.0


@frameless
def migrate(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    source: Sequence[str] | None = None,
    target: str | None = None,
    not_primary: bool = False,
    allow_plaintext: bool = False,
    dry_run: bool = False,
    batch_size: int = 1000,
    max_sweeps: int | None = None,
    patience: float = PATIENCE,
    rate: float | None = None,
    max_errors: int | None = None,
    retry_failed: bool = False,
    workers_in_flight: int = IN_FLIGHT,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> MigrationReport:
    """Bring stored values from any sections to one, while applications go on reading and writing.

    Each value is decrypted, encrypted by the target, opened again by a second KeyManager and
    compared; then it replaces the old one, if nobody has changed the row meanwhile. Rows that
    applications have locked are not waited for. How far it is stands in tables of its own in the
    same database: started again after any end, it goes on with what is left, and started in
    several processes or on several machines, with PostgreSQL, they share the work.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.
        source: Sections to move from; None for everything that isn't at the target. Where a column
            is being adopted, what is still in it goes with "plaintext" and with any section that
            doesn't encrypt.
        target: The section to move to; None for the primary.
        not_primary: Let the target be another section than the primary.
        allow_plaintext: Let the target be a section that doesn't encrypt.
        dry_run: Do everything but write: decrypt, encrypt, verify, count.
        batch_size: Rows in a batch, which is one call to each key service and one transaction.
        max_sweeps: After how many times through the table a run is given up as unsettled, because
            applications keep it from coming to an end. None for 10, or for what the run that is
            joined has.
        patience: For how many seconds a key service or database that is away is waited for.
        rate: At most so many rows in a second, for all processes together. None for no limit, or
            for the one that the run has.
        max_errors: Stop when more rows than that have failed; None for any number.
        retry_failed: Try only the rows that failed in the last run to this target, also if it was
            abandoned. What that run didn't get to is `left`.
        workers_in_flight: How many batches are at a key service at the same time.
        on_progress: Called after each batch.
        stop: Asked after each batch; True, or a set event, ends the work after it.

    Returns:
        What was done, and what is left. Rows that failed are in it, not raised.

    Raises:
        MigrationError: It can't be started like this.
        MigrationRunningError: Another process moves the same values; SQLite has one at a time.
        MigrationStoppedError: It had to stop; `retryable` says whether just to try again.
        ConfigError: The target isn't configured, or can't be used.
        DatabaseError: The database failed before the start.
    """
    keys = store.keys if keys is None else keys
    options = _options(
        dry_run=dry_run,
        batch_size=batch_size,
        max_sweeps=max_sweeps,
        patience=patience,
        rate=rate,
        max_errors=max_errors,
        retry_failed=retry_failed,
        workers_in_flight=workers_in_flight,
        on_progress=on_progress,
        stop=stop,
    )

    def plan(layout: Layout, labels: dict[str, int]) -> Plan:
        return plan_migration(
            layout,
            keys,
            labels,
            source=source,
            target=target,
            not_primary=not_primary,
            allow_plaintext=allow_plaintext,
        )

    return _go(store, keys, plan, options)


@frameless
def rewrap(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    section: str | None = None,
    new_data_keys: bool = False,
    dry_run: bool = False,
    batch_size: int = 1000,
    max_sweeps: int | None = None,
    patience: float = PATIENCE,
    rate: float | None = None,
    max_errors: int | None = None,
    retry_failed: bool = False,
    workers_in_flight: int = IN_FLIGHT,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> MigrationReport:
    """Bring a section's stored values to the key and version that it encrypts with now.

    Which version that is, is settled at the start: rotating the key meanwhile ends the run.

    Args:
        store: Where the values are.
        keys: The configured sections; the store's own if None.
        section: The section; None for the primary.
        new_data_keys: Encrypt every value of the section anew, under data keys that are made for
            this run: for after a data key may have leaked. Otherwise a section with data keys,
            such as `envelope`, has these wrapped anew, and they stay the same.
        dry_run: As for `migrate`, like all that follow.
        batch_size: Rows in a batch.
        max_sweeps: How often to go through the table.
        patience: Seconds.
        rate: Rows a second.
        max_errors: How many rows may fail.
        retry_failed: Only what failed before.
        workers_in_flight: Batches at a key service.
        on_progress: Called after each batch.
        stop: Asked after each batch.

    Returns:
        What was done, and what is left.

    Raises:
        OperationError: The key service doesn't tell its current key.
        MigrationError: `new_data_keys`, and the section makes no data keys.
        KeyhingeError: As for `migrate`.
    """
    keys = store.keys if keys is None else keys
    section = keys.primary if section is None else section
    if new_data_keys and retry_failed:
        msg = (
            "retry_failed (--retry-failed) doesn't go with new_data_keys (--new-data-keys): which "
            "rows it has moved, a run forgets when it is over. Start it without"
        )
        raise MigrationError(msg)
    newest = _Newest(keys, section)
    options = _options(
        dry_run=dry_run,
        batch_size=batch_size,
        max_sweeps=max_sweeps,
        patience=patience,
        rate=rate,
        max_errors=max_errors,
        retry_failed=retry_failed,
        workers_in_flight=workers_in_flight,
        on_progress=on_progress,
        stop=stop,
    )

    def plan(layout: Layout, labels: dict[str, int]) -> Plan:
        if new_data_keys:
            return plan_new_data_keys(layout, labels, keys, section)
        return plan_rewrap(layout, labels, keys, section, newest.key())

    return _go(store, keys, plan, options)


def _go(
    store: Stored,
    keys: KeyManager,
    plan: Callable[[Layout, dict[str, int]], Plan],
    options: Options,
) -> MigrationReport:
    """Plan for all tables before the first is begun; then one after the other."""
    columns = columns_of(store)
    counted = [
        at_the_start(
            partial(column.run, partial(count_sections, layout=column.layout)), options.patience
        )
        for column in columns
    ]
    # A section that only one of the tables names is no slip.
    everywhere = dict(sum(map(Counter, counted), Counter[str]()))
    plans = [
        plan(column.layout, {**dict.fromkeys(everywhere, 0), **labels})
        for column, labels in zip(columns, counted, strict=True)
    ]
    migrations = [
        Migration(column, keys, each, labels, options)
        for column, each, labels in zip(columns, plans, counted, strict=True)
    ]
    return together(migrations)


def _options(*, stop: Stop | None, **options: object) -> Options:
    made = Options(**options, stop=stop_asked(stop))  # type: ignore[arg-type]
    if made.batch_size < 1:
        msg = "a batch has at least one row"
        raise ValueError(msg)
    if made.workers_in_flight < 1:
        msg = "workers_in_flight is at least 1"
        raise ValueError(msg)
    if made.rate is not None and made.rate <= 0:
        msg = "a rate is more than 0 rows a second"
        raise ValueError(msg)
    if made.max_sweeps is not None and made.max_sweeps < 1:
        msg = "max_sweeps is at least 1"
        raise ValueError(msg)
    return made


class _Newest:
    """What a section encrypts with now, whatever its KeyManager knew a moment ago; asked once.

    A provider may notice a rotation late. Believing it would end a rewrap with nothing done.
    """

    def __init__(self, keys: KeyManager, section: str) -> None:
        self._keys = keys
        self._section = section
        self._key: KeyRef | None = None

    def key(self) -> KeyRef:
        """Find it out."""
        if self._key is None:
            with self._keys.clone() as cold:
                self._key = cold.current_key(self._section)
            end = time.monotonic() + _NOTICE
            while self._keys.current_key(self._section) != self._key and time.monotonic() < end:
                time.sleep(0.05)
        return self._key
