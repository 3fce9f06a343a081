"""One view of the whole database, for statements that belong together. Writes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

__all__ = ["snapshot"]


@contextlib.contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction in which every statement sees the same moment."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # The driver's own transactions begin at the first write.
            connection.exec_driver_sql("BEGIN")
            try:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
                yield connection
            finally:
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    connection.exec_driver_sql("ROLLBACK")
        return
    opened = engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with opened as connection, connection.begin():
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        yield connection
