"""The report that an auditor asks for: what there is, which runs there were, what they did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from keyhinge import KeyManager
from keyhinge_store._inventory import StatusReport, status
from keyhinge_store._runs._history import Kept, Past, history
from keyhinge_store._runs._info import RunInfo
from keyhinge_store._runs._verified import OPERATION as VERIFY
from keyhinge_store._stored import Stored, columns_of

__all__ = ["AuditReport", "Inventory", "LabelChange", "RunEvidence", "report"]


@attrs.frozen
class Inventory:
    """What a column held at a moment of a run.

    Attributes:
        taken_at: When it was counted, by the database's clock.
        values: All values.
        empty: Rows in which the column was NULL.
        unreadable: Rows that held no encrypted value, or one that contradicted its columns.
        plaintexts: Rows that held a plaintext still, in a column that was being adopted.
        others: Values of labels that were too many to be kept one by one.
    """

    taken_at: datetime
    values: int
    empty: int
    unreadable: int
    plaintexts: int
    others: int


@attrs.frozen
class LabelChange:
    """How many values one section, key id and version had before and after a run.

    Attributes:
        section: As the rows have it.
        key_id: As the rows have it.
        version: As the rows have it.
        before: Values at the start; None if no inventory was taken then.
        after: Values at the end; None if the run hasn't ended, or no inventory was taken then.
    """

    section: str
    key_id: str
    version: str
    before: int | None
    after: int | None


@attrs.frozen
class RunEvidence:
    """A run, and what is kept of it.

    Attributes:
        run: The run, with those who took part in it.
        before: The inventory at its start; None if there is none, as for a verification.
        after: The inventory at its end; None if there is none.
        labels: Values by section, key id and version, before and after. What applications wrote
            meanwhile is in them.
        verified: Values that were opened again: before they were written, or, in a verification,
            where they stand.
        reasons: How many rows failed, by reason, as far as they are named one by one.
        duration: Seconds; None while it is under way.
    """

    run: RunInfo
    before: Inventory | None
    after: Inventory | None
    labels: tuple[LabelChange, ...]
    verified: int
    reasons: Mapping[str, int]
    duration: float | None


@attrs.frozen
class AuditReport:
    """What is stored now, and what was done in a time.

    Attributes:
        at: When it was made.
        since: The time's first moment.
        until: The first moment behind it.
        status: What is stored now, with the policy on the age of keys.
        runs: The runs that were under way at any moment of that time, the oldest first.
    """

    at: datetime
    since: datetime
    until: datetime
    status: StatusReport
    runs: tuple[RunEvidence, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON; times in ISO 8601."""
        told = attrs.asdict(self, value_serializer=_plain)
        return {**told, "status": self.status.to_dict()}


def report(
    store: Stored,
    keys: KeyManager | None = None,
    *,
    since: datetime,
    until: datetime | None = None,
    max_key_age: timedelta | None = None,
) -> AuditReport:
    """Tell what is stored now, and which runs there were in a time. Nothing is decrypted.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        keys: The configured sections; the store's own if None.
        since: The time's first moment, with its time zone.
        until: The first moment behind it; now if None.
        max_key_age: For how long a key version may be in use; what the configuration says if None.

    Raises:
        ValueError: A moment has no time zone, or the time ends before it begins.
        DatabaseError: The database failed.
    """
    found = status(store, keys, max_key_age=max_key_age)
    until = found.at if until is None else until
    if since.tzinfo is None or until.tzinfo is None:
        msg = "since and until need a time zone"
        raise ValueError(msg)
    if until <= since:
        msg = "the time ends before it begins"
        raise ValueError(msg)
    # A run that starts at this moment is in it, whichever clock is ahead.
    end = until + timedelta(seconds=1) if until == found.at else until
    past = history(columns_of(store)[0].state, since, end)
    return AuditReport(found.at, since, until, found, tuple(map(_evidence, past)))


def _evidence(past: Past) -> RunEvidence:
    run = past.run
    return RunEvidence(
        run=run,
        before=_inventory(past.before),
        after=_inventory(past.after),
        labels=_changes(past.before, past.after),
        verified=run.already if run.operation == VERIFY else run.moved,
        reasons=past.reasons,
        duration=None if run.ended_at is None else (run.ended_at - run.started_at).total_seconds(),
    )


def _inventory(kept: Kept | None) -> Inventory | None:
    if kept is None:
        return None
    taken_at, content = kept
    names = ("values", "empty", "unreadable", "plaintexts", "others")
    return Inventory(taken_at, *(int(content.get(name, 0)) for name in names))


def _changes(before: Kept | None, after: Kept | None) -> tuple[LabelChange, ...]:
    counts = [_by_label(before), _by_label(after)]
    names = dict.fromkeys(name for count in counts for name in count or ())
    return tuple(
        LabelChange(*name, *(None if count is None else count.get(name, 0) for count in counts))
        for name in sorted(names)
    )


def _by_label(kept: Kept | None) -> dict[tuple[str, str, str], int] | None:
    if kept is None:
        return None
    return {
        (label["section"], label["key_id"], label["version"]): int(label["values"])
        for label in kept[1].get("labels", ())
    }


def _plain(_: object, __: object, value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
