"""Fixtures of the store's tests: real keys, and stores on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._retiring import Place

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, SecretStore, add_fence, migrate

OpenKeys = Callable[..., KeyManager]


@pytest.fixture
def configuration(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """A configuration with plaintext, two local sections and one that can be left out."""
    for name in ("one", "two"):
        keyfile.init(tmp_path / f"{name}.key")

    def make(primary: str) -> dict[str, Any]:
        sections = {
            "plaintext": {},
            "one": {"type": "local", "keyFile": str(tmp_path / "one.key")},
            "two": {"type": "local", "keyFile": str(tmp_path / "two.key")},
        }
        return {"keyManagement": {"provider": primary, **sections}}

    return make


@pytest.fixture
def open_keys(configuration: Callable[[str], dict[str, Any]]) -> Iterator[OpenKeys]:
    """Opens KeyManagers: `open_keys("one")`, `open_keys("one", without=["plaintext"])`."""
    opened: list[KeyManager] = []

    def make(primary: str, *, without: tuple[str, ...] = (), **options: Any) -> KeyManager:
        config = configuration(primary)
        for name in without:
            del config["keyManagement"][name]
        opened.append(KeyManager.open(config, **options))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


@pytest.fixture
def open_store(database_url: str) -> Iterator[Callable[..., SecretStore]]:
    """Opens stores on one fresh database, with the table made."""
    opened: list[SecretStore] = []

    def make(keys: KeyManager, **options: Any) -> SecretStore:
        store = SecretStore(database_url, keys, **options)
        store.create_tables()
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., SecretStore], open_keys: OpenKeys) -> SecretStore:
    """A store under the section `one`."""
    return open_store(open_keys("one"))


class Database:
    """One fresh database, with what tests need to look behind the store's back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        self.is_sqlite = url.startswith("sqlite")

    def execute(self, statement: str, **values: object) -> list[Any]:
        """Run one statement in a transaction of its own; give its rows, if it has any."""
        with self.engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def dump(self) -> str:
        """Everything that stands in the table, as one text."""
        return "\n".join(map(repr, self.execute("SELECT * FROM secrets")))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The database that `open_store` and `store` use."""
    opened = Database(database_url)
    yield opened
    opened.engine.dispose()


Secrets = dict[tuple[str, str], bytes]


@pytest.fixture
def fill() -> Callable[[SecretStore, int], Secrets]:
    """Stores secrets and tells what was stored: `fill(store, 1000)`."""

    def fill(store: SecretStore, count: int) -> Secrets:
        secrets = [
            NewSecret(f"acct_{n % 17}", f"kind_{n % 3}", f"PLAIN-{n}-tökén", f"s{n:05}")
            for n in range(count)
        ]
        store.put_many(secrets)
        return {(s.account_id, str(s.secret_id)): str(s.value).encode() for s in secrets}

    return fill


@pytest.fixture
def everything() -> Callable[[SecretStore], Secrets]:
    """Decrypts every secret of a store; one that fails raises."""

    def everything(store: SecretStore) -> Secrets:
        found = store.get_many(info.key for info in store.list())
        return {key: outcome.value for key, outcome in found.items()}

    return everything


@pytest.fixture
def fenced(database: Database, open_keys: OpenKeys) -> Callable[[str], Any]:
    """Makes a table whose values were moved and fenced; gives it and the old row."""

    def make(encoding: str) -> tuple[Place, dict[str, Any]]:
        place = Place(database, encoding)
        place.put(place.open(open_keys("one")), 1, "PLAIN-hunter2")
        [old] = place.rows()
        stored = place.open(open_keys("two"))
        migrate(stored)
        assert len(add_fence(stored, "one")) == 1
        return place, old

    return make
