"""Tables that exist already: every encoding, odd names and keys, on both databases."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest
import sqlalchemy as sa

from keyhinge import ConfigError, InvalidCiphertextError, InvalidContextError, KeyManager
from keyhinge_local import keyfile
from keyhinge_store import (
    FenceError,
    MappedColumn,
    MappingError,
    MigrationError,
    StoreError,
    TableMapping,
    TableMissingError,
    Tables,
    UtcDateTime,
    add_fence,
    can_retire,
    migrate,
    rewrap,
    runs,
    status,
    verify,
)

OpenColumn = Callable[..., MappedColumn]


@pytest.fixture
def open_column(database_url: str, database: Any) -> Iterator[OpenColumn]:
    """Makes a table with SQL and maps it: `open_column(keys, ddl, **mapping)`."""
    opened: list[MappedColumn] = []

    def make(keys: KeyManager, ddl: str = "", **mapping: Any) -> MappedColumn:
        if database.is_sqlite:
            database.engine.connect().close()  # makes the file
            ddl = ddl.replace("bytea", "blob").replace("timestamptz", "text")
        if ddl:
            database.execute(ddl)
        opened.append(MappedColumn(database_url, keys, TableMapping(**mapping)))
        return opened[-1]

    yield make
    for column in opened:
        column.close()


TOKENS = """CREATE TABLE tokens (
    account_id bigint NOT NULL, token_id text NOT NULL, kind text NOT NULL, {columns},
    sealed_at timestamptz, PRIMARY KEY (account_id, token_id))"""
ENCODINGS: dict[str, tuple[str, dict[str, str]]] = {
    "text": ("secret text", {"ciphertext": "secret"}),
    "bytes": ("secret bytea", {"ciphertext": "secret"}),
    "columns": (
        "section text, key_id text, version text, secret bytea",
        {"ciphertext": "secret", "section": "section", "keyID": "key_id", "version": "version"},
    ),
    "columns in text": (
        "section text, key_id text, version text, secret text",
        {"ciphertext": "secret", "section": "section", "keyID": "key_id", "version": "version"},
    ),
}


def tokens(open_column: OpenColumn, keys: KeyManager, encoding: str, **more: Any) -> MappedColumn:
    columns, roles = ENCODINGS[encoding]
    given: dict[str, Any] = {
        "table": "tokens",
        "primary_key": ("account_id", "token_id"),
        "encoding": encoding.split(maxsplit=1)[0],
        "columns": roles,
        "context": {"account": "account_id", "token": "token_id", "kind": "kind"},
        "encrypted_at": "sealed_at",
        **more,
    }
    return open_column(keys, TOKENS.format(columns=columns), **given)


def store_one(column: MappedColumn, plaintext: str | bytes, **row: Any) -> None:
    cells = {**row, **column.encrypt(plaintext, row)}
    # The driver of SQLite writes no moments by itself.
    types = {name: UtcDateTime() for name in cells if name == column.mapping.encrypted_at}
    table = sa.table(
        column.mapping.table,
        *(sa.column(name, types.get(name, sa.types.NULLTYPE)) for name in cells),
    )
    with column.engine.begin() as connection:
        connection.execute(sa.insert(table).values(cells))


def read_all(column: MappedColumn) -> list[bytes | None]:
    """Decrypt every row in the order of the key, by the application's own way."""
    layout = column.layout
    wanted = sa.select(*(layout.table.c[name] for name in layout.columns))
    with column.engine.connect() as connection:
        rows = connection.execute(wanted.order_by(*(layout.table.c[n] for n in layout.key)))
        return [column.decrypt(dict(zip(layout.columns, row, strict=True))) for row in rows]


