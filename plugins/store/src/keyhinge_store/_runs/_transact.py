"""Short transactions on our own tables, and the database's clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone

import sqlalchemy as sa

__all__ = ["clock", "moment_of", "oldest_transaction", "own_transaction", "transaction"]

_BUSY_MILLISECONDS = 5000
_LIMITS = sa.text(
    "SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '60s', true), "
    "set_config('idle_in_transaction_session_timeout', '10s', true)"
)
# Not pg_snapshot_xmax: it is behind the last transaction that is over, not the last that began.
_OWN = sa.text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
# A snapshot is of all databases of the server; who is at work in another one can't write in ours.
# The lock that every transaction has on its own number tells whose it is; it knows 32 bits of it.
_OLDEST = sa.text("""
WITH seen AS MATERIALIZED (SELECT pg_current_snapshot() AS snapshot),
elsewhere (id) AS (
    SELECT CAST(CAST(held.transactionid AS text) AS bigint)
    FROM pg_locks AS held JOIN pg_stat_activity AS client ON client.pid = held.pid
    WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock'
        AND client.datname <> current_database()
    UNION ALL
    SELECT CAST(CAST(transaction AS text) AS bigint)
    FROM pg_prepared_xacts WHERE database <> current_database()
),
running (id) AS (
    SELECT CAST(CAST(number AS text) AS bigint) FROM seen, pg_snapshot_xip(snapshot) AS number
)
SELECT coalesce(
    (SELECT min(id) FROM running WHERE (id & 4294967295) NOT IN (SELECT id FROM elsewhere)),
    CAST(CAST(pg_snapshot_xmax(snapshot) AS text) AS bigint)
) FROM seen
""")


@contextlib.contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a short transaction, which commits at the end and rolls back on an error.

    Nothing that would stay with the session is used, so that it works through a pooler.
    """
    if engine.dialect.name == "sqlite":
        with _immediate(engine) as connection:
            yield connection
        return
    opened = engine.connect().execution_options(isolation_level="READ COMMITTED")
    with opened as connection, connection.begin():
        connection.execute(_LIMITS)
        yield connection


@contextlib.contextmanager
def _immediate(engine: sa.Engine) -> Iterator[sa.Connection]:
    # AUTOCOMMIT leaves the transaction to us: the driver's own BEGIN would take no lock yet.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() < _BUSY_MILLISECONDS:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors.
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.exec_driver_sql("ROLLBACK")
            raise


def clock(engine: sa.Engine) -> sa.ColumnElement[float]:
    """Give the SQL for this moment by the database's clock, in seconds since 1970.

    Leases and rates go by it alone: the clocks of the machines that take part may differ.
    """
    if engine.dialect.name == "sqlite":
        # 2440587.5 is the Julian day of 1970-01-01.
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Double())
    return sa.literal_column(
        "CAST(extract(epoch FROM clock_timestamp()) AS double precision)", sa.Double()
    )


def moment_of(connection: sa.Connection) -> datetime:
    """Ask the database what time it is."""
    seconds = connection.execute(sa.select(clock(connection.engine))).scalar_one()
    return datetime.fromtimestamp(seconds, timezone.utc)


def own_transaction(connection: sa.Connection) -> int:
    """Give the number of this transaction, which is higher than that of any that wrote before."""
    if connection.dialect.name == "sqlite":
        return 0  # nobody else can have written and not be done while we write
    return int(connection.execute(_OWN).scalar_one())


def oldest_transaction(engine: sa.Engine) -> int:
    """Give a number below which no transaction that has written is under way any more."""
    if engine.dialect.name == "sqlite":
        return 1
    with engine.connect() as connection:
        return int(connection.execute(_OLDEST).scalar_one())
