"""`status` counts, `verify` opens everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keyhinge import UnavailableError
from keyhinge_local import keyfile
from keyhinge_store import (
    MappedColumn,
    NewSecret,
    SecretStore,
    TableMapping,
    _counting,
    _estimating,
    ages,
    migrate,
    samples,
    status,
    verify,
)

KEY = ("account_id", "secret_id")


@contextmanager
def sent(engine: sa.Engine) -> Iterator[list[list[str]]]:
    """Collect the statements that are sent, one list for each transaction."""
    transactions: list[list[str]] = [[]]

    def note(connection, cursor, statement, parameters, context, executemany):
        transactions[-1].append(statement)

    def end(connection):
        transactions.append([])

    sa.event.listen(engine, "before_cursor_execute", note)
    for name in ("commit", "rollback"):
        sa.event.listen(engine, name, end)
    yield transactions
    sa.event.remove(engine, "before_cursor_execute", note)
    for name in ("commit", "rollback"):
        sa.event.remove(engine, name, end)


class TestStatus:
    def test_nothing_stored(self, store: SecretStore) -> None:
        report = status(store)

        assert (report.values, report.stale, report.oldest) == (0, 0, None)
        assert report.primary == "one"
        assert report.current == store.keys.current_key()

    def test_values_by_label(self, open_store, open_keys, tmp_path) -> None:
        """Three sections, two versions of one of them."""
        for name, count in (("plaintext", 2), ("two", 3), ("one", 4)):
            store = open_store(open_keys(name))
            store.put_many(NewSecret("a", "k", "v", f"{name}-{n}") for n in range(count))
        keyfile.rotate(tmp_path / "one.key", activate=True)
        store = open_store(open_keys("one"))
        store.put_many(NewSecret("a", "k", "v", f"new-{n}") for n in range(5))

        report = status(store)

        counted = {(each.section, each.stale, each.encrypts): each.values for each in report.labels}
        assert counted == {
            ("plaintext", True, False): 2,
            ("two", True, True): 3,
            ("one", True, True): 4,
            ("one", False, True): 5,
        }
        assert (report.values, report.stale, report.unencrypted) == (14, 9, 2)
        assert (report.unreadable, report.not_configured) == (0, 0)
        assert report.oldest == min(info.encrypted_at for info in store.list())

    @pytest.mark.parametrize("rows", [0, 8, 9, 45])
    def test_part_by_part(self, open_store, open_keys, fill, monkeypatch, rows) -> None:
        """Each in a transaction of its own, so that none is open for long in a large table."""
        monkeypatch.setattr(_counting, "PART_KEYS", 10)
        fill(open_store(open_keys("two")), rows)
        store = open_store(open_keys("one"))
        store.put(account_id="acct_3", kind="k", value="v", secret_id="s00000")
        with sent(store.engine) as transactions:
            report = status(store)
        counted = {label.section: label.values for label in report.labels}
        assert counted == ({"one": 1, "two": rows} if rows else {"one": 1})
        parts = (rows + 1) // 10 + 1
        grouped = [each for each in transactions if any("GROUP BY" in text for text in each)]
        assert len(grouped) == parts
        assert [len(each) for each in grouped] == [2] * parts  # to find its end, and to count
        assert sum(month.values for month in ages(store)) == rows + 1

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_an_estimate_reads_a_sample(self, open_store, open_keys, fill, database) -> None:
        """Two statements, however large the table is; roughly right."""
        fill(open_store(open_keys("two")), 6000)
        store = open_store(open_keys("one"))
        store.put_many(NewSecret("a", "k", "v", f"one-{n}") for n in range(3000))
        assert not status(store, estimate=True).estimated  # never analyzed: it is counted
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as analyzing:
            analyzing.exec_driver_sql("ANALYZE secrets")
        assert not status(store, estimate=True).estimated  # small: it is counted
        with pytest.MonkeyPatch.context() as patch, sent(store.engine) as transactions:
            patch.setattr(_estimating, "SAMPLE_ROWS", 4500)
            report = status(store, estimate=True)
        assert report.estimated
        assert len([text for each in transactions for text in each]) <= 3
        counted = {label.section: label.values for label in report.labels}
        assert 3000 < counted["two"] < 9000
        assert 1000 < counted["one"] < 6000
        assert not status(store).estimated

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_an_estimate_of_a_mapped_column(
        self, database_url, database, open_keys, monkeypatch
    ) -> None:
        """With `where`, cells that are empty, and partitions."""
        monkeypatch.setattr(_estimating, "SAMPLE_ROWS", 4000)
        database.execute(
            "CREATE TABLE t (id integer PRIMARY KEY, kind text NOT NULL, secret text) "
            "PARTITION BY RANGE (id)"
        )
        for start in (0, 4000):
            database.execute(
                f"CREATE TABLE t{start} PARTITION OF t "
                f"FOR VALUES FROM ({start}) TO ({start + 4000})"
            )
        database.execute(
            "INSERT INTO t SELECT n, CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END, "
            "CASE WHEN n % 4 = 0 THEN 'plain' END FROM generate_series(0, 7999) AS n"
        )
        database.execute("ANALYZE t")
        mapping = TableMapping(
            table="t",
            primary_key="id",
            encoding="text",
            columns={"ciphertext": "secret"},
            adopt="plaintext",
            where={"kind": "a"},
        )
        with MappedColumn(database_url, open_keys("one"), mapping) as column:
            report = status(column, estimate=True)
        assert report.estimated
        [table] = report.tables
        assert 1000 < table.plaintexts < 3000
        assert 1000 < table.empty < 3000

    def test_an_estimate_where_it_is_counted(self, store: SecretStore, fill) -> None:
        fill(store, 10)
        report = status(store, estimate=True)
        assert (report.values, report.estimated) == (10, False)
        with pytest.raises(ValueError, match="max_key_age"):
            status(store, estimate=True, max_key_age=timedelta(days=1))

    def test_parts_of_a_key_of_three_columns_and_empty_cells(
        self, database_url, database, open_keys, monkeypatch
    ) -> None:
        monkeypatch.setattr(_counting, "PART_KEYS", 7)
        database.execute(
            "CREATE TABLE t (a integer NOT NULL, b text NOT NULL, c integer NOT NULL, secret text, "
            "PRIMARY KEY (a, b, c))"
        )
        for number in range(40):
            database.execute(
                "INSERT INTO t VALUES (:a, :b, :c, :secret)",
                a=number % 3,
                b="äbÄB"[number % 4],
                c=number,
                secret="plain" if number % 5 else None,
            )
        mapping = TableMapping(
            table="t",
            primary_key=("a", "b", "c"),
            encoding="text",
            columns={"ciphertext": "secret"},
            adopt="plaintext",
        )
        with MappedColumn(database_url, open_keys("one"), mapping) as column:
            [table] = status(column).tables
        assert (table.plaintexts, table.empty, table.values) == (32, 8, 32)

    def test_what_can_not_be_read(self, store: SecretStore, open_keys, database, fill) -> None:
        fill(store, 10)
        database.execute("UPDATE secrets SET secret = 'x' WHERE secret_id = 's00001'")
        database.execute("UPDATE secrets SET version = '7' WHERE secret_id = 's00002'")
        database.execute("UPDATE secrets SET key_id = ' ' WHERE secret_id = 's00003'")

        report = status(store, open_keys("two", without=("one",)))

        assert report.unreadable == 3
        assert report.not_configured == 10
        assert report.stale == 10
        assert {each.encrypts for each in report.labels} == {None}

    def test_while_the_key_service_is_down(self, store: SecretStore, open_keys, fill) -> None:
        """It still counts, and says that it doesn't know what is stale."""
        fill(store, 3)
        keys = open_keys("one")

        def down(section: str | None = None):
            raise UnavailableError("sealed", section="one")

        keys.current_key = down
        report = status(store, keys)

        assert (report.values, report.stale, report.current) == (3, None, None)
        assert report.current_error == "one: sealed"

    def test_json(self, store: SecretStore, fill) -> None:
        fill(store, 3)

        told = json.loads(json.dumps(status(store).to_dict()))

        assert told["values"] == 3
        assert told["labels"][0]["oldest"].endswith("+00:00")
        assert told["current"]["key_id"] == store.keys.current_key().key_id


