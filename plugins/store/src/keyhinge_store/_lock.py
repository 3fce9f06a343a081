"""Keeping writers away from tables until a transaction ends."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from keyhinge_store._written import quoted_table, run_written

__all__ = ["hold_writers"]


def hold_writers(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Let nobody else write to the tables until the transaction ends; reading goes on.

    Who is writing is waited for, but no longer than the transaction's `lock_timeout`, since other
    writers queue up behind. SQLite's transactions that write hold the whole file by themselves.

    Args:
        connection: The transaction.
        tables: They are locked in an order that is the same for everybody.
    """
    if connection.dialect.name == "postgresql":
        for name in sorted({quoted_table(table, "postgresql") for table in tables}):
            run_written(connection, f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
