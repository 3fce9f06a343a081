"""Where our own tables are in PostgreSQL: in one place, whatever a role's `search_path` is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import InvalidCiphertextError, KeyManager
from keyhinge_store import (
    MappedColumn,
    MappingError,
    SecretStore,
    TableMapping,
    Tables,
    create_state_tables,
    migrate,
    report,
    runs,
    verify,
)
from keyhinge_store._table import now

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

MAPPING = TableMapping(
    table="t",
    primary_key="id",
    encoding="text",
    columns={"ciphertext": "secret"},
    context={"id": "id"},
    adopt="plaintext",
)
TABLE = "CREATE TABLE {}.{} (id integer PRIMARY KEY NOT NULL, secret text)"
Open = Callable[..., Any]


@pytest.fixture
def role(database_url: str, database: Any) -> Iterator[Callable[[str], sa.URL]]:
    """Makes users who look for tables in places of their own: `role("ops, app")`."""
    made: list[str] = []
    for schema in ("app", "ops"):
        database.execute(f"CREATE SCHEMA {schema}")
    database.execute(TABLE.format("app", "t"))

    def make(search_path: str, rights: str = "SUPERUSER") -> sa.URL:
        made.append(f"role_{uuid.uuid4().hex}")
        database.execute(f"CREATE ROLE {made[-1]} LOGIN PASSWORD 'pw' {rights}")
        database.execute(f"ALTER ROLE {made[-1]} SET search_path = {search_path}")
        return sa.make_url(database_url).set(username=made[-1], password="pw")

    yield make
    for each in made:
        database.execute(f"DROP OWNED BY {each} CASCADE")
        database.execute(f"DROP ROLE {each}")


@pytest.fixture
def open_column() -> Iterator[Open]:
    """Maps `t` for a user: `open_column(url, keys)`."""
    opened: list[MappedColumn] = []

    def make(url: sa.URL, keys: KeyManager, mapping: Any = MAPPING, **given: Any) -> MappedColumn:
        opened.append(MappedColumn(url, keys, mapping, **given))
        return opened[-1]

    yield make
    for column in opened:
        column.close()


def places(database: Any) -> set[tuple[str, str]]:
    """Our own tables: schema and name."""
    return set(
        database.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE tablename LIKE 'keyhinge%'"
        )
    )


def schemas(database: Any) -> set[str]:
    return {schema for schema, _ in places(database)}


def test_an_adoption_is_finished_for_all(role, open_column, open_keys, database) -> None:
    database.execute("INSERT INTO app.t VALUES (1, 'plain')")
    application = open_column(role("app"), open_keys("one"))
    migrator = open_column(role("ops, app"), open_keys("one"))
    assert application.decrypt({"id": 1, "secret": "plain"}) == b"plain"
    assert migrate(migrator).moved == 1
    migrator.finish_adoption()

    application.refresh()
    with pytest.raises(InvalidCiphertextError):
        application.decrypt({"id": 1, "secret": "planted"})
    assert schemas(database) == {"app"}


def test_a_run_is_one_for_all(role, open_column, open_keys, database) -> None:
    database.execute("INSERT INTO app.t VALUES (1, 'plain'), (2, 'plain')")
    migrator = open_column(role("ops, app"), open_keys("one"))
    other = open_column(role("app"), open_keys("one"))
    assert migrate(migrator).moved == 2
    assert [each.moved for each in runs(other)] == [2]
    assert verify(other).recorded
    assert [each.operation for each in runs(migrator)] == ["verify", "migrate"]
    found = report(other, since=now().replace(year=2020))
    assert [each.run.operation for each in found.runs] == ["migrate", "verify"]
    assert schemas(database) == {"app"}


def test_those_of_the_store(role, open_keys, fill, database) -> None:
    urls = role("app"), role("ops, app")
    with SecretStore(urls[0], open_keys("one")) as store:
        store.create_tables()
        fill(store, 5)
    with SecretStore(urls[1], open_keys("two")) as store:
        assert migrate(store).moved == 5
    with SecretStore(urls[0], open_keys("two")) as store:
        assert [each.moved for each in runs(store)] == [5]
    assert schemas(database) == {"app"}


def test_a_store_that_has_no_table_yet(role, open_keys, database) -> None:
    with SecretStore(role("ops, app"), open_keys("one"), schema="app") as store:
        assert runs(store) == []
        store.create_tables()
        create_state_tables(store)
    assert schemas(database) == {"app"}


@pytest.mark.parametrize("names", [{"table": "t"}, {"table": "t", "schema": "app"}])
def test_another_place_on_the_path_is_told(names, role, open_column, open_keys, database) -> None:
    """A second set would begin without the pins, the adoptions and the runs of the first."""
    database.execute("INSERT INTO app.t VALUES (1, 'plain')")
    column = open_column(role("app"), open_keys("one"))
    column.pin()
    migrate(column)
    column.finish_adoption()
    for _, name in places(database):
        database.execute(f"ALTER TABLE app.{name} SET SCHEMA ops")

    mapping = TableMapping(
        **names,
        primary_key="id",
        encoding="text",
        columns=MAPPING.columns,
        context=MAPPING.context,
        adopt="plaintext",
    )
    for path in ("app", "ops, app"):
        other = open_column(role(path), open_keys("one"), mapping)
        for use in (lambda: other.decrypt({"id": 1, "secret": "x"}), lambda: migrate(other)):  # noqa: B023 - at once
            with pytest.raises(MappingError, match=r"stateSchema: .* but there are some in 'ops'"):
                use()
    assert schemas(database) == {"ops"}
    for path in ("app", "ops, app"):
        told = open_column(role(path), open_keys("one"), mapping, state_schema="ops")
        with pytest.raises(InvalidCiphertextError):
            told.decrypt({"id": 1, "secret": "planted"})
        assert migrate(told).moved == 0


def test_those_of_another_application(role, open_column, open_keys, database) -> None:
    """It has a table of the same name beside them, or its schema is closed to this one."""
    database.execute(TABLE.format("ops", "t"))
    tenants = [open_column(role(path), open_keys("one")) for path in ("app, ops", "ops, app")]
    for column in tenants:
        create_state_tables(column)
    assert schemas(database) == {"app", "ops"}

    database.execute("CREATE SCHEMA closed")
    database.execute(TABLE.format("closed", "other"))
    database.execute("CREATE SCHEMA own")
    database.execute(TABLE.format("own", "mine"))
    url = role("own", "")
    database.execute(f"GRANT ALL ON SCHEMA own TO {url.username}")
    database.execute(f"GRANT ALL ON own.mine TO {url.username}")
    mapping = TableMapping(
        table="mine", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
    )
    create_state_tables(open_column(url, open_keys("one"), mapping))
    assert schemas(database) == {"app", "ops", "own"}


def test_a_schema_that_is_given(role, open_column, open_keys, database) -> None:
    database.execute("INSERT INTO app.t VALUES (1, 'plain')")
    columns = [
        open_column(role(path), open_keys("one"), state_schema="ops")
        for path in ("app", "ops, app")
    ]
    migrate(columns[0])
    assert [each.moved for each in runs(columns[1])] == [1]
    assert schemas(database) == {"ops"}
    with pytest.raises(MappingError, match="no schema 'nowhere'"):
        open_column(role("app"), open_keys("one"), state_schema="nowhere").pin()


def test_given_later_it_is_told_that_there_are_some(role, open_column, open_keys, database) -> None:
    open_column(role("app"), open_keys("one")).pin()
    with pytest.raises(MappingError, match="but there are some in 'app'"):
        open_column(role("app"), open_keys("one"), state_schema="ops").pin()


def test_tables_in_several_schemas_share_one_place(role, open_column, open_keys, database) -> None:
    database.execute(TABLE.format("ops", "u"))
    other = TableMapping(
        table="u", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
    )
    url = role("app, ops")
    with Tables(url, open_keys("one"), [MAPPING, other]) as tables:
        tables.pin()
        for column in tables:
            migrate(column)
        assert len(runs(tables)) == 2
    assert schemas(database) == {"app"}
    with pytest.raises(MappingError, match="but there are some in 'app'"):
        open_column(url, open_keys("one"), other).pin()
