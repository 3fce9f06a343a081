"""The async store does what the sync one does, and doesn't block the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from keyhinge import InvalidContextError, KeyManager
from keyhinge_store import (
    AsyncSecretStore,
    DatabaseMissingError,
    DowngradeError,
    DuplicateSecretError,
    ForeignTableError,
    NewSecret,
    NotTextError,
    SecretNotFoundError,
    SecretStore,
)

pytestmark = pytest.mark.asyncio


@pytest.fixture
def opening(database_url: str, open_keys: Callable[..., KeyManager]):
    @asynccontextmanager
    async def opening(primary: str = "one") -> AsyncIterator[AsyncSecretStore]:
        async with AsyncSecretStore(database_url, open_keys(primary)) as store:
            await store.create_tables()
            yield store

    return opening


async def test_everything_once(opening) -> None:
    async with opening() as store:
        secret_id = await store.put(account_id="a", kind="k", value="tökén")
        assert await store.get(account_id="a", secret_id=secret_id) == "tökén".encode()
        assert await store.get_text(account_id="a", secret_id=secret_id) == "tökén"

        ids = await store.put_many(NewSecret("a", "x", f"v{n}") for n in range(50))
        found = await store.get_many([*(("a", i) for i in ids), ("a", "none")])
        assert [outcome.value for outcome in found.values()] == [b"v%d" % n for n in range(50)]
        assert len(await store.find(account_id="a", kind="x")) == 50
        assert len(await store.list(limit=7)) == 7

        assert await store.rebind("a", "b") == 51
        assert await store.get_text(account_id="b", secret_id=secret_id) == "tökén"
        await store.delete(account_id="b", secret_id=secret_id)
        with pytest.raises(SecretNotFoundError):
            await store.get(account_id="b", secret_id=secret_id)
        with pytest.raises(SecretNotFoundError):
            await store.delete(account_id="b", secret_id=secret_id)


async def test_both_stores_read_each_other(opening, open_keys, database_url: str) -> None:
    async with opening() as store:
        await store.put(account_id="a", kind="k", value="v", secret_id="s")
        with SecretStore(database_url, open_keys("one")) as other:
            assert other.get(account_id="a", secret_id="s") == b"v"
            other.put(account_id="a", kind="k", value="w", secret_id="s")
        assert await store.get(account_id="a", secret_id="s") == b"w"


async def test_errors_are_the_same(opening) -> None:
    async with opening() as store:
        with pytest.raises(InvalidContextError, match="kind"):
            await store.put(account_id="a", kind="", value="v")
        with pytest.raises(DuplicateSecretError):
            await store.put_many([NewSecret("a", "k", "1", "s"), NewSecret("a", "k", "2", "s")])
        await store.put(account_id="a", kind="k", value=b"\xff", secret_id="s")
        with pytest.raises(NotTextError):
            await store.get_text(account_id="a", secret_id="s")
        async with opening("plaintext") as plain:
            with pytest.raises(DowngradeError):
                await plain.put(account_id="a", kind="k", value="v", secret_id="s")
            await plain.put(
                account_id="a", kind="k", value="v", secret_id="s", allow_downgrade=True
            )
            assert await plain.get(account_id="a", secret_id="s") == b"v"


async def test_the_callers_transaction(opening) -> None:
    async with opening() as store:
        async with store.engine.connect() as connection:
            await store.put(account_id="a", kind="k", value="v", connection=connection)
            assert len(await store.list(connection=connection)) == 1
            await connection.rollback()
        assert await store.list() == []


async def test_a_missing_file(tmp_path, open_keys) -> None:
    file = tmp_path / "none.db"
    async with AsyncSecretStore(f"sqlite:///{file}", open_keys("one")) as store:
        with pytest.raises(DatabaseMissingError) as caught:
            await store.list()
    assert caught.value.__context__ is None
    assert not file.exists()


async def test_a_foreign_table(database, open_keys) -> None:
    if database.is_sqlite:
        database.engine.connect().close()
    database.execute("CREATE TABLE secrets (id INTEGER PRIMARY KEY)")
    async with AsyncSecretStore(database.url, open_keys("one")) as store:
        with pytest.raises(ForeignTableError):
            await store.list()
        with pytest.raises(ForeignTableError):
            await store.create_tables()


async def test_many_tasks(opening) -> None:
    """The loop goes on while 40 tasks put and get."""
    async with opening() as store:

        async def work(n: int):
            secret_id = await store.put(account_id=f"a{n % 3}", kind="k", value=f"v{n}")
            return await store.get(account_id=f"a{n % 3}", secret_id=secret_id)

        results = await asyncio.gather(*(work(n) for n in range(40)))
        assert results == [b"v%d" % n for n in range(40)]
        async with store.engine.connect() as connection:
            counted = await connection.execute(
                sa.select(sa.func.count()).select_from(store.layout.table)
            )
            assert counted.scalar_one() == 40
