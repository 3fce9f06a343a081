"""The store for code that may wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from keyhinge import KeyManager, Outcome
from keyhinge_store._base import MAX_REBINDS, REBIND_BUSY, StoreBase, keys_of
from keyhinge_store._book import NewSecret, SecretInfo, SecretKey, as_text, check_ids, not_found
from keyhinge_store._database import make_engine, parse_url
from keyhinge_store._errors import DatabaseError, DatabaseUnavailableError, DuplicateSecretError
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._home import KeepsState
from keyhinge_store._statements import (
    delete_row,
    read_account,
    read_row,
    read_rows,
    rebind_rows,
)
from keyhinge_store._table import DEFAULT_TABLE

__all__ = ["SecretStore"]

T = TypeVar("T")


class SecretStore(StoreBase, KeepsState):
    """Secrets in a database table, encrypted through a `KeyManager`.

    Every value is bound to its table, account, id and kind: copied anywhere else, it doesn't
    decrypt. A value is encrypted before the transaction that writes it begins, and decrypted
    after the one that read it ended, so that no database lock waits for a key service.

    Each method takes `connection=` to join a transaction of yours: it reads and writes there and
    never commits. What has to be encrypted is encrypted first, so call `put` before you have
    taken locks. Safe to use from many threads.

    Args:
        database: SQLAlchemy's URL, or an engine of yours. Of a URL the store makes an engine
            that hides parameters in errors and logs, and `close` disposes of it.
        keys: Encrypts and decrypts. The store never closes it.
        table: The table's name.
        schema: The table's schema, in PostgreSQL.
        label: The table's name in the context; give the old one after renaming the table. The
            default is `table`, or `schema.table`.
        state_schema: The schema of the tables in which migrations keep their state, in
            PostgreSQL; None for the one in which the table is.

    Raises:
        ConfigError: The URL can't be read, or its driver isn't installed.
    """

    engine: sa.Engine

    @frameless
    def __init__(
        self,
        database: str | sa.URL | sa.Engine,
        keys: KeyManager,
        *,
        table: str = DEFAULT_TABLE,
        schema: str | None = None,
        label: str | None = None,
        state_schema: str | None = None,
    ) -> None:
        super().__init__(keys, table=table, schema=schema, label=label)
        self.state_schema = state_schema
        self._own_url: sa.URL | None = None
        if isinstance(database, sa.Engine):
            self.engine = database
        else:
            self._own_url = parse_url(database)
            self.engine = make_engine(self._own_url)

    def create_tables(self) -> None:
        """Make the table, and the SQLite file, if they aren't there yet.

        Raises:
            ForeignTableError: Another program's table has this name.
            DatabaseError: The database refused.
        """

        def create() -> None:
            engine = self.engine
            if self._lacks_file(self._own_url):
                engine = make_engine(self._own_url, create=True)
            try:
                with engine.begin() as connection:
                    self._create(connection)
            finally:
                if engine is not self.engine:
                    engine.dispose()

        try:
            guarded(create)
        except (DatabaseError, DuplicateSecretError):
            guarded(create)  # another process made it at the same moment: find it there
        self._checked = True

    @frameless
    def put(
        self,
        *,
        account_id: str,
        kind: str,
        value: str | bytes,
        secret_id: str | None = None,
        allow_downgrade: bool = False,
        connection: sa.Connection | None = None,
    ) -> str:
        """Store a secret, or replace the one with this id.

        Args:
            account_id: Whose it is. 1 to 1,024 bytes of UTF-8 without NUL, like `kind` and
                `secret_id`. Not secret themselves.
            kind: What it is for.
            value: The secret; str is stored as UTF-8.
            secret_id: Its id; one is made if this is None. A secret that is there already is
                replaced, kind and all, and keeps its `created_at`.
            allow_downgrade: Let an unencrypted value replace an encrypted one.
            connection: Your transaction, to write in it.

        Returns:
            The id.

        Raises:
            InvalidContextError: An id or the kind breaks a rule.
            InvalidPlaintextError: The value is too large for the provider, or no text.
            OperationError: It can't be encrypted. Nothing was written.
            DowngradeError: See `allow_downgrade`. Nothing was written.
            DatabaseError: The database failed.
        """
        [prepared] = self._prepare([NewSecret(account_id, kind, value, secret_id)])
        sealed = self.keys.encrypt(prepared.item.plaintext, context=prepared.item.context)
        write = self._writing([prepared], [sealed], allow_downgrade=allow_downgrade)
        self._run(write, connection)
        return prepared.key.secret_id

    @frameless
    def put_many(
        self,
        secrets: Iterable[NewSecret],
        *,
        allow_downgrade: bool = False,
        connection: sa.Connection | None = None,
    ) -> list[str]:
        """Store many secrets with few calls to the key service, in one transaction: all or none.

        Args:
            secrets: The secrets, no two with the same account and id.
            allow_downgrade: Let unencrypted values replace encrypted ones.
            connection: Your transaction, to write in it.

        Returns:
            Their ids, in order.

        Raises:
            DuplicateSecretError: Two have the same account and id.
            KeyhingeError: As for `put`, for the first that fails. Nothing was written.
        """
        prepared = self._prepare(secrets)
        outcomes = self.keys.encrypt_many([each.item for each in prepared])
        sealed = [outcome.value for outcome in outcomes]
        self._run(self._writing(prepared, sealed, allow_downgrade=allow_downgrade), connection)
        return [each.key.secret_id for each in prepared]

    @frameless
    def get(
        self, *, account_id: str, secret_id: str, connection: sa.Connection | None = None
    ) -> bytes:
        """Read and decrypt a secret.

        Args:
            account_id: Whose it is.
            secret_id: Its id.
            connection: Your transaction, to read in it.

        Raises:
            SecretNotFoundError: There is none.
            InvalidCiphertextError: The row was changed by somebody, or copied from another one.
            OperationError: It can't be decrypted; the subclass says why.
            DatabaseError: The database failed.
        """
        check_ids(account_id=account_id, secret_id=secret_id)
        key = SecretKey(account_id, secret_id)
        row = self._run(partial(read_row, layout=self.layout, key=key), connection)
        item = self._found(key, row)
        return self.keys.decrypt(item.value, context=item.context)

    @frameless
    def get_text(
        self, *, account_id: str, secret_id: str, connection: sa.Connection | None = None
    ) -> str:
        """Read and decrypt a secret that is text.

        Raises:
            NotTextError: It isn't UTF-8.
            KeyhingeError: As for `get`.
        """
        return as_text(self.get(account_id=account_id, secret_id=secret_id, connection=connection))

    @frameless
    def get_many(
        self, keys: Iterable[tuple[str, str]], *, connection: sa.Connection | None = None
    ) -> dict[tuple[str, str], Outcome[bytes]]:
        """Read and decrypt many secrets with few statements and few calls to the key service.

        Args:
            keys: Pairs of account and id.
            connection: Your transaction, to read in it.

        Returns:
            An outcome for each secret that is there; one that fails, fails alone. Those that
            aren't there are missing from it.

        Raises:
            InvalidContextError: An id breaks a rule.
            DatabaseError: The database failed.
        """
        wanted = keys_of(keys)
        rows = self._run(partial(read_rows, layout=self.layout, keys=wanted), connection)
        items, errors = self._items(rows)
        opened = self.keys.decrypt_many(list(items.values()))
        return self._outcomes(rows, items, errors, opened)

    def find(
        self, *, account_id: str, kind: str, connection: sa.Connection | None = None
    ) -> list[SecretInfo]:
        """List an account's secrets of one kind, without decrypting them."""
        return self.list(account_id=account_id, kind=kind, connection=connection)

    def list(
        self,
        *,
        account_id: str | None = None,
        kind: str | None = None,
        after: SecretKey | None = None,
        limit: int | None = None,
        connection: sa.Connection | None = None,
    ) -> list[SecretInfo]:
        """List secrets in the order of their keys, without decrypting them.

        Args:
            account_id: Only this account's.
            kind: Only this kind.
            after: Go on after this one, the last of the page before.
            limit: At most so many.
            connection: Your transaction, to read in it.
        """
        read = self._listing(account_id, kind, after, limit)
        return self._run(read, connection)

    def delete(
        self, *, account_id: str, secret_id: str, connection: sa.Connection | None = None
    ) -> None:
        """Delete a secret.

        Raises:
            SecretNotFoundError: There is none.
            DatabaseError: The database failed.
        """
        check_ids(account_id=account_id, secret_id=secret_id)
        key = SecretKey(account_id, secret_id)
        if not self._run(partial(delete_row, layout=self.layout, key=key), connection):
            raise not_found(key)

    @frameless
    def rebind(
        self,
        old_account: str,
        new_account: str,
        *,
        allow_downgrade: bool = False,
        connection: sa.Connection | None = None,
    ) -> int:
        """Move all secrets of an account to another account, encrypted anew for it.

        All or none: what is written to them meanwhile is not lost, the move is done again.

        Args:
            old_account: Whose they are.
            new_account: Whose they will be.
            allow_downgrade: Let them be stored unencrypted, if that is what the primary does.
            connection: Your transaction. Then the keys are used while it is open.

        Returns:
            How many were moved.

        Raises:
            DowngradeError: See `allow_downgrade`. Nothing was moved.
            DuplicateSecretError: The new account has a secret with one of their ids.
            OperationError: One of them can't be decrypted or encrypted. Nothing was moved.
            DatabaseError: The database failed, or the secrets changed again and again.
        """
        check_ids(old_account=old_account, new_account=new_account)
        if old_account == new_account:
            return 0
        read = partial(read_account, layout=self.layout, account_id=old_account)
        for attempt in range(MAX_REBINDS):
            time.sleep(0.05 * attempt)
            rows = self._run(read, connection)
            opened = self.keys.decrypt_many([self.layout.item_of(row) for row in rows])
            plaintexts = [outcome.value for outcome in opened]
            outcomes = self.keys.encrypt_many(self._moved_items(rows, plaintexts, new_account))
            values = [outcome.value for outcome in outcomes]
            pairs = self._moves(rows, values, new_account)
            plain = self._plain(values, allow_downgrade=allow_downgrade)
            move = partial(rebind_rows, layout=self.layout, pairs=pairs, plain=plain)
            if self._run(move, connection):
                return len(rows)
        raise DatabaseUnavailableError(REBIND_BUSY)

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do some work in a transaction on the store's table, for what builds on the store.

        Args:
            work: Is given the connection. The table was looked at before.

        Returns:
            What `work` returned.

        Raises:
            DatabaseError: The database failed; SQLAlchemy's own error is not shown.
        """

        def settled(connection: sa.Connection) -> T:
            self._settle(connection)
            return work(connection)

        return self._run(settled, None)

    def _beside(self) -> tuple[str | None, str]:
        return self.layout.table.schema, self.layout.table.name

    def __repr__(self) -> str:
        return f"<SecretStore {self.layout.table.fullname!r} in {self.engine.dialect.name}>"

    def _run(self, work: Callable[[sa.Connection], T], connection: sa.Connection | None) -> T:
        if connection is not None:
            checked = self._checking(None, work)
            return guarded(lambda: checked(connection))
        checked = self._checking(self._own_url or self.engine.url, work)

        def in_transaction() -> T:
            with self.engine.begin() as opened:
                return checked(opened)

        return guarded(in_transaction)