class TestEncodings:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_the_whole_way(self, open_column, open_keys, encoding: str) -> None:
        """100 rows move, are counted by their labels, open, and are found moved."""
        column = tokens(open_column, open_keys("one"), encoding)
        for number in range(100):
            store_one(
                column, f"PLAIN-{number:03}", account_id=number - 50, token_id="t", kind="plaid"
            )
        expected = [f"PLAIN-{number:03}".encode() for number in range(100)]
        assert read_all(column) == expected

        keys = open_keys("two")
        for _ in range(2):
            report = migrate(column, keys, batch_size=30)
        assert (report.matched, report.already, report.complete) == (0, 100, True)
        assert read_all(MappedColumn(column.engine, keys, column.mapping)) == expected
        found = status(column, keys)
        assert [(each.section, each.values) for each in found.labels] == [("two", 100)]
        assert (found.labels[0].key_id, found.labels[0].version) == (
            keys.current_key().key_id,
            keys.current_key().version,
        )
        assert found.unreadable == 0
        assert found.oldest is not None
        assert verify(column, keys).opened == 100

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_rewrap(self, open_column, open_keys, tmp_path, encoding: str) -> None:
        """Only what isn't under the newest version is brought to it."""
        column = tokens(open_column, open_keys("one"), encoding)
        for number in range(10):
            store_one(column, "old", account_id=number, token_id="t", kind="k")
        keyfile.rotate(tmp_path / "one.key", activate=True)
        keys = open_keys("one")
        column.keys = keys
        for number in range(10, 15):
            store_one(column, "new", account_id=number, token_id="t", kind="k")

        report = rewrap(column, keys)

        assert (report.matched, report.moved, report.already, report.complete) == (10, 10, 5, True)
        assert rewrap(column, keys).matched == 0
        assert read_all(column) == [b"old"] * 10 + [b"new"] * 5

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_what_is_broken_fails_alone(self, open_column, open_keys, database, encoding) -> None:
        column = tokens(open_column, open_keys("one"), encoding)
        for number in range(5):
            store_one(column, "x", account_id=number, token_id="t", kind="k")
        junk = "X'00'" if database.is_sqlite else r"'\x00'::bytea"
        broken = junk if column.layout.cell("secret").kind == "bytes" else "'no value'"
        database.execute(f"UPDATE tokens SET secret = {broken} WHERE account_id = 1")
        database.execute("UPDATE tokens SET kind = 'moved' WHERE account_id = 2")

        report = migrate(column, open_keys("two"))
        assert (report.moved, report.failed) == (3, 2)
        assert sorted(each.key["account_id"] for each in report.failures) == [1, 2]
        found = verify(column, open_keys("two"))
        assert (found.opened, found.failed) == (3, 2)
        if encoding in ("text", "bytes"):
            assert status(column).unreadable == 1

    def test_null_is_skipped_and_counted(self, open_column, open_keys, database) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        store_one(column, "x", account_id=1, token_id="t", kind="k")
        database.execute("INSERT INTO tokens (account_id, token_id, kind) VALUES (2, 't', 'k')")

        assert migrate(column, open_keys("two")).rows == 1
        assert verify(column, open_keys("two")).values == 1
        [found] = status(column).tables
        assert (found.table, found.values, found.empty) == ("tokens.secret", 1, 1)
        assert column.decrypt({"secret": None}) is None

    def test_two_columns_of_one_table(self, open_column, open_keys, database_url) -> None:
        """With two encodings; one moves and the other stays, and neither opens as the other."""
        keys = open_keys("one")
        ddl = "CREATE TABLE pairs (id integer PRIMARY KEY, a text, b bytea)"
        given = {"table": "pairs", "primary_key": "id", "context": {"id": "id"}}
        first = open_column(keys, ddl, encoding="text", columns={"ciphertext": "a"}, **given)
        second = open_column(keys, encoding="bytes", columns={"ciphertext": "b"}, **given)
        row = {"id": 1, **first.encrypt("A", {"id": 1}), **second.encrypt("B", {"id": 1})}
        with first.engine.begin() as connection:
            connection.execute(sa.insert(first.layout.table), {"id": 1, "a": row["a"]})
            connection.execute(sa.update(second.layout.table).values(b=row["b"]))

        migrate(second, open_keys("two"))

        with Tables(database_url, open_keys("two"), [first.mapping, second.mapping]) as tables:
            found = status(tables)
            assert [(each.table, each.section) for each in found.labels] == [
                ("pairs.a", "one"),
                ("pairs.b", "two"),
            ]
            assert verify(tables).opened == 2
            assert tables.column("pairs", "a").name == "pairs.a"
            with pytest.raises(KeyError):
                tables.column("pairs")
            report = migrate(tables)
            assert (report.moved, report.already, report.complete) == (1, 1, True)