class TestVerify:
    def test_all_is_well(self, open_store, open_keys, fill) -> None:
        for name in ("plaintext", "one"):
            store = open_store(open_keys(name))
        fill(store, 250)
        seen: list[tuple[int, int]] = []

        report = verify(store, batch_size=100, on_progress=lambda *now: seen.append(now))

        assert report.ok
        assert (report.values, report.opened, report.failed) == (250, 250, 0)
        assert seen == [(100, 0), (200, 0), (250, 0)]

    def test_failures_are_counted_by_reason(
        self, store: SecretStore, open_keys, database, fill
    ) -> None:
        fill(store, 100)
        database.execute("UPDATE secrets SET kind = 'x' WHERE secret_id < 's00007'")
        database.execute(
            "UPDATE secrets SET secret = 'kh1:none:::AAAA', section = 'none', key_id = '', "
            "version = '' WHERE secret_id = 's00050'"
        )

        report = verify(store)

        assert not report.ok
        assert (report.values, report.opened, report.failed) == (100, 92, 8)
        assert report.reasons == {"InvalidCiphertextError": 7, "SectionNotConfiguredError": 1}
        assert "kh1:" not in json.dumps(report.to_dict()).replace("'kh1:'", "")

    def test_it_can_be_stopped(self, store: SecretStore, fill) -> None:
        fill(store, 100)

        report = verify(store, batch_size=10, stop=lambda: True)

        assert report.interrupted
        assert not report.ok
        assert report.values == 10

    def test_an_outage_is_not_a_failed_row(self, store: SecretStore, open_keys, fill) -> None:
        from keyhinge import Outcome

        fill(store, 3)
        keys = open_keys("one")
        keys.decrypt_many = lambda items: [Outcome(error=UnavailableError("sealed")) for _ in items]

        with pytest.raises(UnavailableError):
            verify(store, keys)

    def test_after_a_migration(self, store: SecretStore, open_keys, fill) -> None:
        fill(store, 50)
        keys = open_keys("two", without=())
        migrate(store, keys)

        assert verify(store, open_keys("two", without=("one", "plaintext"))).opened == 50


