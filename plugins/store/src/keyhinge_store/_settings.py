"""The `store` block of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from keyhinge import InvalidSettings, Secret, secret, setting, settings
from keyhinge_store._mapping import TableMapping, mapping_problems
from keyhinge_store._table import DEFAULT_TABLE

__all__ = ["ColumnSettings", "StoreSettings", "TableSettings"]


@settings
class ColumnSettings:
    """Which column holds what, in one table.

    Attributes:
        ciphertext: The column with the encrypted value.
        section: The column with the section's name.
        key_id: The column with the key's identifier.
        version: The column with the key's version.
    """

    ciphertext: str = setting(help="The column with the encrypted value.", example="secret")
    section: str | None = setting(
        default=None, help="The column with the section's name, for the encoding `columns`."
    )
    key_id: str | None = setting(
        alias="keyID",
        default=None,
        help="The column with the key's identifier, for `columns` and `monetr`.",
    )
    version: str | None = setting(
        default=None, help="The column with the key's version, for `columns` and `monetr`."
    )


@settings
class TableSettings:
    """An encrypted column of a table that exists already; see `TableMapping`."""

    table: str = setting(help="The table's name.", example="plaid_tokens")
    schema: str | None = setting(
        default=None, help="The table's schema; the connection's default if missing."
    )
    label: str | None = setting(
        default=None,
        help="The table's name that values are bound to; its name at the first use if missing.",
    )
    column_label: str | None = setting(
        default=None,
        help="The column's name that values are bound to; its name at the first use if missing.",
    )
    primary_key: tuple[str, ...] = setting(
        help="The columns of the primary key, or of another unique index without NULL.",
        example="[token_id]",
    )
    encoding: Literal["text", "bytes", "columns", "monetr"] = setting(
        help="How values stand in the columns."
    )
    columns: ColumnSettings = setting(help="Which column holds what.")
    context: Mapping[str, str] = setting(
        factory=dict,
        help="What values are bound to: the column for each key of the context.",
        example="{account: account_id}",
    )
    where: Mapping[str, str | int | list[str | int]] = setting(
        factory=dict,
        help="Which rows are meant: a value, or a list of values, for each column.",
        example="{kind: plaid}",
    )
    adopt: Literal["plaintext"] | None = setting(
        default=None,
        help="`plaintext` where the column still holds plaintexts; for the encoding `text`.",
    )
    encrypted_at: str | None = setting(
        default=None, help="A column to keep the time of encryption in."
    )

    def __attrs_post_init__(self) -> None:
        problems = mapping_problems(_Parts(**self._parts()))
        if problems:
            # One for each key; a second one about the same is told when the first is mended.
            raise InvalidSettings({key.split(".")[0]: text for key, text in reversed(problems)})

    def mapping(self) -> TableMapping:
        """Give what the file says as a mapping."""
        return TableMapping(**self._parts())

    def _parts(self) -> dict[str, Any]:
        columns = {
            "ciphertext": self.columns.ciphertext,
            "section": self.columns.section,
            "keyID": self.columns.key_id,
            "version": self.columns.version,
        }
        return {
            "table": self.table,
            "schema": self.schema,
            "label": self.label,
            "column_label": self.column_label,
            "primary_key": self.primary_key,
            "encoding": self.encoding,
            "columns": {role: name for role, name in columns.items() if name is not None},
            "context": self.context,
            "where": self.where,
            "adopt": self.adopt,
            "encrypted_at": self.encrypted_at,
        }


class _Parts:
    """What `mapping_problems` looks at."""

    def __init__(self, **parts: object) -> None:
        self.__dict__.update(parts)


class _Nothing(tuple[TableSettings, ...]):
    """Stands for no tables where the file doesn't mention any, unlike a list that is empty."""

    __slots__ = ()


_UNMENTIONED = _Nothing()


@settings
class StoreSettings:
    """Where the secrets are stored.

    Attributes:
        url: SQLAlchemy's URL of the database; it may hold a password.
        table: The table's name.
        schema: The table's schema in PostgreSQL.
        label: The name that values are bound to instead of the table's own.
        tables: Tables that exist already, in place of the store's own.
        state_schema: The schema of Keyhinge's own tables in PostgreSQL.
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
    tables: tuple[TableSettings, ...] = setting(
        default=_UNMENTIONED,
        help="Tables that exist already, in place of the store's own; an entry for each encrypted "
        "column.",
    )
    state_schema: str | None = setting(
        default=None,
        help="The schema of Keyhinge's own tables in PostgreSQL, in which it remembers labels, "
        "adoptions and migrations; the schema of the first table if missing.",
    )

    def __attrs_post_init__(self) -> None:
        if not self.tables and self.tables is not _UNMENTIONED:
            # Somebody meant tables; the store's own would be another one.
            msg = "is empty: name a table, or leave the key out for the store's own table"
            raise InvalidSettings({"tables": msg})
        places = [(each.schema, each.table, each.columns.ciphertext) for each in self.tables]
        names = [(each.schema, each.label or each.table) for each in self.tables]
        labels = [
            (*name, each.column_label or each.columns.ciphertext)
            for name, each in zip(names, self.tables, strict=True)
        ]
        if len(set(places)) != len(places) or len(set(labels)) != len(labels):
            raise InvalidSettings({"tables": "two entries are about the same column"})
