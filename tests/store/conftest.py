"""Fixtures of the store's tests: real keys, and stores on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import SecretStore

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
