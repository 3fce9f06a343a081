"""The yearly rotation with a real OpenBao: rotate, rewrap, raise the key's minimum, all opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import (
    MappedColumn,
    NewSecret,
    SecretStore,
    TableMapping,
    Tables,
    report,
    rewrap,
    status,
    verify,
)

COUNT = 60
YEAR = timedelta(days=365)

OpenKeys = Callable[[], KeyManager]


@pytest.fixture(params=[True, False], ids=["derived", "ordinary"])
def section(request: pytest.FixtureRequest, bao_section) -> dict[str, Any]:
    """A section whose values the server can rewrap by itself, or can't."""
    made: dict[str, Any] = bao_section("openbao", derived=request.param)
    return made


@pytest.fixture
def open_keys(section: dict[str, Any]) -> Iterator[OpenKeys]:
    """Opens the configuration as a process does that has just been started."""
    opened: list[KeyManager] = []

    def make() -> KeyManager:
        config = {"keyManagement": {"provider": "openbao", "openbao": section}}
        opened.append(KeyManager.open(config, environ={}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


@pytest.fixture
def store(database_url: str, open_keys: OpenKeys) -> Iterator[SecretStore]:
    """The store's own table."""
    with SecretStore(database_url, open_keys()) as opened:
        opened.create_tables()
        opened.put_many(
            NewSecret("acct", "kind", f"secret {n}", f"sec_{n:02}") for n in range(COUNT)
        )
        yield opened


@pytest.fixture
def tables(database_url: str, store: SecretStore) -> Tables:
    """A table that was there already, beside it."""
    keys, engine = store.keys, store.engine
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tokens (id integer PRIMARY KEY, token text)")
    mapping = TableMapping(
        table="tokens",
        primary_key="id",
        encoding="text",
        columns={"ciphertext": "token"},
        context={"id": "id"},
    )
    column = MappedColumn(engine, keys, mapping)
    rows = [{"id": n, **column.encrypt(f"token {n}", {"id": n})} for n in range(10)]
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO tokens VALUES (:id, :token)"), rows)
    return Tables(engine, keys, [mapping])


def rotate(bao: Any, key: str) -> None:
    bao.api("POST", f"transit/keys/{key}/rotate")


def retire_first_version(bao: Any, key: str) -> None:
    bao.api("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})


def test_the_whole_procedure(
    store: SecretStore, tables: Tables, open_keys: OpenKeys, section: dict[str, Any], bao: Any
) -> None:
    """Nothing is lost, and the report proves it."""
    began = datetime.now(timezone.utc)
    rotate(bao, section["keyID"])
    keys = open_keys()
    assert status(store, keys).stale == COUNT
    assert rewrap(store, keys).moved == COUNT
    assert rewrap(tables, keys).moved == 10
    assert verify(store, keys).ok
    assert verify(tables, keys).ok
    retire_first_version(bao, section["keyID"])

    after = open_keys()
    assert verify(store, after).opened == COUNT
    assert verify(tables, after).opened == 10
    expected = {("acct", f"sec_{n:02}"): f"secret {n}".encode() for n in range(COUNT)}
    with SecretStore(store.engine, after) as opened:
        found = opened.get_many(expected)
    assert {key: outcome.value for key, outcome in found.items()} == expected

    told = report(store, after, since=began, max_key_age=YEAR)
    assert told.status.policy == "kept"
    by_operation = [each.run.operation for each in told.runs]
    assert by_operation == ["rewrap"] * 2 + ["verify"] * 4
    first = told.runs[0]
    assert [(each.version, each.before, each.after) for each in first.labels] == [
        ("1", COUNT, 0),
        ("2", 0, COUNT),
    ]
    assert first.run.target_key == (section["keyID"], "2")
    assert all(each.run.failed == 0 for each in told.runs)


def test_without_the_rewrap_it_would_have_been_lost(
    store: SecretStore, open_keys: OpenKeys, section: dict[str, Any], bao: Any
) -> None:
    """That is why the minimum comes last. Lowered again, all is there."""
    store.put(account_id="acct", kind="kind", value="x", secret_id="rewrapped")
    rotate(bao, section["keyID"])
    with SecretStore(store.engine, open_keys()) as later:
        later.put(account_id="acct", kind="kind", value="new", secret_id="new")
    retire_first_version(bao, section["keyID"])

    found = verify(store, open_keys())
    assert (found.opened, found.failed) == (1, COUNT + 1)
    assert found.reasons == {"KeyUnavailableError": COUNT + 1}
    report_ = rewrap(store, open_keys())
    assert (report_.moved, report_.failed) == (0, COUNT + 1)

    bao.api("POST", f"transit/keys/{section['keyID']}/config", {"min_decryption_version": 1})
    assert rewrap(store, open_keys()).moved == COUNT + 1
    retire_first_version(bao, section["keyID"])
    assert verify(store, open_keys()).ok