class TestOddTables:
    def test_names(self, open_column, open_keys) -> None:
        """Quotes, spaces, percent signs, colons, brackets, question marks and `before`."""
        name, key, value = 'wei"rd %s (x) :y ?', 'k"%s:ey [1]', "v%% :va'l (2)"
        before = "before"

        def quote(text: str) -> str:
            return '"' + text.replace('"', '""') + '"'

        keys = open_keys("one")
        column = open_column(
            keys, "", table=name, primary_key=(key,), encoding="text",
            columns={"ciphertext": value}, context={"key": key}, where={before: ["x:%y", "z"]},
        )  # fmt: skip
        with column.engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TABLE {quote(name)} ({quote(key)} integer PRIMARY KEY, "
                f"{quote(value)} text, {before} text, size text)".replace(
                    "%", "%" if column.engine.dialect.name == "sqlite" else "%%"
                )
            )
        table = column.layout.table
        for number in range(25):
            row = {key: number, before: "x:%y" if number % 2 else "other"}
            with column.engine.begin() as connection:
                connection.execute(sa.insert(table), [{**row, **column.encrypt("s", row)}])

        report = migrate(column, open_keys("two"), batch_size=5)

        assert (report.rows, report.moved, report.complete) == (12, 12, True)
        assert {each.section for each in status(column).labels} == {"two"}
        assert verify(column, open_keys("two")).opened == 12
        labels = [value.partition(":")[2][:3] for value in _column(column, value)]
        assert labels.count("one") == 13

    def test_a_key_of_three_types(self, open_column, open_keys, database) -> None:
        """uuid, bigint and text, with numbers at both ends; the context has all of them."""
        keys = open_keys("one")
        ddl = (
            "CREATE TABLE odd (u uuid NOT NULL, n bigint NOT NULL, t text NOT NULL, s text,"
            " PRIMARY KEY (u, n, t))"
        )
        if database.is_sqlite:
            ddl = ddl.replace("uuid", "text")
        column = open_column(
            keys, ddl, table="odd", primary_key=("t", "u", "n"), encoding="text",
            columns={"ciphertext": "s"}, context={"t": "t", "u": "u", "n": "n"},
        )  # fmt: skip
        ids = [uuid.UUID(int=7), uuid.UUID(int=2**128 - 1)]
        numbers = [-(2**63), -1, 0, 2**63 - 1]
        texts = ["a", "A", "ä'\\\"{},NULL", "%s :x"]
        rows = [
            {"u": str(u) if database.is_sqlite else u, "n": n, "t": t}
            for u in ids
            for n in numbers
            for t in texts
        ]
        for row in rows:
            store_one(column, repr(row), **row)

        report = migrate(column, open_keys("two"), batch_size=3)

        assert (report.moved, report.failed, report.complete) == (len(rows), 0, True)
        opened = read_all(MappedColumn(column.engine, open_keys("two"), column.mapping))
        assert sorted(each or b"" for each in opened) == sorted(repr(row).encode() for row in rows)
        assert column.layout.key == ("u", "n", "t")  # the index's own order

    def test_a_value_in_another_row_does_not_open(self, open_column, open_keys, database) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        for number in (1, 2):
            store_one(column, "x", account_id=number, token_id="t", kind="k")
        database.execute(
            "UPDATE tokens SET secret = (SELECT secret FROM tokens WHERE account_id = 1)"
        )
        assert verify(column).failed == 1

    def test_a_column_of_the_context_changes_meanwhile(
        self, open_column, open_keys, database, monkeypatch
    ) -> None:
        """The full guard holds for mapped columns, too: what was read isn't there any more."""
        column = tokens(open_column, open_keys("one"), "text")
        store_one(column, "x", account_id=1, token_id="t", kind="k")
        before = database.execute("SELECT secret FROM tokens")
        keys = open_keys("two")
        seal = keys.encrypt_many

        def change_first(items: Any, **options: Any) -> Any:
            database.execute("UPDATE tokens SET kind = 'K'")
            return seal(items, **options)

        monkeypatch.setattr(keys, "encrypt_many", change_first)
        report = migrate(column, keys, max_sweeps=1)

        assert (report.moved, report.changed) == (0, 1)
        assert database.execute("SELECT secret FROM tokens") == before


