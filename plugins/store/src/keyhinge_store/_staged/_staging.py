"""Preparations: starting one, finding the one under way, ending it."""

from __future__ import annotations

import uuid

import attrs
import sqlalchemy as sa

from keyhinge_store._layout import Layout
from keyhinge_store._runs._holder import actor
from keyhinge_store._runs._transact import moment_of, transaction
from keyhinge_store._staged._tables import STAGED, STAGING

__all__ = ["Staging", "drop", "read_staging", "start"]

_TRIES = 3


@attrs.frozen
class Staging:
    """A preparation under way.

    Attributes:
        subject: The labels of table and column.
        staging_id: Tells it from the next one.
        target: The section that values are staged for.
        seal: See `Seal.open`.
    """

    subject: str
    staging_id: str
    target: str
    seal: str = attrs.field(repr=False)


def read_staging(connection: sa.Connection, subject: str) -> Staging | None:
    """Read which preparation of a column is under way."""
    found = connection.execute(sa.select(STAGING).where(STAGING.c.subject == subject)).first()
    return None if found is None else Staging(subject, found.staging_id, found.target, found.seal)


def start(engine: sa.Engine, layout: Layout, target: str, seal: str) -> Staging:
    """Start a preparation, unless another process was first: then give that one."""
    for attempt in range(_TRIES):
        try:
            with transaction(engine) as connection:
                found = read_staging(connection, layout.name)
                if found is not None:
                    return found
                made = Staging(layout.name, uuid.uuid4().hex, target, seal)
                connection.execute(
                    STAGING.insert().values(
                        **attrs.asdict(made),
                        table_name=layout.table.fullname,
                        started_at=moment_of(connection),
                        started_by=actor(),
                    )
                )
                return made
        except sa.exc.IntegrityError:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def drop(connection: sa.Connection, subject: str) -> int:
    """Drop a column's preparation and all that is staged for it; give how many rows that was."""
    # First the preparation: whoever works on it waits, and then finds that it is over.
    connection.execute(STAGING.delete().where(STAGING.c.subject == subject))
    return connection.execute(STAGED.delete().where(STAGED.c.subject == subject)).rowcount
