"""Whether the application is stopped, as far as a database can tell."""

from __future__ import annotations

import time

import sqlalchemy as sa

from keyhinge_store._errors import MigrationError
from keyhinge_store._errors_sql import guarded

__all__ = ["refuse_others"]

_PATIENCE = 3.0
_PAUSE = 0.1
# Sessions of the server itself have no user.
_OTHERS = sa.text(
    "SELECT usename, application_name, count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL "
    "GROUP BY usename, application_name ORDER BY count(*) DESC"
)


def refuse_others(engine: sa.Engine) -> None:
    """Refuse to go on while anybody else is connected to the database.

    Idle connections of our own pool are closed first. SQLite doesn't know who has its file open.

    Raises:
        MigrationError: Somebody is.
        DatabaseError: The database failed.
    """
    if engine.dialect.name != "postgresql":
        return

    def look() -> list[tuple[str, str, int]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(_OTHERS)]

    engine.dispose()
    end = time.monotonic() + _PATIENCE
    while others := guarded(look):
        if time.monotonic() > end:
            listed = ", ".join(f"{count} of {user} ({name or '?'})" for user, name, count in others)
            msg = (
                f"others are connected to this database: {listed}. An application that isn't "
                "stopped couldn't read the table after the swap, and would go on writing values of "
                "its old provider. Stop it; if these are something else, say so "
                "(--while-connected)"
            )
            raise MigrationError(msg)
        time.sleep(_PAUSE)