def _column(column: MappedColumn, name: str) -> list[Any]:
    with column.engine.connect() as connection:
        return list(connection.execute(sa.select(column.layout.table.c[name])).scalars())


class TestMappings:
    GOOD: ClassVar[dict[str, Any]] = {
        "table": "t",
        "primary_key": ("id",),
        "encoding": "text",
        "columns": {"ciphertext": "secret"},
        "context": {"id": "id"},
    }

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"table": ""}, "table"),
            ({"primary_key": ()}, "primaryKey"),
            ({"primary_key": ("id", "id")}, "primaryKey"),
            ({"encoding": "rot13"}, "encoding"),
            ({"columns": {}}, "columns.ciphertext"),
            ({"columns": {"ciphertext": "secret", "section": "s"}}, "columns.section"),
            ({"encoding": "columns"}, "columns.section"),
            ({"encoding": "monetr"}, "columns.keyID"),
            ({"encoding": "bytes", "adopt": "plaintext"}, "adopt"),
            ({"context": {"table": "id"}}, "context.table"),
            ({"context": {"keyhinge-x": "id"}}, "context.keyhinge-x"),
            ({"context": {"a": "id", "A": "n"}}, "context.a"),
            ({"context": {"a b": "id"}}, "context"),
            ({"context": {"id": "secret"}}, "context"),
            ({"primary_key": ("secret",)}, "primaryKey"),
            ({"encrypted_at": "secret"}, "columns"),
            ({"where": {"kind": []}}, "where.kind"),
        ],
    )
    def test_refused(self, change: dict[str, Any], path: str) -> None:
        with pytest.raises(ConfigError) as caught:
            TableMapping(**{**self.GOOD, **change})
        assert path in [problem.path for problem in caught.value.problems]

    def test_all_problems_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            TableMapping(**{**self.GOOD, "table": "", "primary_key": (), "columns": {}})
        assert len(caught.value.problems) == 3

    @pytest.mark.parametrize(
        ("ddl", "problem"),
        [
            ("id integer, secret text", "primaryKey"),
            ("id integer NOT NULL, secret text, UNIQUE (id, secret)", "primaryKey"),
            ("id integer UNIQUE, secret text", "primaryKey"),
            ("id integer PRIMARY KEY, secrets text", "did you mean"),
            ("id integer PRIMARY KEY, secret integer", "columns.ciphertext"),
            ("id real PRIMARY KEY NOT NULL, secret text", "context.id"),
        ],
    )
    def test_a_table_that_does_not_fit(self, open_column, open_keys, ddl, problem) -> None:
        column = open_column(open_keys("one"), f"CREATE TABLE t ({ddl})", **self.GOOD)

        with pytest.raises(MappingError) as caught:
            status(column)
        assert problem in str(caught.value).lower() or problem in str(caught.value)

    def test_no_table(self, open_column, open_keys) -> None:
        column = open_column(open_keys("one"), **self.GOOD)
        with pytest.raises(TableMissingError, match="maps"):
            migrate(column)

    def test_a_view(self, open_column, open_keys, database) -> None:
        ddl = "CREATE TABLE x (id integer PRIMARY KEY, secret text)"
        column = open_column(open_keys("one"), ddl, **self.GOOD)
        database.execute("CREATE VIEW t AS SELECT * FROM x")
        with pytest.raises(MappingError, match="view"):
            status(column)

    def test_a_generated_column(self, open_column, open_keys) -> None:
        ddl = (
            "CREATE TABLE t (id integer PRIMARY KEY, a text, "
            "secret text GENERATED ALWAYS AS (a || 'x') STORED)"
        )
        with pytest.raises(MappingError, match="generated"):
            status(open_column(open_keys("one"), ddl, **self.GOOD))

    def test_rows_that_where_leaves_out_stay(self, open_column, open_keys) -> None:
        column = tokens(open_column, open_keys("one"), "text", where={"account_id": ["1", "3"]})
        for number in range(5):
            store_one(column, "x", account_id=number, token_id="t", kind="k")

        assert migrate(column, open_keys("two")).moved == 2
        every = attrs.evolve(column.mapping, where={})
        whole = MappedColumn(column.engine, open_keys("two"), every)
        assert {(e.section, e.values) for e in status(whole).labels} == {("one", 3), ("two", 2)}

    def test_rows_that_where_leaves_out_are_told(self, open_column, open_keys, database) -> None:
        """Nobody moves them, so somebody has to know. NULL is outside, too."""
        ddl = "CREATE TABLE w (id integer PRIMARY KEY NOT NULL, note text, secret text)"
        column = open_column(
            open_keys("one"),
            ddl,
            table="w",
            primary_key="id",
            encoding="text",
            columns={"ciphertext": "secret"},
            where={"note": ["mine", "too"]},
        )
        for number, note in enumerate(["mine", "too", "other", None, "mine"]):
            text = column.encrypt("x", {})["secret"] if number < 4 else None
            database.execute("INSERT INTO w VALUES (:i, :n, :s)", i=number, n=note, s=text)
        database.execute("INSERT INTO w VALUES (9, 'other', NULL), (8, 'other', 'plain')")

        found = status(column)
        assert (found.values, found.outside, found.unreadable) == (2, 3, 0)
        [table] = found.tables
        assert (table.values, table.empty, table.outside) == (2, 1, 3)
        whole = attrs.evolve(column.mapping, where={})
        assert status(MappedColumn(column.engine, column.keys, whole)).outside == 0
        own = attrs.evolve(column.mapping, where={"note": [None, "mine"]})
        assert status(MappedColumn(column.engine, column.keys, own)).outside == 3

    def test_an_unknown_source(self, open_column, open_keys) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        with pytest.raises(MigrationError, match="no section 'three'"):
            migrate(column, source=["three"])

    def test_a_row_without_its_columns(self, open_column, open_keys) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        with pytest.raises(InvalidContextError, match="account_id"):
            column.encrypt("x", {"token_id": "t"})
        with pytest.raises(InvalidContextError, match="neither"):
            column.encrypt("x", {"account_id": 1.5, "token_id": "t", "kind": "k"})


