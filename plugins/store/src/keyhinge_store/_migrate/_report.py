"""What a migration tells: while it runs, and at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from keyhinge import KeyRef
from keyhinge_store._failure import RowFailure
from keyhinge_store._runs._info import RunInfo

__all__ = [
    "KeyCalls",
    "MigrationReport",
    "OnProgress",
    "Progress",
    "RowFailure",
    "Stop",
    "Tally",
    "stop_asked",
]

SHOWN_FAILURES = 100


@attrs.define
class KeyCalls:
    """How much a section was asked.

    Attributes:
        batches: Calls to the section's provider: one for a batch if it has a batch hook, else one
            for each value. A key service that takes batches needs about as many requests.
        values: Values in them. A key service without batches needs one request for each.
    """

    batches: int = 0
    values: int = 0


@attrs.frozen
class Progress:
    """A moment of a migration.

    Attributes:
        sweep: The pass over the table, counted from 1.
        matched: How many rows were to be moved at the start.
        done: How many rows were looked at in this sweep.
        moved: How many were moved (in a dry run: could be moved) so far.
        failed: How many failed in this sweep.
        elapsed: Seconds since the start.
        rate: Rows moved in a second, on average.
        table: The table.
        processes: How many processes work on it; those of the last seconds.
        all_matched: How many rows were to be moved when the first process started.
        all_moved: How many all processes together have moved.
        all_failed: How many failed for all processes together, in this sweep.
        time_left: Seconds until everything is moved, if it goes on like this; None where nothing
            was moved yet.
    """

    sweep: int
    matched: int
    done: int
    moved: int
    failed: int
    elapsed: float
    rate: float
    table: str = ""
    processes: int = 1
    all_matched: int = 0
    all_moved: int = 0
    all_failed: int = 0
    time_left: float | None = None


OnProgress = Callable[[Progress], None]
Stop = Callable[[], bool] | threading.Event
"""Says whether to stop: by returning True, or by being set."""


def stop_asked(stop: Stop | None) -> Callable[[], bool]:
    """Give a function that tells whether to stop."""
    if stop is None:
        return lambda: False
    return stop.is_set if isinstance(stop, threading.Event) else stop


@attrs.frozen(kw_only=True)
class MigrationReport:
    """What a migration did.

    Attributes:
        operation: "migrate", "rewrap" or "new-data-keys".
        source: The labels that were moved from; empty for everything but the target.
        target: The section that was moved to.
        target_key: The key and version that a rewrap brought values to.
        dry_run: Whether nothing was written.
        rows: Rows in the table at the start.
        matched: Rows that were to be moved, at the start.
        already: Rows that were at the target, at the start.
        moved: Rows that were moved. 0 in a dry run.
        verified: New values that were opened again and compared; what a real run would move.
        left: Rows that are still to be moved, beside those that failed.
        failed: Rows that can't be moved, in the last sweep.
        failures: The first of these.
        changed: How often a row was found changed by the application, so that its change won.
        gone: How often a row was found deleted.
        busy: How often a row was found locked by the application.
        calls: What the sections that may have to wait for a key service were asked; a dry run asks
            them the same. Of a section that builds on another one, as `envelope` does, it is what
            that one was asked: data keys, not values.
        sweeps: How often the table was gone through.
        settled: Whether the last sweep found nothing but failures.
        interrupted: Whether it was asked to stop before the end.
        duration: Seconds.
        table: The table; empty where there are several.
        unsettled: Whether it was given up, because applications kept it from coming to an end.
        reason: Why it was.
        run: What all processes together did; None in a dry run, and where there are several tables.
        price: What AWS KMS charges for the calls, in US dollars; None where it isn't asked.
        warnings: What was found at the start that doesn't stop it, but should be known.
        tables: The reports of the tables, where there are several.
    """

    operation: Literal["migrate", "rewrap", "new-data-keys"]
    source: tuple[str, ...]
    target: str
    target_key: KeyRef | None
    dry_run: bool
    rows: int
    matched: int
    already: int
    moved: int
    verified: int
    left: int
    failed: int
    failures: tuple[RowFailure, ...]
    changed: int
    gone: int
    busy: int
    calls: Mapping[str, KeyCalls]
    sweeps: int
    settled: bool
    interrupted: bool
    duration: float
    table: str = ""
    unsettled: bool = False
    reason: str = ""
    run: RunInfo | None = None
    price: float | None = None
    warnings: tuple[str, ...] = ()
    tables: tuple[MigrationReport, ...] = ()

    @property
    def run_id(self) -> int | None:
        """The run's number, as `keyhinge runs` shows it."""
        return None if self.run is None else self.run.run_id

    @property
    def matched_nothing(self) -> bool:
        """Whether there was no row at the source and none at the target either."""
        return self.matched == 0 and self.already == 0

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do, and nothing failed."""
        return self.settled and not self.left and not self.failed

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON."""
        told = attrs.asdict(self, recurse=False)
        told["target_key"] = None if self.target_key is None else attrs.asdict(self.target_key)
        told["failures"] = [attrs.asdict(failure) for failure in self.failures]
        told["calls"] = {name: attrs.asdict(calls) for name, calls in self.calls.items()}
        told["run"] = None if self.run is None else self.run.to_dict()
        told["tables"] = [table.to_dict() for table in self.tables]
        return {**told, "run_id": self.run_id, "matched_nothing": self.matched_nothing}


@attrs.define
class Tally:
    """Counts while a migration runs: all of one process, or those of one batch.

    Attributes:
        kept: So many of the rows that failed are named.
    """

    kept: int = SHOWN_FAILURES
    moved: int = 0
    verified: int = 0
    failed: int = 0
    failures: list[RowFailure] = attrs.field(factory=list)
    changed: int = 0
    gone: int = 0
    busy: int = 0
    done: int = 0
    sweeps: int = 0
    calls: dict[str, KeyCalls] = attrs.field(factory=dict)
    started: float = attrs.field(factory=time.monotonic)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False, eq=False)

    def start_sweep(self, number: int) -> None:
        """Begin a pass over the table. Failures are counted anew, as each pass meets them."""
        with self._lock:
            self.sweeps = number
            self.done = self.failed = 0
            self.failures.clear()

    def fail(self, failure: RowFailure) -> None:
        """Count a row that failed, and keep the first of them."""
        self.failed += 1
        if len(self.failures) < self.kept:
            self.failures.append(failure)

    def called(self, section: str, values: int, batches: int) -> None:
        """Count what a key service was asked, in so many calls."""
        calls = self.calls.setdefault(section, KeyCalls())
        calls.batches += batches
        calls.values += values

    def add_calls(self, batch: Tally) -> None:
        """Add what converting a batch has asked of the key services."""
        with self._lock:
            for section, calls in batch.calls.items():
                sum_ = self.calls.setdefault(section, KeyCalls())
                sum_.batches += calls.batches
                sum_.values += calls.values

    def add_converted(self, batch: Tally, rows: int) -> None:
        """Add a batch that is on its way to be written."""
        with self._lock:
            self.verified += batch.verified
            self.done += rows

    def add_written(self, batch: Tally) -> None:
        """Add what became of a batch."""
        with self._lock:
            self.moved += batch.moved
            self.changed += batch.changed
            self.gone += batch.gone
            self.busy += batch.busy
            self.failed += batch.failed
            self.failures += batch.failures[: self.kept - len(self.failures)]

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started
