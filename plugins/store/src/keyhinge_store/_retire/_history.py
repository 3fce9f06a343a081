"""What the tables of migrations know: which sections there were, and what is under way."""

from __future__ import annotations

import json

import sqlalchemy as sa

from keyhinge_store._layout import Layout
from keyhinge_store._runs._tables import EVIDENCE, LEDGER, RUN, has_state_tables

__all__ = ["is_running", "names_seen"]


def is_running(connection: sa.Connection, layout: Layout) -> bool:
    """Tell whether a migration of a column is under way."""
    if not has_state_tables(connection):
        return False
    active = sa.select(RUN.c.run_id).where(RUN.c.subject == layout.name, RUN.c.state == "active")
    return connection.execute(active.limit(1)).first() is not None


def names_seen(connection: sa.Connection) -> set[str]:
    """Name the sections that migrations came from and went to, or found values under."""
    if not has_state_tables(connection):
        return set()
    names = set(connection.execute(sa.select(LEDGER.c.section).distinct()).scalars())
    for source, target in connection.execute(sa.select(RUN.c.source, RUN.c.target).distinct()):
        names |= {target, *json.loads(source)}
    for content in connection.execute(sa.select(EVIDENCE.c.content)).scalars():
        names |= {label["section"] for label in json.loads(content).get("labels", ())}
    return names
