"""Fences in PostgreSQL: partitions, locks, users, and triggers that were tampered with."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._retiring import Place, run_by_hand

from keyhinge_store import (
    DatabaseUnavailableError,
    FenceError,
    MappedColumn,
    TableMapping,
    add_fence,
    can_retire,
    fence_statements,
    fences,
    remove_fence,
)

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
IDLE = (
    "CREATE OR REPLACE FUNCTION keyhinge_fence() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RETURN NEW; END'"
)


@only_postgresql
@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE tokens DISABLE TRIGGER ALL",
        'ALTER TABLE tokens ENABLE REPLICA TRIGGER "{name}"',
        IDLE,
    ],
)
def test_a_fence_that_does_nothing_is_none(fenced, open_keys, database, damage: str) -> None:
    """The database is asked, not a note of ours; adding it again makes it whole."""
    place, old = fenced("text")
    stored = place.open(open_keys("two"))
    [fence] = fences(stored)
    database.execute(damage.format(name=fence.trigger))
    assert [each.enabled for each in fences(stored)] == [False]
    assert can_retire(stored, "one").grade == "none"
    add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    with pytest.raises(sa.exc.IntegrityError):
        place.save(old)


@only_postgresql
def test_partitions_are_fenced_one_and_all(database, open_keys) -> None:
    database.execute(
        "CREATE TABLE tokens (id integer NOT NULL PRIMARY KEY, secret text) PARTITION BY RANGE (id)"
    )
    database.execute("CREATE TABLE low PARTITION OF tokens FOR VALUES FROM (0) TO (10)")
    database.execute("CREATE TABLE high PARTITION OF tokens FOR VALUES FROM (10) TO (20)")
    mapping = TableMapping(
        table="tokens", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
    )
    text = MappedColumn(database.engine, open_keys("one"), mapping).encrypt("x", {})["secret"]
    stored = MappedColumn(database.engine, open_keys("two"), mapping)
    add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    for table, key in (("tokens", 1), ("low", 2), ("high", 12)):
        with pytest.raises(sa.exc.IntegrityError):
            database.execute(f"INSERT INTO {table} VALUES ({key}, '{text}')")
    database.execute("ALTER TABLE high DISABLE TRIGGER ALL")
    assert can_retire(stored, "one").grade == "none"
    assert [each.enabled for each in fences(stored)] == [False]


@only_postgresql
def test_tables_that_inherit_are_not_fenced(database, open_keys) -> None:
    """Rows of an heir are rows of the table, and a trigger doesn't see them."""
    place = Place(database, "text")
    stored = place.open(open_keys("two"))
    add_fence(stored, "one")
    database.execute("CREATE TABLE heir () INHERITS (tokens)")
    assert can_retire(stored, "one").grade == "none"
    remove_fence(stored, "one")
    with pytest.raises(FenceError, match="inherit from it"):
        add_fence(stored, "one")


@only_postgresql
def test_the_application_does_not_wait_behind_the_fence(
    database, database_url: str, open_keys
) -> None:
    """A transaction that is open keeps the fence waiting, and nobody else."""
    place = Place(database, "own")
    stored = place.open(open_keys("two"))
    engine = sa.create_engine(database_url)
    waits: list[str] = []
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("UPDATE secrets SET kind = kind")  # holds its lock
            with pytest.raises(DatabaseUnavailableError) as caught:
                add_fence(stored, "one", patience=0)
            assert caught.value.sqlstate == "55P03"
            assert fences(stored) == ()

            def watch(_: Any, __: Any, statement: str, *___: Any) -> None:
                waits.append(statement)
                if len([each for each in waits if "CREATE TRIGGER" in each]) == 3:
                    connection.rollback()

            sa.event.listen(database.engine, "before_cursor_execute", watch)
            assert add_fence(stored, "one")  # after two tries that gave up
    finally:
        engine.dispose()


@only_postgresql
def test_a_table_too_large_to_be_looked_at_is_let_go(database, open_keys) -> None:
    """Applications can't write meanwhile, so that has a limit."""
    place = Place(database, "text")
    database.execute(
        "INSERT INTO tokens SELECT n, '', 'kh1:two:k:1:AAAA' FROM generate_series(1, 20000) n"
    )
    stored = place.open(open_keys("two"))
    with pytest.raises(FenceError, match=r"took longer than 0\.001 s"):
        add_fence(stored, "one", hold=0.001)
    assert fences(stored) == ()


@only_postgresql
def test_a_user_who_may_not_make_triggers(database, database_url: str, open_keys) -> None:
    """Is told so, and what was printed for somebody else is recognised."""
    place = Place(database, "text")
    database.execute("CREATE ROLE app LOGIN PASSWORD 'pw'")
    database.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON tokens TO app")
    engine = sa.create_engine(sa.make_url(database_url).set(username="app", password="pw"))
    try:
        stored = place.open(open_keys("two"), engine)
        with pytest.raises(Exception, match="lacks a privilege"):
            add_fence(stored, "one")
        run_by_hand(database, fence_statements(stored, "one"))
        assert can_retire(stored, "one").grade == "fenced"
        assert [each.enabled for each in fences(stored)] == [True]
    finally:
        engine.dispose()
        database.execute("DROP OWNED BY app")
        database.execute("DROP ROLE app")
