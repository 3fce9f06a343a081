"""A table in each encoding, with an application that saves whole rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import MappedColumn, SecretStore, TableMapping

COLUMNS = {"section": "section", "keyID": "key_id", "version": "version"}
LABELS = "section text, key_id text, version text"
ENCODINGS: dict[str, tuple[str, dict[str, str]]] = {
    "own": ("", {}),
    "text": ("secret text", {"ciphertext": "secret"}),
    "bytes": ("secret bytea", {"ciphertext": "secret"}),
    "columns": (f"{LABELS}, secret bytea", {"ciphertext": "secret", **COLUMNS}),
    "columns in text": (f"{LABELS}, secret text", {"ciphertext": "secret", **COLUMNS}),
}
DDL = "CREATE TABLE tokens (id integer NOT NULL PRIMARY KEY, note text, {columns})"

Stored = SecretStore | MappedColumn


class Place:
    """A table, and what stands in it.

    Args:
        database: The fresh database.
        encoding: One of ENCODINGS.
        mapping: More of the mapping.
    """

    def __init__(self, database: Any, encoding: str, **mapping: Any) -> None:
        self.database = database
        self.encoding = encoding
        self.table = "secrets" if encoding == "own" else "tokens"
        self.key = "secret_id" if encoding == "own" else "id"
        database.engine.connect().close()  # makes SQLite's file
        columns, roles = ENCODINGS[encoding]
        self.mapping = {"columns": roles, "encoding": encoding.split(maxsplit=1)[0], **mapping}
        if columns:
            ddl = DDL.format(columns=columns)
            database.execute(ddl.replace("bytea", "blob") if database.is_sqlite else ddl)

    def open(self, keys: KeyManager, engine: sa.Engine | None = None) -> Stored:
        """Open it for keys."""
        engine = self.database.engine if engine is None else engine
        if self.encoding == "own":
            store = SecretStore(engine, keys)
            store.create_tables()
            return store
        given = {"table": "tokens", "primary_key": "id", "context": {"id": "id"}, **self.mapping}
        return MappedColumn(engine, keys, TableMapping(**given))

    def put(self, stored: Stored, number: int, plaintext: str) -> None:
        """Insert or replace a secret, as the application does."""
        if isinstance(stored, SecretStore):
            stored.put(account_id="a", kind="k", value=plaintext, secret_id=str(number))
            return
        row = {"id": number, **stored.encrypt(plaintext, {"id": number})}
        if any(each["id"] == number for each in self.rows()):
            self.save(row)
        else:
            self.insert(row)

    def rows(self) -> list[dict[str, Any]]:
        """Read all rows with all their columns."""
        with self.database.engine.connect() as connection:
            found = connection.exec_driver_sql(f"SELECT * FROM {self.table} ORDER BY {self.key}")
            return [dict(row) for row in found.mappings()]

    def save(self, row: dict[str, Any]) -> None:
        """Write all columns of a row that was read earlier, as an object mapper may."""
        table = sa.table(self.table, *map(sa.column, row))
        changed = sa.update(table).where(table.c[self.key] == row[self.key]).values(row)
        with self.database.engine.begin() as connection:
            connection.execute(changed)

    def insert(self, row: dict[str, Any]) -> None:
        """Insert a row."""
        table = sa.table(self.table, *map(sa.column, row))
        with self.database.engine.begin() as connection:
            connection.execute(sa.insert(table).values(row))


def run_by_hand(database: Any, statements: list[str]) -> None:
    """Run statements as somebody does who was given them."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for each in statements:
            connection.exec_driver_sql(each, execution_options={"no_parameters": True})
