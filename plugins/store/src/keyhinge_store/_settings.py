"""The `store` block of the configuration."""

from __future__ import annotations

from keyhinge import Secret, secret, setting, settings
from keyhinge_store._table import DEFAULT_TABLE

__all__ = ["StoreSettings"]


@settings
class StoreSettings:
    """Where the secrets are stored.

    Attributes:
        url: SQLAlchemy's URL of the database; it may hold a password.
        table: The table's name.
        schema: The table's schema in PostgreSQL.
        label: The name that values are bound to instead of the table's own.
    """

    url: Secret | None = secret(
        default=None,
        help="The database, as SQLAlchemy writes it.",
        example="postgresql+psycopg://app@db/app",
    )
    table: str = setting(default=DEFAULT_TABLE, help="The table that holds the secrets.")
    schema: str | None = setting(
        default=None, help="The table's schema in PostgreSQL; the connection's default if missing."
    )
    label: str | None = setting(
        default=None,
        help="The table's name that values are bound to. Give the old name here after renaming "
        "the table, or its values no longer decrypt.",
    )