class TestLabels:
    def test_a_renamed_table_and_column(self, open_column, open_keys, database) -> None:
        """PostgreSQL knows them by more than their names; SQLite asks for the label."""
        column = tokens(open_column, open_keys("one"), "text")
        store_one(column, "x", account_id=1, token_id="t", kind="k")
        database.execute("ALTER TABLE tokens RENAME TO keys")
        mapping = attrs.evolve(column.mapping, table="keys")
        renamed = MappedColumn(column.engine, column.keys, mapping)
        if database.is_sqlite:
            with pytest.raises(MappingError, match="label: tokens"):
                status(renamed)
            mapping = attrs.evolve(mapping, label="tokens")
            renamed = MappedColumn(column.engine, column.keys, mapping)

        assert renamed.name == "tokens.secret"
        assert read_all(renamed) == [b"x"]

    def test_another_label_later(self, open_column, open_keys) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        store_one(column, "x", account_id=1, token_id="t", kind="k")
        mapping = attrs.evolve(column.mapping, label="other")
        with pytest.raises(MappingError, match="bound to 'tokens'"):
            status(MappedColumn(column.engine, column.keys, mapping))

    def test_looking_makes_nothing(self, open_column, open_keys, database) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        status(column)
        verify(column)
        with database.engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == ["tokens"]