def test_status_counts_a_row_of_sqlite_whose_labels_are_bytes(open_keys, sqlite_url) -> None:
    store = SecretStore(sqlite_url, open_keys("one"))
    store.create_tables()
    store.put(account_id="a", kind="k", value="v")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE secrets SET section = x'ff00'")
    report = status(store)
    assert (report.values, report.not_configured, report.unreadable) == (1, 1, 1)
    assert report.labels[0].section == "(bytes, not text)"
    store.close()


class TestTextOfSqliteThatIsNotUtf8:
    @pytest.fixture
    def damaged(self, open_keys, sqlite_url):
        """Three secrets, and a function that damages a column of the second."""
        with SecretStore(sqlite_url, open_keys("one")) as store:
            store.create_tables()
            store.put_many(NewSecret("a", "k", "v", f"s{n}") for n in range(3))

            def damage(column: str) -> SecretStore:
                with store.engine.begin() as connection:
                    connection.exec_driver_sql(
                        f"UPDATE secrets SET {column} = CAST(x'62ff' AS TEXT) "
                        "WHERE secret_id = 's1'"
                    )
                return store

            yield damage

    @pytest.mark.parametrize("column", ["secret", "kind", "section", "version", *KEY])
    @pytest.mark.parametrize("size", [1, 2, 1000])
    def test_the_row_fails_alone(self, damaged, open_keys, column, size) -> None:
        store = damaged(column)

        report = verify(store, batch_size=size)
        assert (report.opened, report.failed) == (2, 1)
        key = {"account_id": "a", "secret_id": "s1"}
        key.update({column: "b\udcff"} if column in key else {})
        assert report.failures[0].key == key

        done = migrate(store, open_keys("two"), batch_size=size)
        assert (done.moved, done.failed) == (2, 1)
        assert [failure.key for failure in done.failures] == [key]
        assert verify(store, open_keys("two", without=("one",))).opened == 2
        json.dumps(status(store).to_dict()).encode()
        assert any(not each.ok for each in samples(store, open_keys("two")).samples)
