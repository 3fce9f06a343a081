"""Going through the columns: preparing all of them, or swapping all of them in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import sqlalchemy as sa

from keyhinge_store._errors import MigrationStoppedError, StoreError
from keyhinge_store._errors_sql import translated
from keyhinge_store._mapped import MappedColumn
from keyhinge_store._migrate._keys_failed import KeysFailedError
from keyhinge_store._migrate._work import TooManyFailuresError
from keyhinge_store._migrate._writer import AlteredError
from keyhinge_store._runs._tables import create_state_tables
from keyhinge_store._staged._options import Waiter
from keyhinge_store._staged._others import refuse_others
from keyhinge_store._staged._report import StagedReport, add_up
from keyhinge_store._staged._stage import Stage
from keyhinge_store._staged._swap import MisfitError, Swapped, find_swapped, swap_in
from keyhinge_store._stored import Column

__all__ = ["Work"]

# So often the swap is tried, each time after what has changed meanwhile is made anew.
_TRIES = 3


class Work:
    """Goes through the columns."""

    def __init__(self, columns: Sequence[Column], stages: Sequence[Stage], wait: Waiter) -> None:
        self._columns = columns
        self._stages = stages
        self._wait = wait
        self._started = time.monotonic()
        self._unknown = False

    def stopping(self, work: Callable[[], StagedReport]) -> StagedReport:
        """Do some work; what ends it becomes an error with a report."""
        retryable = False
        try:
            return work()
        except KeysFailedError as failure:
            trouble, retryable = f"the keys failed: {failure.error}", failure.error.retryable
        except TooManyFailuresError:
            trouble = "more rows failed than may"
        except AlteredError:
            trouble = "a trigger changed a new value on its way into the table"
        except MisfitError as misfit:
            trouble, retryable = f"{misfit}; is the application stopped?", misfit.passing
        except sa.exc.SQLAlchemyError as error:
            problem = translated(error)
            retryable = isinstance(problem, StoreError) and problem.retryable
            trouble = f"the database failed: {problem}"
        if self._wait.interrupted:
            return self._report()
        state = "The table is as it was, and what is prepared stays prepared"
        if self._unknown:
            state = "Either all of it is swapped in, or nothing: the same command again finds out"
        msg = f"{trouble}. {state}"
        raise MigrationStoppedError(msg, report=self._report(), retryable=retryable)

    def prepare(self, *, going_on: bool) -> StagedReport:
        """Make the new values that are missing.

        Args:
            going_on: Whether a preparation is under way.
        """
        self._look()
        if going_on or any(stage.matched for stage in self._stages):
            self._begin()
            self._refresh()
        return self._report()

    def swap(self, *, leave_failed: bool, seconds: float, alone: bool) -> StagedReport:
        """Make the new values that are missing, and swap all of them in."""
        self._look()
        self._begin()
        for tries in range(1, _TRIES + 1):
            if not self._refresh() or (not leave_failed and any(s.failed for s in self._stages)):
                return self._report()
            for stage in self._stages:
                stage.prove()
            if alone:
                refuse_others(self._columns[0].engine)
            before = time.monotonic()
            try:
                found = swap_in(self._stages, leave_failed=leave_failed, seconds=seconds)
            except MisfitError as misfit:
                if not misfit.passing or tries == _TRIES:
                    raise
                continue
            except sa.exc.SQLAlchemyError:
                found = self._swapped_after_all()
                if not found:
                    raise
            return self._swapped(found, time.monotonic() - before)
        raise AssertionError

    def _swapped_after_all(self) -> list[Swapped]:
        """Look what became of a transaction that broke off: its commit may have happened.

        Raises:
            SQLAlchemyError: The database doesn't tell.
        """
        try:
            return self._stages[0].patiently(partial(find_swapped, self._stages))
        except sa.exc.SQLAlchemyError:
            self._unknown = True
            raise

    def _look(self) -> None:
        for stage in self._stages:
            stage.look()

    def _begin(self) -> None:
        for column in self._columns:
            if isinstance(column, MappedColumn):
                column.pin()
        create_state_tables(self._columns[0])
        for stage in self._stages:
            stage.begin()

    def _refresh(self) -> bool:
        return all(stage.refresh() for stage in self._stages)

    def _report(self) -> StagedReport:
        reports = [stage.report() for stage in self._stages]
        return add_up(reports, **self._whole())

    def _swapped(self, found: Sequence[Swapped], seconds: float) -> StagedReport:
        reports = [
            attrs.evolve(
                stage.report(),
                state="swapped",
                swapped=each.rows,
                left=each.left,
                dropped=each.dropped,
                run_id=each.run_id,
            )
            for stage, each in zip(self._stages, found, strict=True)
        ]
        return add_up(reports, locked=seconds, **self._whole())

    def _whole(self) -> dict[str, float | bool]:
        duration = time.monotonic() - self._started
        return {"interrupted": self._wait.interrupted, "duration": duration}