class TestAdoption:
    def adopted(self, open_column: OpenColumn, keys: KeyManager) -> MappedColumn:
        return tokens(open_column, keys, "text", adopt="plaintext")

    def test_the_whole_way(self, open_column, open_keys, database) -> None:
        column = self.adopted(open_column, open_keys("one"))
        for number in range(20):
            database.execute(
                "INSERT INTO tokens (account_id, token_id, kind, secret) VALUES (:n, 't', 'k', :s)",
                n=number,
                s=f"plain-ä-{number}",
            )
        store_one(column, "sealed", account_id=99, token_id="t", kind="k")
        expected = [f"plain-ä-{number}".encode() for number in range(20)] + [b"sealed"]
        assert read_all(column) == expected
        assert [table.plaintexts for table in status(column).tables] == [20]
        assert verify(column).plaintexts == 20
        with pytest.raises(Exception, match="still plaintexts"):
            column.finish_adoption()

        report = migrate(column)
        assert (report.moved, report.already, report.complete) == (20, 1, True)
        assert read_all(column) == expected
        assert "plain-" not in repr(database.execute("SELECT * FROM tokens"))

        column.finish_adoption()
        database.execute("UPDATE tokens SET secret = 'planted' WHERE account_id = 1")
        assert status(column).unreadable == 1
        with pytest.raises(InvalidCiphertextError):
            read_all(column)

    def test_a_run_is_not_shared_with_one_who_does_not_adopt(
        self, open_column, open_keys, database
    ) -> None:
        """To him the plaintexts are rows that fail."""
        column = self.adopted(open_column, open_keys("one"))
        for number in range(20):
            database.execute(
                "INSERT INTO tokens (account_id, token_id, kind, secret) "
                "VALUES (:n, 't', 'k', 'plain')",
                n=number,
            )
        assert migrate(column, batch_size=5, stop=lambda: True).interrupted
        assert migrate(column, batch_size=5, stop=lambda: True).interrupted
        assert [each.state for each in runs(column)] == ["active"]
        strict = attrs.evolve(column.mapping, adopt=None)
        assert migrate(MappedColumn(column.engine, column.keys, strict)).failed == 20
        assert [each.state for each in runs(column)] == ["finished", "abandoned"]
        assert migrate(column).moved == 20

    @pytest.mark.parametrize(
        ("source", "without"),
        [
            ("plaintext", ()),
            ("plaintext", ("plaintext",)),  # the mapping's word, where no section has that name
            ("(plaintext)", ("plaintext",)),  # what `status` calls them
        ],
    )
    def test_from_plaintext_means_what_is_adopted(
        self, open_column, open_keys, database, source, without
    ) -> None:
        column = self.adopted(open_column, open_keys("two", without=without))
        for number in range(5):
            database.execute(
                "INSERT INTO tokens (account_id, token_id, kind, secret) VALUES (:n, 't', 'k', :s)",
                n=number,
                s=f"plain-{number}",
            )
        cells = {"account_id": 98, "token_id": "t", "kind": "k"}
        with open_keys("one") as other:
            store_one(self.mapped(column, other), "elsewhere", **cells)

        seen = migrate(column, source=[source], dry_run=True)
        report = migrate(column, source=[source])

        assert (seen.matched, seen.verified) == (5, 5)
        assert (report.matched, report.moved, report.failed) == (5, 5, 0)
        labels = {label.section: label.values for label in status(column).labels}
        assert labels == {"one": 1, "two": 5}

    def test_from_plaintext_takes_those_of_the_section_along(
        self, open_column, open_keys, database
    ) -> None:
        column = self.adopted(open_column, open_keys("one"))
        self.put_plain(database)
        store_one(
            self.mapped(column, open_keys("plaintext")),
            "in the clear",
            account_id=2,
            token_id="t",
            kind="k",
        )
        assert migrate(column, source=["plaintext"]).moved == 2

    def test_from_another_section_leaves_what_is_adopted(
        self, open_column, open_keys, database
    ) -> None:
        column = self.adopted(open_column, open_keys("one"))
        self.put_plain(database)
        report = migrate(column, source=["two"])
        assert (report.matched, report.moved) == (0, 0)

    def test_where_nothing_is_adopted_it_is_none_of_them(
        self, open_column, open_keys, database
    ) -> None:
        """In a column beside it, what isn't ours is broken, and stays out of this."""
        keys = open_keys("one", without=("plaintext",))
        column = self.adopted(open_column, keys)
        self.put_plain(database)
        database.execute("CREATE TABLE other (id integer PRIMARY KEY NOT NULL, secret text)")
        database.execute("INSERT INTO other VALUES (1, 'broken')")
        mapping = TableMapping(
            table="other", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
        )
        with Tables(column.engine, keys, [column.mapping, mapping]) as tables:
            for source in ("plaintext", "(plaintext)"):
                report = migrate(tables, source=[source], dry_run=True)
                assert (report.matched, report.failed) == (1, 0)
        with pytest.raises(MigrationError, match="no section 'plaintext'"):
            migrate(MappedColumn(column.engine, keys, mapping), source=["plaintext"])

    def put_plain(self, database: Any) -> None:
        database.execute(
            "INSERT INTO tokens (account_id, token_id, kind, secret) VALUES (1, 't', 'k', 'raw')"
        )

    def mapped(self, column: MappedColumn, keys: KeyManager) -> MappedColumn:
        return MappedColumn(column.engine, keys, column.mapping)

    def test_what_begins_as_ours_is_never_a_plaintext(
        self, open_column, open_keys, database
    ) -> None:
        column = self.adopted(open_column, open_keys("one"))
        with pytest.raises(Exception, match="begins with 'kh1:'"):
            column.encrypt("kh1:x", {"account_id": 1, "token_id": "t", "kind": "k"})
        database.execute(
            "INSERT INTO tokens (account_id, token_id, kind, secret) VALUES (1, 't', 'k', 'kh1:x')"
        )
        report = migrate(column)
        assert (report.moved, report.failed) == (0, 1)
        assert status(column).unreadable == 1


