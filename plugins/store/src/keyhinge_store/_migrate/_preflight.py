"""What would stop a migration half-way, found before it begins."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import OID

from keyhinge_store._errors import MigrationError
from keyhinge_store._layout import Layout
from keyhinge_store._retire._fence import is_fence

__all__ = ["preflight"]

# A transaction that is open for so long (seconds) will probably stay open for longer.
_OLD_TRANSACTION = 600
_OID = sa.text(
    "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relname = :name AND c.relkind IN ('r', 'p') "
    "AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_table_is_visible(c.oid) "
    "ELSE n.nspname = :schema END"
)
_UPDATE_TRIGGERS = sa.text(
    # 16 in tgtype: UPDATE. Those that the server made for foreign keys are internal.
    "SELECT tgname FROM pg_trigger WHERE tgrelid = :table AND NOT tgisinternal "
    "AND tgenabled <> 'D' AND (tgtype & 16) <> 0 ORDER BY tgname"
)
_OLDEST = sa.text(
    "SELECT max(extract(epoch FROM now() - xact_start)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
)


def preflight(connection: sa.Connection, layout: Layout, *, writing: bool) -> tuple[str, ...]:
    """Look whether the database lets a table's values be replaced.

    Whether the mapped key is unique, and the columns exist, was found out when the table was
    looked at; whether values fit into a column shows when they are converted.

    Args:
        connection: Where the table is.
        layout: The table.
        writing: Whether it isn't a dry run.

    Returns:
        What doesn't stop it, but should be known.

    Raises:
        MigrationError: It can't succeed here.
    """
    if connection.dialect.name != "postgresql":
        return _sqlite_triggers(connection, layout)
    place = {"name": layout.table.name, "schema": layout.table.schema}
    table = connection.execute(_OID, place).scalar_one()
    if writing:
        _refuse_replica(connection)
    _refuse_row_security(connection, layout, table)
    if writing:
        _refuse_without_privilege(connection, layout, table)
    return (*_postgresql_triggers(connection, layout, table), *_old_transactions(connection))


def _refuse_replica(connection: sa.Connection) -> None:
    if connection.execute(sa.select(sa.func.pg_is_in_recovery())).scalar_one():
        msg = "this database is a replica, which can't be written to: name the primary server"
        raise MigrationError(msg)
    if connection.execute(sa.text("SHOW transaction_read_only")).scalar_one() == "on":
        msg = (
            "this connection can only read (default_transaction_read_only is on for this user, "
            "this database or in the URL)"
        )
        raise MigrationError(msg)


def _refuse_row_security(connection: sa.Connection, layout: Layout, table: int) -> None:
    active = sa.func.row_security_active(_oid(table))
    if connection.execute(sa.select(active)).scalar_one():
        msg = (
            f"row security hides rows of {layout.table.fullname} from this user, so that a "
            "migration would end with values left behind. Use the table's owner, or a user with "
            "BYPASSRLS"
        )
        raise MigrationError(msg)


def _refuse_without_privilege(connection: sa.Connection, layout: Layout, table: int) -> None:
    written: Sequence[str] = layout.codec.columns
    if layout.encrypted_at is not None:
        written = (*written, layout.encrypted_at)
    wanted = [("SELECT", name) for name in layout.columns] + [("UPDATE", name) for name in written]
    asked = [sa.func.has_column_privilege(_oid(table), name, right) for right, name in wanted]
    held = connection.execute(sa.select(*asked)).one()
    missing = [
        f"{right} ({name})" for (right, name), has in zip(wanted, held, strict=True) if not has
    ]
    if missing:
        msg = (
            f"the database's user may not do everything that is needed on {layout.table.fullname}: "
            f"it lacks {', '.join(missing)}"
        )
        raise MigrationError(msg)


def _postgresql_triggers(connection: sa.Connection, layout: Layout, table: int) -> list[str]:
    names = connection.execute(_UPDATE_TRIGGERS, {"table": table}).scalars()
    return [_trigger(layout, name) for name in names if not is_fence(name)]


def _sqlite_triggers(connection: sa.Connection, layout: Layout) -> tuple[str, ...]:
    listed = sa.table("sqlite_master", *map(sa.column, ("type", "name", "tbl_name", "sql")))
    wanted = (
        sa.select(listed.c.name)
        .where(listed.c.type == "trigger", listed.c.tbl_name == layout.table.name)
        .where(listed.c.sql.ilike("%update%"))
        .order_by(listed.c.name)
    )
    names = connection.execute(wanted).scalars()
    return tuple(_trigger(layout, name) for name in names if not is_fence(name))


def _trigger(layout: Layout, name: str) -> str:
    return (
        f"the trigger {name!r} on {layout.table.fullname} runs for each row that is moved: see "
        "that it neither keeps the old value nor refuses the new one"
    )


def _old_transactions(connection: sa.Connection) -> list[str]:
    age = connection.execute(_OLDEST).scalar_one()
    if age is None or age < _OLD_TRANSACTION:
        return []
    msg = (
        f"a transaction has been open in this database for {int(age) // 60} minutes. The migration "
        "can only be finished when all that began before it have ended"
    )
    return [msg]


def _oid(table: int) -> sa.ColumnElement[int]:
    return sa.cast(sa.literal(table), OID)
