"""What a migration tells: while it runs, and at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from keyhinge import KeyRef

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


@attrs.frozen
class RowFailure:
    """A row that was left as it is.

    Attributes:
        key: Its primary key, column by column.
        reason: The name of the error's class.
        message: The error's text, which holds no value.
        sqlstate: Where the database refused the row, its SQLSTATE.
    """

    key: Mapping[str, Any]
    reason: str
    message: str
    sqlstate: str = ""


@attrs.define
class KeyCalls:
    """How much a section was asked.

    Attributes:
        batches: Calls to the section with a batch. A key service that takes batches needs about
            as many requests.
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
    """

    sweep: int
    matched: int
    done: int
    moved: int
    failed: int
    elapsed: float
    rate: float


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
        operation: "migrate" or "rewrap".
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
            them the same.
        sweeps: How often the table was gone through.
        settled: Whether the last sweep found nothing but failures.
        interrupted: Whether it was asked to stop before the end.
        duration: Seconds.
    """

    operation: Literal["migrate", "rewrap"]
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
        return {**attrs.asdict(self), "matched_nothing": self.matched_nothing}


@attrs.define
class Tally:
    """Counts while a migration runs."""

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

    def start_sweep(self) -> None:
        """Begin a pass over the table. Failures are counted anew, as each pass meets them."""
        self.sweeps += 1
        self.done = self.failed = 0
        self.failures.clear()

    def fail(self, failure: RowFailure) -> None:
        """Count a row that failed, and keep the first of them."""
        with self._lock:  # batches are converted and written at the same time
            self.failed += 1
            if len(self.failures) < SHOWN_FAILURES:
                self.failures.append(failure)

    def called(self, section: str, values: int) -> None:
        """Count a batch that a key service was asked."""
        calls = self.calls.setdefault(section, KeyCalls())
        calls.batches += 1
        calls.values += values

    @property
    def unsettled(self) -> int:
        """A figure that stays the same over a sweep that found nothing but failures."""
        return self.moved + self.changed + self.gone + self.busy

    @property
    def troubled(self) -> int:
        """How often a row couldn't be written because somebody else was using it."""
        return self.changed + self.busy

    def progress(self, matched: int) -> Progress:
        """Describe this moment."""
        elapsed = time.monotonic() - self.started
        moved = max(self.moved, self.verified)
        rate = moved / elapsed if elapsed > 0 else 0.0
        return Progress(self.sweeps, matched, self.done, moved, self.failed, elapsed, rate)
