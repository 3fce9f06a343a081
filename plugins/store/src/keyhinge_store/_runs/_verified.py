"""Verifications as runs, so that an auditor finds them beside the migrations."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta

import attrs
import sqlalchemy as sa

from keyhinge_store._errors import StoreError
from keyhinge_store._runs._evidence import VERIFY, keep
from keyhinge_store._runs._holder import actor
from keyhinge_store._runs._tables import RUN, has_state_tables
from keyhinge_store._runs._transact import moment_of, transaction

__all__ = ["OPERATION", "Checked", "record_checks"]

OPERATION = "verify"


@attrs.define
class Checked:
    """What came of opening the values of one column.

    Attributes:
        subject: The labels of table and column.
        table_name: The table, for people.
        values: Rows that were looked at.
        plaintexts: Plaintexts in a column that is being adopted.
        reasons: How many values didn't open, by the name of the error's class.
    """

    subject: str
    table_name: str
    values: int = 0
    plaintexts: int = 0
    reasons: dict[str, int] = attrs.field(factory=dict)

    @property
    def failed(self) -> int:
        """Values that didn't open."""
        return sum(self.reasons.values())

    @property
    def opened(self) -> int:
        """Values that did."""
        return self.values - self.failed - self.plaintexts

    def content(self) -> Mapping[str, object]:
        """Give the counts as JSON can hold them."""
        return {
            "values": self.values,
            "opened": self.opened,
            "plaintexts": self.plaintexts,
            "failed": self.failed,
            "reasons": self.reasons,
        }


def record_checks(
    engine: sa.Engine, checks: Iterable[Checked], *, seconds: float, reason: str
) -> bool:
    """Record a verification as runs, one for each column, if our tables are there. Never fails.

    Args:
        engine: The database.
        checks: What came of it.
        seconds: How long it took.
        reason: Why it isn't complete; "" if it is.

    Returns:
        Whether it was recorded.
    """
    with contextlib.suppress(sa.exc.SQLAlchemyError, StoreError):
        with engine.connect() as connection:
            if not has_state_tables(connection):
                return False
        with transaction(engine) as connection:
            for each in checks:
                _record(connection, each, seconds, reason)
        return True
    return False


def _record(connection: sa.Connection, checked: Checked, seconds: float, reason: str) -> None:
    ended = moment_of(connection)
    made = RUN.insert().values(
        subject=checked.subject,
        table_name=checked.table_name,
        operation=OPERATION,
        source=json.dumps([]),
        target="",
        digest="",
        state="abandoned" if reason else "finished",
        reason=reason,
        started_at=ended - timedelta(seconds=seconds),
        started_by=actor(),
        ended_at=ended,
        rows_at_start=checked.values,
        matched=checked.values,
        # Nothing is moved: what opened is where it should be.
        already=checked.opened,
        failed=checked.failed,
        tokens_at=0,
        max_sweeps=1,
        begun=True,
        clean=True,
        horizon=0,
        not_before=0,
        quiet=True,
        divided=True,
    )
    run_id = int(connection.execute(made.returning(RUN.c.run_id)).scalar_one())
    keep(connection, run_id, VERIFY, checked.content(), ended)
