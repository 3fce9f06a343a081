"""The data keys that a run's processes have made: a row under one of them was moved already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from keyhinge_store._runs._tables import DATA_KEY

__all__ = ["enter_data_keys", "made_by"]

_NAMES_PER_STATEMENT = 400


def enter_data_keys(connection: sa.Connection, run_id: int, names: Iterable[str]) -> None:
    """Enter data keys, in the transaction that writes values under them."""
    rows = [{"run_id": run_id, "name": name} for name in sorted(set(names))]
    if not rows:
        return
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(DATA_KEY).on_conflict_do_nothing(), rows)


def made_by(connection: sa.Connection, run_id: int, names: Iterable[str]) -> set[str]:
    """Tell which of these data keys a run's processes have made."""
    asked = sorted(set(names))
    found: set[str] = set()
    for start in range(0, len(asked), _NAMES_PER_STATEMENT):
        chunk = asked[start : start + _NAMES_PER_STATEMENT]
        known = sa.select(DATA_KEY.c.name).where(
            DATA_KEY.c.run_id == run_id, DATA_KEY.c.name.in_(chunk)
        )
        found.update(connection.execute(known).scalars())
    return found