class TestPinsOfAnotherServer:
    """A restored database counts its tables anew: a pin's number may be another table's."""

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_names_count_after_a_restore(self, open_column, open_keys, database) -> None:
        keys = open_keys("one")
        columns = {}
        for name in ("aaa", "bbb"):
            columns[name] = open_column(
                keys,
                f"CREATE TABLE {name} (id integer PRIMARY KEY, secret text)",
                table=name,
                primary_key="id",
                encoding="text",
                columns={"ciphertext": "secret"},
                context={"id": "id"},
            )
            store_one(columns[name], name, id=1)
        database.execute(
            "UPDATE keyhinge_mapping AS one SET table_id = other.table_id, cluster = 'elsewhere/1' "
            "FROM keyhinge_mapping AS other WHERE one.label <> other.label"
        )
        for name, column in columns.items():
            column.refresh()
            assert column.name == f"{name}.secret"
            assert read_all(column) == [name.encode()]

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_numbers_count_in_the_same_one(self, open_column, open_keys, database) -> None:
        column = tokens(open_column, open_keys("one"), "text")
        store_one(column, "x", account_id=1, token_id="t", kind="k")
        database.execute("ALTER TABLE tokens RENAME TO renamed")
        mapping = attrs.evolve(column.mapping, table="renamed")
        with MappedColumn(column.engine, column.keys, mapping) as renamed:
            assert renamed.name == "tokens.secret"
            assert read_all(renamed) == [b"x"]


