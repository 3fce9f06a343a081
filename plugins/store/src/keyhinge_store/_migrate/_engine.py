"""The loop of a migration: sweep after sweep until one finds nothing left to move."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from keyhinge import KeyManager, KeyRef
from keyhinge_store._errors import MigrationStoppedError, StoreError
from keyhinge_store._errors_sql import guarded, translated
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Key, Row
from keyhinge_store._migrate._apply import Applier
from keyhinge_store._migrate._convert import Converter, KeysFailedError
from keyhinge_store._migrate._in_order import InOrder
from keyhinge_store._migrate._patience import Patience, patiently
from keyhinge_store._migrate._plan import (
    Plan,
    count_matching,
    count_sections,
    plan_migration,
    plan_rewrap,
)
from keyhinge_store._migrate._reader import Reader
from keyhinge_store._migrate._report import MigrationReport, OnProgress, Stop, Tally, stop_asked
from keyhinge_store._migrate._write_postgresql import PostgresqlWriter
from keyhinge_store._migrate._write_sqlite import SqliteWriter
from keyhinge_store._migrate._writer import Writer
from keyhinge_store._store import SecretStore

__all__ = ["migrate", "rewrap"]

PAGE_BYTES = 8 * 1024 * 1024
PATIENCE = 60.0
_SWEEP_PAUSE = 0.2
_LONGEST_SWEEP_PAUSE = 3.0
_NOTICE = 3.0


@frameless
def migrate(
    store: SecretStore,
    keys: KeyManager | None = None,
    *,
    source: Sequence[str] | None = None,
    target: str | None = None,
    not_primary: bool = False,
    allow_plaintext: bool = False,
    dry_run: bool = False,
    batch_size: int = 1000,
    max_sweeps: int = 10,
    patience: float = PATIENCE,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> MigrationReport:
    """Bring stored values from any sections to one, while applications go on reading and writing.

    Each value is decrypted, encrypted by the target, opened again by a second KeyManager and
    compared; then it replaces the old one, if nobody has changed the row meanwhile. Rows that
    applications have locked are not waited for. Its only state is the rows themselves: started
    again after any end, it goes on with what is left.

    Args:
        store: Where the values are.
        keys: The configured sections; the store's own if None.
        source: Sections to move from; None for everything that isn't at the target.
        target: The section to move to; None for the primary.
        not_primary: Let the target be another section than the primary.
        allow_plaintext: Let the target be a section that doesn't encrypt.
        dry_run: Do everything but write: decrypt, encrypt, verify, count.
        batch_size: Rows in a batch, which is one call to each key service and one transaction.
        max_sweeps: How often to go through the table for rows that were busy or changed.
        patience: For how many seconds a key service or database that is away is waited for.
        on_progress: Called after each batch.
        stop: Asked after each batch; True, or a set event, ends the run after it.

    Returns:
        What was done, and what is left. Rows that failed are in it, not raised.

    Raises:
        MigrationError: It can't be started like this.
        MigrationStoppedError: It had to stop; `retryable` says whether just to try again.
        ConfigError: The target isn't configured, or can't be used.
        DatabaseError: The database failed before the start.
    """
    keys = store.keys if keys is None else keys
    labels = store.run(lambda connection: count_sections(connection, store.layout))
    plan = plan_migration(
        store.layout,
        keys,
        labels,
        source=source,
        target=target,
        not_primary=not_primary,
        allow_plaintext=allow_plaintext,
    )
    run = _Run(
        store.engine,
        keys,
        plan,
        dry_run=dry_run,
        batch_size=batch_size,
        patience=patience,
        on_progress=on_progress,
        stop=stop,
    )
    return run.go(max_sweeps)


@frameless
def rewrap(
    store: SecretStore,
    keys: KeyManager | None = None,
    *,
    section: str | None = None,
    dry_run: bool = False,
    batch_size: int = 1000,
    max_sweeps: int = 10,
    patience: float = PATIENCE,
    on_progress: OnProgress | None = None,
    stop: Stop | None = None,
) -> MigrationReport:
    """Bring a section's stored values to the key and version that it encrypts with now.

    Which version that is, is settled at the start: rotating the key meanwhile ends the run.

    Args:
        store: Where the values are.
        keys: The configured sections; the store's own if None.
        section: The section; None for the primary.
        dry_run: As for `migrate`, like all that follow.
        batch_size: Rows in a batch.
        max_sweeps: How often to go through the table.
        patience: Seconds.
        on_progress: Called after each batch.
        stop: Asked after each batch.

    Returns:
        What was done, and what is left.

    Raises:
        OperationError: The key service doesn't tell its current key.
        KeyhingeError: As for `migrate`.
    """
    keys = store.keys if keys is None else keys
    section = keys.primary if section is None else section
    labels = store.run(lambda connection: count_sections(connection, store.layout))
    plan = plan_rewrap(store.layout, labels, keys, section, _newest_key(keys, section))
    run = _Run(
        store.engine,
        keys,
        plan,
        dry_run=dry_run,
        batch_size=batch_size,
        patience=patience,
        on_progress=on_progress,
        stop=stop,
    )
    return run.go(max_sweeps)


def _newest_key(keys: KeyManager, section: str) -> KeyRef:
    """Find out what the section encrypts with now, whatever it knew a moment ago.

    A provider may notice a rotation late. Believing it would end a rewrap with nothing done.
    """
    with keys.clone() as cold:
        newest = cold.current_key(section)
    end = time.monotonic() + _NOTICE
    while keys.current_key(section) != newest and time.monotonic() < end:
        time.sleep(0.05)
    return newest


class _Run:
    """One migration from its start to its end."""

    def __init__(
        self,
        engine: sa.Engine,
        keys: KeyManager,
        plan: Plan,
        *,
        dry_run: bool,
        batch_size: int,
        patience: float,
        on_progress: OnProgress | None,
        stop: Stop | None,
    ) -> None:
        if batch_size < 1:
            msg = "a batch has at least one row"
            raise ValueError(msg)
        self._engine = engine
        self._keys = keys
        self._plan = plan
        self._dry_run = dry_run
        self._patience = patience
        self._on_progress = on_progress
        self._stop = stop_asked(stop)
        self._tally = Tally()
        self._writer = _writer(engine, plan)
        self._reader = Reader(engine, plan.layout, plan.condition, rows=batch_size, size=PAGE_BYTES)
        self._matched = self._count()
        stale = self._matched if plan.operation == "rewrap" else 0
        self._already = max(0, plan.already - stale)
        self._settled = False
        self._interrupted = False

    def go(self, max_sweeps: int) -> MigrationReport:
        """Sweep until settled, and report."""
        trouble: tuple[str, bool] | None = None
        try:
            with self._keys.clone() as cold:
                self._sweeps(cold, max_sweeps)
        except KeysFailedError as failure:
            trouble = (f"the keys failed: {failure.error}", failure.error.retryable)
        except sa.exc.SQLAlchemyError as error:
            problem = translated(error)
            retryable = isinstance(problem, StoreError) and problem.retryable
            trouble = (f"the database failed: {problem}", retryable)
        if trouble is None or self._interrupted:
            return self._report()
        message, retryable = trouble
        msg = f"{message}. Nothing is lost: {self._tally.moved} rows were moved; start it again"
        raise MigrationStoppedError(msg, report=self._report(), retryable=retryable)

    def _sweeps(self, cold: KeyManager, max_sweeps: int) -> None:
        converter = Converter(
            self._keys, cold, self._plan, self._tally, wait=self._wait, patience=self._patience
        )
        applier = Applier(
            self._engine,
            self._plan.layout,
            self._writer,
            self._tally,
            fail=lambda change, error, state: converter.failure(change.row, error, state),
            wait=self._wait,
            patience=self._patience,
        )
        for sweep in range(max_sweeps):
            before, troubled = self._tally.unsettled, self._tally.troubled
            self._sweep(converter, applier)
            if self._interrupted or self._dry_run:
                return
            if self._tally.unsettled == before:
                self._settled = True
                return
            # Whoever was using rows gets a moment; longer each time.
            if self._tally.troubled > troubled and not self._wait(_pause(sweep)):
                return

    def _sweep(self, converter: Converter, applier: Applier) -> None:
        self._tally.start_sweep()
        after: Key | None = None
        with InOrder(applier.apply, threaded=self._writer.threaded) as writes:
            while rows := self._page(after):
                changes = converter.convert(rows)
                if not self._dry_run:
                    writes.submit(changes)
                after = self._plan.layout.key_of(rows[-1])
                self._tally.done += len(rows)
                if self._on_progress is not None:
                    self._on_progress(self._tally.progress(self._matched))
                if not self._wait(self._writer.pause):
                    return

    def _page(self, after: Key | None) -> list[Row]:
        patience = Patience(self._patience, self._wait)
        return patiently(lambda: self._reader.page(after), patience)

    def _wait(self, seconds: float) -> bool:
        """Wait, in small steps so that a request to stop is heard. False if there was one."""
        end = time.monotonic() + seconds
        while True:
            if self._stop():
                self._interrupted = True
                return False
            rest = end - time.monotonic()
            if rest <= 0:
                return True
            time.sleep(min(rest, 0.1))

    def _count(self) -> int:
        def count() -> int:
            with self._engine.connect() as connection:
                return count_matching(connection, self._plan)

        return guarded(count)

    def _left(self) -> int:
        if self._settled:
            return 0
        if self._dry_run:
            return self._tally.verified
        # Those that failed are counted apart. After an interruption it is only known of some.
        return max(0, self._count_or_guess() - self._tally.failed)

    def _count_or_guess(self) -> int:
        try:
            return self._count()
        except StoreError:
            return self._matched - self._tally.moved

    def _report(self) -> MigrationReport:
        plan, tally = self._plan, self._tally
        return MigrationReport(
            operation=plan.operation,
            source=plan.source,
            target=plan.target,
            target_key=plan.target_key,
            dry_run=self._dry_run,
            rows=plan.rows,
            matched=self._matched,
            already=self._already,
            moved=tally.moved,
            verified=tally.verified,
            left=self._left(),
            failed=tally.failed,
            failures=tuple(tally.failures),
            changed=tally.changed,
            gone=tally.gone,
            busy=tally.busy,
            calls=tally.calls,
            sweeps=tally.sweeps,
            settled=self._settled,
            interrupted=self._interrupted,
            duration=time.monotonic() - tally.started,
        )


def _pause(sweep: int) -> float:
    return min(_SWEEP_PAUSE * 2.0**sweep, _LONGEST_SWEEP_PAUSE)


def _writer(engine: sa.Engine, plan: Plan) -> Writer:
    if engine.dialect.name == "postgresql":
        return PostgresqlWriter(engine, plan.layout)
    if engine.dialect.name == "sqlite":
        return SqliteWriter(engine, plan.layout)
    msg = f"migration works in PostgreSQL and SQLite, not in {engine.dialect.name}"
    raise StoreError(msg)
