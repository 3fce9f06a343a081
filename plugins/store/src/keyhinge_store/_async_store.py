"""The store for code that runs in an event loop. Every statement is the sync store's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from keyhinge import KeyManager, Outcome
from keyhinge_store._base import MAX_REBINDS, REBIND_BUSY, StoreBase, keys_of
from keyhinge_store._book import NewSecret, SecretInfo, SecretKey, as_text, check_ids, not_found
from keyhinge_store._database import make_async_engine, parse_url
from keyhinge_store._errors import DatabaseError, DatabaseUnavailableError, DuplicateSecretError
from keyhinge_store._errors_sql import aguarded
from keyhinge_store._frames import aframeless, frameless
from keyhinge_store._statements import (
    delete_row,
    read_account,
    read_row,
    read_rows,
    rebind_rows,
)
from keyhinge_store._table import DEFAULT_TABLE

if TYPE_CHECKING:
    # SQLAlchemy's asyncio package needs greenlet, which only those who use it install.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from typing_extensions import Self

__all__ = ["AsyncSecretStore"]

T = TypeVar("T")


class AsyncSecretStore(StoreBase):
    """`SecretStore` for an event loop: the same methods with the same arguments, awaited.

    Args:
        database: SQLAlchemy's URL (SQLite goes through aiosqlite), or an `AsyncEngine`.
        keys: Encrypts and decrypts, without blocking the loop. The store never closes it.
        table: The table's name.
        schema: The table's schema, in PostgreSQL.
        label: The table's name in the context.

    Raises:
        ConfigError: The URL can't be read, or its driver isn't installed.
    """

    engine: AsyncEngine

    @frameless
    def __init__(
        self,
        database: str | sa.URL | AsyncEngine,
        keys: KeyManager,
        *,
        table: str = DEFAULT_TABLE,
        schema: str | None = None,
        label: str | None = None,
    ) -> None:
        super().__init__(keys, table=table, schema=schema, label=label)
        self._own_url: sa.URL | None = None
        if not isinstance(database, (str, sa.URL)):
            self.engine = database
        else:
            self._own_url = parse_url(database, asynchronous=True)
            self.engine = make_async_engine(self._own_url)

    async def create_tables(self) -> None:
        """Make the table, and the SQLite file, if they aren't there yet."""

        async def create() -> None:
            engine = self.engine
            if self._lacks_file(self._own_url):
                engine = make_async_engine(self._own_url, create=True)
            try:
                async with engine.begin() as connection:
                    await connection.run_sync(self._create)
            finally:
                if engine is not self.engine:
                    await engine.dispose()

        try:
            await aguarded(create)
        except (DatabaseError, DuplicateSecretError):
            await aguarded(create)  # another process made it at the same moment: find it there
        self._checked = True

    @aframeless
    async def put(
        self,
        *,
        account_id: str,
        kind: str,
        value: str | bytes,
        secret_id: str | None = None,
        allow_downgrade: bool = False,
        connection: AsyncConnection | None = None,
    ) -> str:
        """Store a secret, or replace the one with this id; see `SecretStore.put`."""
        [prepared] = self._prepare([NewSecret(account_id, kind, value, secret_id)])
        sealed = await self.keys.aencrypt(prepared.item.plaintext, context=prepared.item.context)
        write = self._writing([prepared], [sealed], allow_downgrade=allow_downgrade)
        await self._run(write, connection)
        return prepared.key.secret_id

    @aframeless
    async def put_many(
        self,
        secrets: Iterable[NewSecret],
        *,
        allow_downgrade: bool = False,
        connection: AsyncConnection | None = None,
    ) -> list[str]:
        """Store many secrets, all or none; see `SecretStore.put_many`."""
        prepared = self._prepare(secrets)
        outcomes = await self.keys.aencrypt_many([each.item for each in prepared])
        sealed = [outcome.value for outcome in outcomes]
        write = self._writing(prepared, sealed, allow_downgrade=allow_downgrade)
        await self._run(write, connection)
        return [each.key.secret_id for each in prepared]

    @aframeless
    async def get(
        self, *, account_id: str, secret_id: str, connection: AsyncConnection | None = None
    ) -> bytes:
        """Read and decrypt a secret; see `SecretStore.get`."""
        check_ids(account_id=account_id, secret_id=secret_id)
        key = SecretKey(account_id, secret_id)
        row = await self._run(partial(read_row, layout=self.layout, key=key), connection)
        item = self._found(key, row)
        return await self.keys.adecrypt(item.value, context=item.context)

    @aframeless
    async def get_text(
        self, *, account_id: str, secret_id: str, connection: AsyncConnection | None = None
    ) -> str:
        """Read and decrypt a secret that is text; see `SecretStore.get_text`."""
        return as_text(
            await self.get(account_id=account_id, secret_id=secret_id, connection=connection)
        )

    @aframeless
    async def get_many(
        self, keys: Iterable[tuple[str, str]], *, connection: AsyncConnection | None = None
    ) -> dict[tuple[str, str], Outcome[bytes]]:
        """Read and decrypt many secrets; see `SecretStore.get_many`."""
        wanted = keys_of(keys)
        rows = await self._run(partial(read_rows, layout=self.layout, keys=wanted), connection)
        items, errors = self._items(rows)
        opened = await self.keys.adecrypt_many(list(items.values()))
        return self._outcomes(rows, items, errors, opened)

    async def find(
        self, *, account_id: str, kind: str, connection: AsyncConnection | None = None
    ) -> list[SecretInfo]:
        """List an account's secrets of one kind, without decrypting them."""
        return await self.list(account_id=account_id, kind=kind, connection=connection)

    async def list(
        self,
        *,
        account_id: str | None = None,
        kind: str | None = None,
        after: SecretKey | None = None,
        limit: int | None = None,
        connection: AsyncConnection | None = None,
    ) -> list[SecretInfo]:
        """List secrets without decrypting them; see `SecretStore.list`."""
        read = self._listing(account_id, kind, after, limit)
        return await self._run(read, connection)

    async def delete(
        self, *, account_id: str, secret_id: str, connection: AsyncConnection | None = None
    ) -> None:
        """Delete a secret; see `SecretStore.delete`."""
        check_ids(account_id=account_id, secret_id=secret_id)
        key = SecretKey(account_id, secret_id)
        if not await self._run(partial(delete_row, layout=self.layout, key=key), connection):
            raise not_found(key)

    @aframeless
    async def rebind(
        self,
        old_account: str,
        new_account: str,
        *,
        allow_downgrade: bool = False,
        connection: AsyncConnection | None = None,
    ) -> int:
        """Move all secrets of an account to another account; see `SecretStore.rebind`."""
        check_ids(old_account=old_account, new_account=new_account)
        if old_account == new_account:
            return 0
        read = partial(read_account, layout=self.layout, account_id=old_account)
        for attempt in range(MAX_REBINDS):
            await asyncio.sleep(0.05 * attempt)
            rows = await self._run(read, connection)
            opened = await self.keys.adecrypt_many([self.layout.item_of(row) for row in rows])
            plaintexts = [outcome.value for outcome in opened]
            items = self._moved_items(rows, plaintexts, new_account)
            outcomes = await self.keys.aencrypt_many(items)
            values = [outcome.value for outcome in outcomes]
            pairs = self._moves(rows, values, new_account)
            plain = self._plain(values, allow_downgrade=allow_downgrade)
            move = partial(rebind_rows, layout=self.layout, pairs=pairs, plain=plain)
            if await self._run(move, connection):
                return len(rows)
        raise DatabaseUnavailableError(REBIND_BUSY)

    async def close(self) -> None:
        """Let go of the connections, if the store made the engine. Keys are left open."""
        if self._own_url is not None:
            await self.engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncSecretStore {self.layout.table.fullname!r} in {self.engine.dialect.name}>"

    async def _run(
        self, work: Callable[[sa.Connection], T], connection: AsyncConnection | None
    ) -> T:
        if connection is not None:
            checked = self._checking(None, work)
            return await aguarded(lambda: connection.run_sync(checked))
        checked = self._checking(self._own_url or self.engine.url, work)

        async def in_transaction() -> T:
            async with self.engine.begin() as opened:
                return await opened.run_sync(checked)

        return await aguarded(in_transaction)