class TestTwice:
    @pytest.mark.parametrize(
        ("first", "second"),
        [({}, {}), ({}, {"schema": "public"}), ({"label": "a"}, {"label": "b"})],
    )
    def test_one_column_in_two_mappings(self, database_url, open_keys, first, second) -> None:
        mapping = TableMapping(
            table="t", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
        )
        both = [attrs.evolve(mapping, **more) for more in (first, second)]
        with pytest.raises(MappingError, match="same column"):
            Tables(database_url, open_keys("one"), both)

    def test_in_sqlite_case_makes_no_difference(self, sqlite_url, open_keys) -> None:
        mapping = TableMapping(
            table="t", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
        )
        with pytest.raises(MappingError, match="same column"):
            Tables(sqlite_url, open_keys("one"), [mapping, attrs.evolve(mapping, table="T")])


class TestAdoptionIsFinal:
    def adopting(self, open_column: OpenColumn, keys: KeyManager) -> MappedColumn:
        return open_column(
            keys,
            "CREATE TABLE t (id integer PRIMARY KEY NOT NULL, secret text)",
            table="t",
            primary_key="id",
            encoding="text",
            columns={"ciphertext": "secret"},
            adopt="plaintext",
        )

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_writer_under_way_is_waited_for(self, open_column, open_keys, database) -> None:
        """His plaintext would be read by nobody any more."""
        column = self.adopting(open_column, open_keys("one"))
        column.pin()
        with database.engine.connect() as other:
            other.exec_driver_sql("INSERT INTO t VALUES (1, 'late')")
            ending = threading.Timer(0.5, other.commit)
            ending.start()
            with pytest.raises(StoreError, match="still plaintexts"):
                column.finish_adoption()
            ending.join()

    def test_a_name_with_percent_signs(self, open_column, open_keys, database) -> None:
        """They mean something to the driver, where a statement has parameters."""
        with database.engine.begin() as connection:
            options = {"no_parameters": True}
            ddl = 'CREATE TABLE "per%cent %s" (id integer PRIMARY KEY NOT NULL, secret text)'
            connection.exec_driver_sql(ddl, execution_options=options)
        column = open_column(
            open_keys("one"),
            table="per%cent %s",
            primary_key="id",
            encoding="text",
            columns={"ciphertext": "secret"},
            adopt="plaintext",
        )
        column.finish_adoption()
        assert column.layout.codec.adopt is False

    def test_finished_again_it_looks_again(self, open_column, open_keys, database) -> None:
        column = self.adopting(open_column, open_keys("one"))
        column.finish_adoption()
        column.finish_adoption()
        database.execute("INSERT INTO t VALUES (1, 'planted')")
        with pytest.raises(StoreError, match="still plaintexts"):
            column.finish_adoption()

    def test_plaintext_is_not_retired_meanwhile(self, open_column, open_keys, database) -> None:
        column = self.adopting(open_column, open_keys("one"))
        database.execute("INSERT INTO t VALUES (1, 'raw')")
        answer = can_retire(column, "plaintext")
        assert answer.grade == "no"
        assert "being adopted" in answer.tables[0].reason
        with pytest.raises(FenceError, match="being adopted"):
            add_fence(column, "plaintext")
        migrate(column)
        column.finish_adoption()
        assert can_retire(column, "plaintext").grade == "none"
