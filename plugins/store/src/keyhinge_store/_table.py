"""The secrets table, and how to tell it from another program's table of the same name."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keyhinge_store._errors import ForeignTableError, TableMissingError

if TYPE_CHECKING:
    _DateTimeDecorator = sa.types.TypeDecorator[datetime]
else:
    _DateTimeDecorator = sa.types.TypeDecorator

__all__ = ["DEFAULT_TABLE", "UtcDateTime", "check_table", "now", "secrets_table"]

DEFAULT_TABLE = "secrets"
KEY = ("account_id", "secret_id")
LABELS = ("section", "key_id", "version")


class UtcDateTime(_DateTimeDecorator):
    """A moment in UTC, always with its time zone in Python.

    PostgreSQL keeps it as `timestamptz`. SQLite has no such type: there it is text in the form
    `YYYY-MM-DD HH:MM:SS.ffffff`, in UTC, which sorts by time and which SQLite's functions read.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Turn any aware moment into UTC; SQLite's type drops the zone when it writes."""
        if value is not None and value.tzinfo is None:
            msg = "a moment needs its time zone: use datetime.now(timezone.utc)"
            raise ValueError(msg)
        return value.astimezone(timezone.utc) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give the moment in UTC, whatever zone the connection is set to."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc)


def now() -> datetime:
    """Give this moment in UTC."""
    return datetime.now(timezone.utc)


def secrets_table(
    metadata: sa.MetaData, name: str = DEFAULT_TABLE, schema: str | None = None
) -> sa.Table:
    """Describe the secrets table, for Alembic and for your own metadata.

    Args:
        metadata: Where the table is added. If it has a table of this name already, that is an
            error of SQLAlchemy.
        name: The table's name.
        schema: Its schema; None for the connection's default.

    Returns:
        A table with the columns `secret_id` and `account_id` (together the primary key), `kind`,
        `section`, `key_id`, `version`, `secret`, `encrypted_at`, `created_at` and `updated_at`.
    """
    return sa.Table(
        name,
        metadata,
        sa.Column("secret_id", _identifier(), nullable=False),
        sa.Column("account_id", _identifier(), nullable=False),
        sa.Column("kind", _identifier(), nullable=False),
        sa.Column("section", _identifier(), nullable=False),
        sa.Column("key_id", _identifier(), nullable=False),
        sa.Column("version", _identifier(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("encrypted_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        # The account first, so that the index also finds all secrets of an account.
        sa.PrimaryKeyConstraint(*KEY, name=f"pk_{name}"),
        schema=schema,
    )


def _identifier() -> sa.types.TypeEngine[str]:
    # Compared byte by byte: two ids that a locale calls equal are different contexts.
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def check_table(connection: sa.Connection, table: sa.Table) -> None:
    """Look whether the table is there and is ours. Reads only.

    Args:
        connection: Where to look.
        table: What `secrets_table` made.

    Raises:
        TableMissingError: It isn't there.
        ForeignTableError: It lacks our columns, their types or our primary key.
    """
    inspector = sa.inspect(connection)
    try:
        columns = {
            column["name"]: column for column in inspector.get_columns(table.name, table.schema)
        }
    except sa.exc.NoSuchTableError:
        columns = {}
    if not columns:
        msg = (
            f"the database has no table {table.fullname!r}. Make it with "
            "SecretStore.create_tables(), `keyhinge store init`, or secrets_table() in Alembic"
        )
        raise TableMissingError(msg)
    missing = [column.name for column in table.columns if column.name not in columns]
    if missing:
        _refuse(table, f"it has no column {', '.join(missing)}")
    wrong = [
        column.name
        for column in table.columns
        if isinstance(column.type, sa.Text)
        and not isinstance(columns[column.name]["type"], sa.types.String)
    ]
    if wrong:
        _refuse(table, f"it holds something other than text in {', '.join(wrong)}")
    key = inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]
    if set(key) != set(KEY):
        _refuse(table, "its primary key isn't account_id with secret_id")


def _refuse(table: sa.Table, why: str) -> None:
    msg = (
        f"the table {table.fullname!r} isn't Keyhinge's: {why}. It was left alone. "
        "Choose another name (`store: {table: …}` in the configuration, or `table=`)"
    )
    raise ForeignTableError(msg)
