"""What would stop a migration half-way is said before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import MappedColumn, MigrationError, TableMapping, migrate, verify

OpenColumn = Callable[..., MappedColumn]
DDL = "CREATE TABLE t (id integer PRIMARY KEY NOT NULL, secret {type})"


@pytest.fixture
def open_column(database_url: str, database: Any) -> Iterator[OpenColumn]:
    """Maps the table `t`: `open_column(keys)`, also as another user with `user=`."""
    opened: list[MappedColumn] = []

    def make(keys: KeyManager, user: str | None = None, **query: str) -> MappedColumn:
        url = sa.make_url(database_url).update_query_dict(query)
        if user is not None:
            url = url.set(username=user, password="pw")
        mapping = TableMapping(
            table="t",
            primary_key="id",
            encoding="text",
            columns={"ciphertext": "secret"},
            context={"id": "id"},
        )
        opened.append(MappedColumn(url, keys, mapping))
        return opened[-1]

    yield make
    for column in opened:
        column.close()


def put(column: MappedColumn, database: Any, number: int, plaintext: str) -> None:
    text = column.encrypt(plaintext, {"id": number})["secret"]
    database.execute(f"INSERT INTO t VALUES ({number}, '{text}')")


@pytest.fixture
def role(database: Any) -> Iterator[str]:
    """A user of PostgreSQL who may do nothing yet."""
    database.execute("CREATE ROLE somebody LOGIN PASSWORD 'pw'")
    database.execute("GRANT CREATE, USAGE ON SCHEMA public TO somebody")
    yield "somebody"
    database.execute("DROP OWNED BY somebody CASCADE")
    database.execute("DROP ROLE somebody")


# SQLite bounds no text, and has neither users nor settings in a URL.
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@only_postgresql
class TestCapacity:
    def test_a_column_that_is_too_narrow(self, open_column, open_keys, database) -> None:
        """The plaintexts of the old section are short; the new values aren't."""
        database.execute(DDL.format(type="varchar(100)"))
        old = open_column(open_keys("plaintext"))
        put(old, database, 1, "short")
        put(old, database, 2, "a token of some length, as they are")
        before = database.execute("SELECT * FROM t ORDER BY id")

        with pytest.raises(MigrationError, match=r"'secret' of t takes 100 .* has \d+\. Make it"):
            migrate(open_column(open_keys("one")))

        assert database.execute("SELECT * FROM t ORDER BY id") == before
        assert database.execute("SELECT to_regclass('keyhinge_run')") == [(None,)]

    def test_one_that_is_wide_enough(self, open_column, open_keys, database) -> None:
        database.execute(DDL.format(type="varchar(400)"))
        put(open_column(open_keys("plaintext")), database, 1, "short")

        column = open_column(open_keys("one"))

        assert migrate(column, dry_run=True).verified == 1
        assert migrate(column).moved == 1
        assert verify(column).ok


@only_postgresql
class TestPrivileges:
    @pytest.mark.parametrize(
        ("granted", "missing"),
        [("SELECT", r"UPDATE \(secret\)"), ("SELECT, UPDATE (id)", r"UPDATE \(secret\)")],
    )
    def test_missing(self, granted, missing, role, open_column, open_keys, database) -> None:
        database.execute(DDL.format(type="text"))
        put(open_column(open_keys("two")), database, 1, "x")
        database.execute(f"GRANT {granted} ON t TO {role}")
        database.execute(f"GRANT SELECT, INSERT ON keyhinge_mapping TO {role}")
        column = open_column(open_keys("one"), user=role)

        with pytest.raises(MigrationError, match=missing):
            migrate(column)
        assert migrate(column, dry_run=True).verified == 1

    def test_enough(self, role, open_column, open_keys, database) -> None:
        database.execute(DDL.format(type="text"))
        put(open_column(open_keys("two")), database, 1, "x")
        database.execute(f"GRANT SELECT, UPDATE (secret) ON t TO {role}")
        database.execute(f"GRANT SELECT, INSERT ON keyhinge_mapping TO {role}")

        assert migrate(open_column(open_keys("one"), user=role)).moved == 1

    def test_row_security(self, role, open_column, open_keys, database) -> None:
        """What the user can't see would be left behind, and the run would say that it's done."""
        database.execute(DDL.format(type="text"))
        put(open_column(open_keys("two")), database, 1, "x")
        database.execute(f"GRANT SELECT, UPDATE ON t TO {role}")
        database.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
        database.execute("CREATE POLICY part ON t USING (id > 10)")
        database.execute(f"GRANT SELECT, INSERT ON keyhinge_mapping TO {role}")

        for dry_run in (False, True):
            with pytest.raises(MigrationError, match="row security hides rows of t"):
                migrate(open_column(open_keys("one"), user=role), dry_run=dry_run)

    def test_a_connection_that_can_only_read(self, open_column, open_keys, database) -> None:
        database.execute(DDL.format(type="text"))
        put(open_column(open_keys("two")), database, 1, "x")
        read_only = {"options": "-c default_transaction_read_only=on"}
        column = open_column(open_keys("one"), **read_only)

        with pytest.raises(MigrationError, match="can only read"):
            migrate(column)
        assert migrate(column, dry_run=True).verified == 1


def test_triggers_are_named(open_column, open_keys, database) -> None:
    database.execute(DDL.format(type="text"))
    put(open_column(open_keys("two")), database, 1, "x")
    if database.is_sqlite:
        database.execute("CREATE TRIGGER audit AFTER UPDATE ON t BEGIN SELECT 1; END")
        database.execute("CREATE TRIGGER other AFTER INSERT ON t BEGIN SELECT 1; END")
    else:
        database.execute(
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        )
        made = "ON t FOR EACH ROW EXECUTE FUNCTION nothing()"
        database.execute(f"CREATE TRIGGER audit BEFORE UPDATE {made}")
        database.execute(f"CREATE TRIGGER other BEFORE INSERT {made}")

    report = migrate(open_column(open_keys("one")))

    assert report.moved == 1
    [warning] = report.warnings
    assert "'audit' on t" in warning


def test_nothing_to_say(open_column, open_keys, database) -> None:
    database.execute(DDL.format(type="text"))
    put(open_column(open_keys("two")), database, 1, "x")
    assert migrate(open_column(open_keys("one"))).warnings == ()
