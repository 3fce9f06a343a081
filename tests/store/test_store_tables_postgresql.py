"""What only PostgreSQL has: partitions, collations, domains, types of many kinds, and roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import MappedColumn, MappingError, TableMapping, migrate, status, verify

OpenColumn = Callable[..., MappedColumn]


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def open_column(engine: sa.Engine) -> OpenColumn:
    """Makes tables with SQL and maps `t`: `open_column(keys, ddl, **mapping)`."""

    def make(keys: KeyManager, *ddl: str, **mapping: Any) -> MappedColumn:
        with engine.begin() as connection:
            for statement in ddl:
                connection.exec_driver_sql(statement)
        given = {
            "table": "t",
            "primary_key": "id",
            "encoding": "text",
            "columns": {"ciphertext": "secret"},
            **mapping,
        }
        return MappedColumn(engine, keys, TableMapping(**given))

    return make


def fill(column: MappedColumn, rows: list[dict[str, str]], context: tuple[str, ...] = ()) -> None:
    """Insert rows whose columns are given as SQL; those of the context are given as text."""
    for row in rows:
        cells = column.encrypt("x", {name: row[name].strip("'") for name in context})
        names = ", ".join((*row, *cells))
        marks = ", ".join((*row.values(), *(f"%({name})s" for name in cells)))
        with column.engine.begin() as connection:
            connection.exec_driver_sql(f"INSERT INTO t ({names}) VALUES ({marks})", cells)


@pytest.mark.parametrize(
    ("kind", "keys_in_sql"),
    [
        ("timestamptz", ["'infinity'", "'-infinity'", "'2026-01-01 00:00:00.000001+02'"]),
        ("timestamp", ["'0044-03-15 BC'", "'2026-01-01'"]),
        ("date", ["'infinity'", "'2026-01-01'", "'0001-01-01 BC'"]),
        ("numeric", ["'NaN'", "1.50", "-0.000000000000000000001", "1e300"]),
        ("double precision", ["'NaN'", "'-Infinity'", "0.1", "1e-300"]),
        ("boolean", ["true", "false"]),
        ("char(5)", ["'a'", "'ab'"]),
        ("bytea", [r"'\x00ff'", r"'\x'", r"'\x5c22'"]),
        ("inet", ["'10.0.0.1'", "'::1/64'"]),
        ("smallint", ["-32768", "32767"]),
        ("int[]", ["'{1,2}'", "'{}'"]),
        ("interval", ["'1 mon'", "'-3 days'"]),
        ("mood", ["'happy \"\\,{}'", "'sad'"]),
        ('"odd type%:x"', ["'a'", "'b'"]),
        ("positive", ["1", "2"]),
    ],
)
def test_keys_of_any_type(open_column, open_keys, kind: str, keys_in_sql: list[str]) -> None:
    """Each row is found again, in several pages, and none twice."""
    column = open_column(
        open_keys("one"),
        """CREATE TYPE mood AS ENUM ('sad', 'happy "\\,{}')""",
        'CREATE DOMAIN "odd type%%:x" AS varchar(9)',
        "CREATE DOMAIN small AS integer",
        "CREATE DOMAIN positive AS small CHECK (VALUE > 0)",
        f"CREATE TABLE t (id {kind.replace('%', '%%')} PRIMARY KEY, secret text)",
    )
    fill(column, [{"id": each} for each in keys_in_sql])

    report = migrate(column, open_keys("two"), batch_size=1)

    assert (report.moved, report.failed, report.complete) == (len(keys_in_sql), 0, True)
    assert verify(column, open_keys("two")).opened == len(keys_in_sql)


@pytest.mark.parametrize("kind", ["citext", 'text COLLATE "nocase"'])
def test_collations_that_call_other_text_equal(open_column, open_keys, engine, kind: str) -> None:
    """In key, context, `where` and the value itself, everything is compared byte by byte."""
    if not (has_citext if kind == "citext" else has_nocase)(engine):
        pytest.skip(f"this PostgreSQL was built without what {kind} needs (contrib, or ICU)")
    column = open_column(
        open_keys("one"),
        f"CREATE TABLE t (id {kind} PRIMARY KEY, tenant {kind} NOT NULL, secret {kind})",
        context={"id": "id", "tenant": "tenant"},
        where={"tenant": ["A", "b"]},
    )
    rows = [{"id": f"'{name}'", "tenant": f"'{tenant}'"} for name, tenant in
            (("X", "A"), ("y", "a"), ("Z", "B"), ("w", "b"))]  # fmt: skip
    fill(column, rows, ("id", "tenant"))

    report = migrate(column, open_keys("two"), batch_size=1)

    assert (report.moved, report.failed, report.complete) == (2, 0, True)
    with column.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE t SET tenant = 'B' WHERE id = 'w'")
    assert verify(column, open_keys("two")).values == 1
    # Another case in the marker is another text.
    with column.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE t SET secret = upper(secret::text) WHERE id = 'X'")
    assert status(column).unreadable == 1


def has_citext(engine: sa.Engine) -> bool:
    available = sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'")
    with engine.begin() as connection:
        if not connection.execute(available).scalar_one():
            return False
        connection.exec_driver_sql("CREATE EXTENSION citext")
    return True


def has_nocase(engine: sa.Engine) -> bool:
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', "
                "deterministic = false)"
            )
    except sa.exc.NotSupportedError:
        return False
    return True


def test_a_partitioned_table(open_column, open_keys) -> None:
    """Works as a whole: its key is unique over all partitions."""
    column = open_column(
        open_keys("one"),
        "CREATE TABLE t (id integer, region text, secret text, PRIMARY KEY (id, region)) "
        "PARTITION BY LIST (region)",
        "CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a')",
        "CREATE TABLE t_b PARTITION OF t FOR VALUES IN ('b')",
        primary_key=("id", "region"),
        context={"id": "id", "region": "region"},
    )
    rows = [{"id": str(number), "region": f"'{'ab'[number % 2]}'"} for number in range(20)]
    fill(column, rows, ("id", "region"))

    assert migrate(column, open_keys("two"), batch_size=7).moved == 20
    assert verify(column, open_keys("two")).opened == 20


@pytest.mark.parametrize(
    ("ddl", "problem"),
    [
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS id, '' AS secret", "materialized view"),
        ("CREATE SEQUENCE t", "isn't a table"),
        ("CREATE TABLE t (id json, secret text)", "unique index"),
        ("CREATE TABLE t (id int PRIMARY KEY, secret char(900))", "not text"),
        ("CREATE TABLE t (id int, secret text, EXCLUDE (id WITH =))", "unique index"),
    ],
)
def test_what_cannot_be_mapped(open_column, open_keys, ddl: str, problem: str) -> None:
    with pytest.raises(MappingError, match=problem):
        status(open_column(open_keys("one"), ddl))


def test_indexes_that_do_not_do(open_column, open_keys) -> None:
    """Partial ones, ones over expressions, and columns that are only included."""
    column = open_column(
        open_keys("one"),
        "CREATE TABLE t (id int NOT NULL, n int NOT NULL, secret text)",
        "CREATE UNIQUE INDEX ON t (id) WHERE n > 0",
        "CREATE UNIQUE INDEX ON t (abs(id))",
        "CREATE UNIQUE INDEX ON t (n) INCLUDE (id)",
    )
    with pytest.raises(MappingError, match="no unique index"):
        status(column)
    other = MappedColumn(
        column.engine,
        column.keys,
        TableMapping(table="t", primary_key="n", encoding="text", columns={"ciphertext": "secret"}),
    )
    assert status(other).values == 0


def test_values_that_are_too_long(open_column, open_keys) -> None:
    """The rows that don't fit stay as they are and are told, with the database's own code."""
    column = open_column(
        open_keys("one"),
        "CREATE TABLE t (id int PRIMARY KEY, secret text CHECK (length(secret) <= 130))",
        adopt="plaintext",
    )
    with column.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 60) AS n"
        )

    report = migrate(column)

    assert report.moved + report.failed == 60
    assert report.moved > 0
    assert report.failed > 0
    assert {failure.sqlstate for failure in report.failures} == {"23514"}
    [found] = status(column).tables
    assert found.plaintexts == report.failed


def test_another_schema(open_column, open_keys) -> None:
    column = open_column(
        open_keys("one"),
        'CREATE SCHEMA "o th%%er:x"',
        'CREATE TABLE "o th%%er:x".t (id int PRIMARY KEY, secret text)',
        schema="o th%er:x",
        context={"id": "id"},
    )
    with column.engine.begin() as connection:
        table = column.layout.table
        connection.execute(sa.insert(table), [{"id": 1, **column.encrypt("x", {"id": 1})}])
    assert column.name == "o th%er:x.t.secret"
    assert migrate(column, open_keys("two")).moved == 1


def test_statements_go_by_the_batch(open_column, open_keys) -> None:
    """1,000 rows in batches of 100 cost as many statements as in a store's own table."""
    column = open_column(
        open_keys("one"),
        "CREATE TABLE t (id int PRIMARY KEY, secret text)",
        adopt="plaintext",
    )
    with column.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 1000) n")
    status(column)
    statements: list[str] = []
    sa.event.listen(
        column.engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: statements.append(statement),
    )

    assert migrate(column, batch_size=100).moved == 1000

    assert len(statements) <= 10 * 18 + 90
