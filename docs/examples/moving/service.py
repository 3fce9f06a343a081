"""The application: it keeps the tokens by which it may look into its customers' bank accounts.

Nothing in here knows that there is a move. It encrypts with whatever section the configuration
calls the primary one, and decrypts with whatever section a value names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from keyhinge_store import Tables

METADATA = sa.MetaData()
TABLE = sa.Table(
    "bank_tokens",
    METADATA,
    sa.Column("account_id", sa.Integer, primary_key=True),
    sa.Column("bank", sa.Text, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("token", sa.Text, nullable=False),  # encrypted
)


@dataclass(frozen=True, order=True)
class Key:
    """Which token: of which account, and for which bank."""

    account_id: int
    bank: str


@dataclass(frozen=True)
class Token:
    """A token as the application uses it. Each new one has the next revision."""

    key: Key
    revision: int
    text: str


def create_table(url: str) -> None:
    """Make the table, as a schema migration of the application would do."""
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()


class BankTokens:
    """The table of tokens. Safe to use from many threads.

    Args:
        tables: What `keyhinge_store.open_tables` gives.
    """

    def __init__(self, tables: Tables) -> None:
        self.engine = tables.engine
        self.column = tables.column("bank_tokens")

    def all_keys(self) -> list[Key]:
        """List what is there."""
        query = sa.select(TABLE.c.account_id, TABLE.c.bank)
        with self.engine.connect() as connection:
            return [Key(*row) for row in connection.execute(query)]

    def read(self, key: Key) -> Token | None:
        """Read a token; None if there is none."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(TABLE).where(_is(key))).mappings().first()
        if row is None:
            return None
        # The connection is given back: no key service is asked while one is held.
        text = self.column.decrypt(dict(row)) or b""
        return Token(key, row["revision"], text.decode())

    def add(self, tokens: Iterable[Token]) -> None:
        """Write tokens that weren't there."""
        rows = [self._row(token) for token in tokens]
        with self.engine.begin() as connection:
            connection.execute(TABLE.insert(), rows)

    def replace(self, *tokens: Token) -> bool:
        """Write the next revision of each token in one transaction, in the order given.

        Returns:
            False, with nothing written, if somebody else was first with one of them.
        """
        # Encrypted before the transaction begins, so that no lock waits for a key service.
        rows = [(token, self._row(token)) for token in tokens]
        with self.engine.connect() as connection, connection.begin() as transaction:
            for token, row in rows:
                before = sa.and_(_is(token.key), TABLE.c.revision == token.revision - 1)
                if connection.execute(TABLE.update().where(before).values(row)).rowcount == 0:
                    transaction.rollback()
                    return False
        return True

    def remove(self, token: Token) -> bool:
        """Delete a token; False if somebody else has changed or deleted it meanwhile."""
        same = sa.and_(_is(token.key), TABLE.c.revision == token.revision)
        with self.engine.begin() as connection:
            return connection.execute(TABLE.delete().where(same)).rowcount == 1

    def _row(self, token: Token) -> dict[str, object]:
        row: dict[str, object] = {
            "account_id": token.key.account_id,
            "bank": token.key.bank,
            "revision": token.revision,
        }
        return row | self.column.encrypt(token.text, row)


def _is(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(TABLE.c.account_id == key.account_id, TABLE.c.bank == key.bank)
