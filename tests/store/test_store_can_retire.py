"""Whether a section, key or version is needed still: every encoding, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._retiring import ENCODINGS, Place, Stored

from keyhinge import ConfigError, EncryptedValue, KeyManager
from keyhinge_local import keyfile
from keyhinge_store import (
    MappedColumn,
    TableMapping,
    Tables,
    add_fence,
    can_retire,
    migrate,
    rewrap,
    runs,
    status,
)
from keyhinge_store._retire._question import Question, values_under
from keyhinge_store._written import written

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@every_encoding
def test_the_three_grades(database, open_keys, encoding: str) -> None:
    """No while a row is left, none when it is moved, and fenced behind a fence."""
    place = Place(database, encoding)
    place.put(place.open(open_keys("one")), 1, "x")
    stored = place.open(open_keys("two"))
    place.put(stored, 2, "y")

    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].found, found.tables[0].fenced) == ("no", True, False)
    migrate(stored)
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].found) == ("none", False)
    assert found.at.utcoffset() is not None
    add_fence(stored, "one")
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].fenced) == ("fenced", True)
    # Without the section in the file, too: that is what one asks for.
    rest = place.open(open_keys("two", without=("one",)))
    assert can_retire(rest, "one").grade == "fenced"
    assert found.to_dict()["grade"] == "fenced"


@every_encoding
def test_keys_and_versions(database, tmp_path: Path, configuration, encoding: str) -> None:
    """A version is asked about alone, and with its key; its neighbours don't count."""
    with KeyManager.open(configuration("one")) as keys:
        place = Place(database, encoding)
        stored = place.open(keys)
        first = keys.current_key()
        place.put(stored, 1, "x")
        for _ in range(2):
            keyfile.rotate(tmp_path / "one.key", activate=True)
        keys.reload()
        second = keys.current_key()

        def grade(**which: Any) -> str:
            return can_retire(stored, "one", **which).grade

        assert grade(version=first.version) == "no"
        assert rewrap(stored).moved == 1
        assert grade(version=first.version) == "none"
        assert grade(version=second.version) == "no"
        assert grade(key=first.key_id) == "no"
        assert grade(key=first.key_id, version=first.version) == "none"
        assert grade(key=first.key_id, version=second.version) == "no"
        assert grade(key=first.key_id[:-1]) == "none"
        assert grade(key="other", version=second.version) == "none"
        add_fence(stored, "one", version=first.version)
        assert grade(version=first.version) == "fenced"
        assert grade(key=first.key_id, version=first.version) == "fenced"
        assert can_retire(stored, "one").grade == "no"


ODD = [
    ("s", "arn:aws:kms:eu-central-1:1:key/ab", "1"),
    ("s", "arn:aws:kms:eu-central-1:1", "key"),
    ("s", "a'b\"c\\d*/e", "1"),
    ("s", "", ""),
    ("s", "", "1"),
    ("s", "a:", ""),
    ("s", ":", "1"),
    ("s", "%s%%(x)s", "a.b-c_d"),
    ("s-2", "k", "1"),
    ("ss", "k" * 512, "v" * 64),
]
KEYS = ("arn:aws:kms:eu-central-1:1", "a'b\"c\\d*/e", "", "a", ":", "%s%%(x)s", "k" * 512)
VERSIONS = ("1", "", "key", "a.b-c_d")


@every_encoding
def test_odd_labels_are_found_exactly(database, open_keys, encoding: str) -> None:
    """What the SQL says of a row is what its parts say; also where it is written into a trigger."""
    place = Place(database, encoding)
    stored = place.open(open_keys("one"))
    asked = list(product(sorted({x[0] for x in ODD}), (None, *KEYS), (None, *VERSIONS)))
    new = stored.layout.table.alias("new")
    questions = [Question(s, k, v, (s,), configured=True) for s, k, v in asked]
    looked = sa.select(*(values_under(stored.layout, each) for each in questions))
    dialect = database.engine.dialect.name
    texts = [written(values_under(stored.layout, each, new), dialect) for each in questions]
    from_row = f"SELECT {', '.join(texts)} FROM {place.table} AS new"
    for section, key_id, version in ODD:
        database.execute(f"DELETE FROM {place.table}")
        place.insert(row_with(stored, EncryptedValue(section, key_id, version, b"\xff\x00x" * 5)))
        assert [(x.section, x.key_id, x.version) for x in status(stored).labels] == [
            (section, key_id, version)
        ]
        expected = [
            section == s and k in (None, key_id) and (v in (None, version) or version == "")
            for s, k, v in asked
        ]
        with database.engine.connect() as connection:
            assert [bool(x) for x in connection.execute(looked).one()] == expected
            raw = connection.exec_driver_sql(from_row, execution_options={"no_parameters": True})
            assert [bool(x) for x in raw.one()] == expected
        assert not can_retire(stored, "one", key="none").tables[0].unreadable


def row_with(stored: Stored, value: EncryptedValue) -> dict[str, Any]:
    cells = zip(stored.layout.codec.columns, stored.layout.write(value), strict=True)
    if isinstance(stored, MappedColumn):
        return {"id": 1, **dict(cells)}
    moments = dict.fromkeys(("encrypted_at", "created_at", "updated_at"), "2026-01-01 00:00:00")
    return {"secret_id": "1", "account_id": "a", "kind": "k", **moments, **dict(cells)}


RUBBISH: dict[str, dict[str, Any]] = {
    "own": {"secret": "kh1:two:k:1:AAAA"},
    "text": {"secret": "kh1:TWO:k:1:AAAA"},
    "bytes": {"secret": b"\xd3\x4b\x48\x01\x40"},
    "columns": {"section": None},
    "columns in text": {"section": "no section"},
}


@every_encoding
def test_what_does_not_parse_counts_as_a_no(database, open_keys, encoding: str) -> None:
    place = Place(database, encoding)
    stored = place.open(open_keys("two"))
    place.put(stored, 1, "x")
    assert can_retire(stored, "one").grade == "none"
    place.save({**place.rows()[0], **RUBBISH[encoding]})

    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].found, found.tables[0].unreadable) == ("no", False, True)


def test_where_plays_no_part(database, open_keys) -> None:
    """A row that the mapping leaves out needs its key all the same. NULL needs none."""
    place = Place(database, "text", where={"note": "mine"})
    place.put(place.open(open_keys("one")), 1, "x")
    place.insert({"id": 2, "note": "mine", "secret": None})
    stored = place.open(open_keys("two"))
    assert status(stored).values == 0
    assert can_retire(stored, "one").grade == "no"
    database.execute("DELETE FROM tokens WHERE id = 1")
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].empty) == ("none", True)


def test_a_plaintext_that_is_adopted_is_under_no_section(database, open_keys) -> None:
    place = Place(database, "text", adopt="plaintext")
    place.insert({"id": 1, "secret": "a plain token"})
    stored = place.open(open_keys("two"))
    assert can_retire(stored, "one").grade == "none"
    place.insert({"id": 2, "secret": "kh1:one"})
    assert can_retire(stored, "one").tables[0].unreadable


def test_aliases(database, configuration) -> None:
    """A section's old names are its own; an alias can be asked about alone."""
    place = Place(database, "text")
    config = configuration("one")
    with KeyManager.open(config) as keys:
        place.put(place.open(keys), 1, "x")
    sections = config["keyManagement"]
    sections["new"] = {**sections.pop("one"), "aliases": ["one"]}
    sections["provider"] = "new"
    with KeyManager.open(config) as keys:
        stored = place.open(keys)
        assert can_retire(stored, "one").tables[0].found
        place.put(stored, 1, "y")
        assert can_retire(stored, "one").grade == "none"
        assert add_fence(stored, "one")
        assert can_retire(stored, "one").grade == "fenced"
    sections["provider"] = "two"
    with KeyManager.open(config) as keys:
        stored = place.open(keys)
        place.put(stored, 1, "z")
        # The fence for the alias says nothing of the section's own name.
        assert can_retire(stored, "new").grade == "none"


def test_the_primary_is_never_retired(database, open_keys) -> None:
    place = Place(database, "text")
    keys = open_keys("one")
    stored = place.open(keys)
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].found) == ("no", False)
    assert "primary" in found.reason
    key = keys.current_key()
    assert can_retire(stored, "one", key=key.key_id, version=key.version).grade == "no"
    assert can_retire(stored, "one", version="0.older").grade == "none"


def test_a_misspelt_section_is_an_error(database, open_keys) -> None:
    place = Place(database, "own")
    stored = place.open(open_keys("two"))
    with pytest.raises(ConfigError, match=r"misspelt.*Did you mean 'one'"):
        can_retire(stored, "onee")
    for section, key in (("No Section", None), ("one", "a b")):
        with pytest.raises(ConfigError, match="can't be"):
            can_retire(stored, section, key=key)
    migrate(stored, source=["one"])
    place.put(place.open(open_keys("one")), 1, "x")
    migrate(stored, source=["one"])
    rest = place.open(open_keys("two", without=("one",)))
    assert can_retire(rest, "one").grade == "none"  # a run has named it


def test_a_migration_under_way_makes_at_most_none(database, open_keys) -> None:
    place = Place(database, "own")
    place.put(place.open(open_keys("one")), 1, "x")
    stored = place.open(open_keys("two"))
    migrate(stored)
    add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    [run] = runs(stored)
    database.execute(f"UPDATE keyhinge_run SET state = 'active' WHERE run_id = {run.run_id}")
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].running) == ("none", True)


def test_each_column_of_each_table_counts(database, open_keys) -> None:
    database.engine.connect().close()
    database.execute("CREATE TABLE a (id integer NOT NULL PRIMARY KEY, x text, y text)")
    database.execute("CREATE TABLE b (id integer NOT NULL PRIMARY KEY, x text)")
    mappings = [
        TableMapping(table=table, primary_key="id", encoding="text", columns={"ciphertext": column})
        for table, column in (("a", "x"), ("a", "y"), ("b", "x"))
    ]
    with Tables(database.engine, open_keys("one"), mappings) as old:
        text = old.column("a", "y").encrypt("t", {})["y"]
        database.execute(f"INSERT INTO a VALUES (1, NULL, '{text}')")
    tables = Tables(database.engine, open_keys("two"), mappings)
    found = can_retire(tables, "one")
    assert [(each.table, each.found) for each in found.tables] == [
        ("a.x", False),
        ("a.y", True),
        ("b.x", False),
    ]
    migrate(tables)
    assert len(add_fence(tables.column("a", "y"), "one")) == 1
    assert [each.fenced for each in can_retire(tables, "one").tables] == [False, True, False]
    assert can_retire(tables, "one").grade == "none"
    assert len(add_fence(tables, "one")) == 3
    assert can_retire(tables, "one").grade == "fenced"


@pytest.fixture
def monetr(database, tmp_path: Path) -> Iterator[Callable[..., MappedColumn]]:
    """Maps a table of monetr's, for sections that are never asked: `monetr("eu", "us")`."""
    database.engine.connect().close()
    database.execute(
        "CREATE TABLE m (id integer NOT NULL PRIMARY KEY, key_id text, version text, secret text)"
    )
    opened: list[KeyManager] = []

    def make(*transit: str, aws: bool = True) -> MappedColumn:
        config: dict[str, Any] = {"provider": "plaintext", "plaintext": {}}
        for name in transit:
            config[name] = {"type": "vault", "address": "http://127.0.0.1:1", "keyID": "k"}
            config[name] |= {"token": "t", "authMethod": "token"}
        if aws:
            config["aws"] = {"region": "eu-central-1", "keyID": "alias/x"}
        opened.append(KeyManager.open({"keyManagement": config}))
        mapping = TableMapping(
            table="m",
            primary_key="id",
            encoding="monetr",
            columns={"ciphertext": "secret", "keyID": "key_id", "version": "version"},
        )
        return MappedColumn(database.engine, opened[-1], mapping)

    yield make
    for each in opened:
        each.close()


def test_rows_of_monetr_tell_by_their_shape(database, monetr) -> None:
    column = monetr("eu")
    database.execute("INSERT INTO m VALUES (1, 'k', NULL, 'vault:v1:AAAA')")
    assert can_retire(column, "eu").grade == "no"
    assert can_retire(column, "eu", key="k", version="1").tables[0].found
    assert can_retire(column, "eu", version="10").grade == "none"
    assert can_retire(column, "eu", key="other").grade == "none"
    assert can_retire(column, "aws").grade == "none"
    database.execute("INSERT INTO m VALUES (2, 'arn', NULL, '00ff')")
    assert can_retire(column, "aws").grade == "no"
    # Values of KMS don't say their version here, so they may be of any.
    assert can_retire(column, "aws", version="anything").tables[0].found
    database.execute("DELETE FROM m")
    database.execute("INSERT INTO m VALUES (3, 'arn', NULL, 'no hex')")
    found = can_retire(column, "eu")
    assert (found.tables[0].found, found.tables[0].unreadable) == (False, True)


def test_rows_of_monetr_with_two_sections_of_a_kind(database, monetr) -> None:
    """Only the ledger of a migration knows whose they are; without it, nobody does."""
    column = monetr("eu", "us")
    database.execute("INSERT INTO m VALUES (1, 'k', NULL, 'vault:v1:AAAA')")
    found = can_retire(column, "eu")
    assert found.grade == "no"
    assert "'us' look like" in found.tables[0].reason

    from keyhinge_store import create_state_tables
    from keyhinge_store._runs._ledger import Entry, digest_of_cells, enter

    create_state_tables(column)
    cells = ("vault:v1:AAAA", "k", None)
    with column.state.begin() as connection:
        entry = Entry(digest_of_cells(cells), "us", "k", "1")
        enter(connection, column.layout, {(1,): entry})
    assert can_retire(column, "eu").grade == "none"
    assert can_retire(column, "us").grade == "no"
    database.execute("UPDATE m SET secret = 'vault:v1:BBBB'")
    assert can_retire(column, "eu").grade == "no"  # the entry is about another value


def test_a_section_of_monetr_that_nobody_knows_any_more(database, monetr) -> None:
    """Its fence has kept what its values look like."""
    column = monetr("eu")
    database.execute("INSERT INTO m VALUES (1, 'arn', NULL, '00ff')")
    add_fence(column, "eu")
    assert can_retire(column, "eu").grade == "fenced"
    rest = monetr()
    assert can_retire(rest, "eu").grade == "fenced"
    with pytest.raises(ConfigError, match="misspelt"):
        can_retire(rest, "us")


@only_postgresql
def test_rows_that_are_hidden_make_a_no(database, database_url: str, open_keys) -> None:
    """A user who doesn't see all rows can't know."""
    place = Place(database, "text")
    database.execute("ALTER TABLE tokens ENABLE ROW LEVEL SECURITY")
    database.execute("CREATE ROLE half LOGIN PASSWORD 'pw'")
    database.execute("GRANT SELECT ON tokens TO half")
    url = sa.make_url(database_url).set(username="half", password="pw")
    engine = sa.create_engine(url)
    try:
        found = can_retire(place.open(open_keys("two"), engine), "one")
        assert found.grade == "no"
        assert "row security" in found.tables[0].reason
    finally:
        engine.dispose()
        database.execute("DROP OWNED BY half")
        database.execute("DROP ROLE half")


@only_sqlite
def test_it_ends_with_the_first_row(database, open_keys) -> None:
    """Rows are looked for, not counted."""
    place = Place(database, "text")
    stored = place.open(open_keys("two"))
    sent: list[str] = []
    sa.event.listen(
        database.engine, "before_cursor_execute", lambda *args: sent.append(str(args[2]))
    )
    can_retire(stored, "one")
    asked = [text for text in sent if "FROM tokens" in text]
    assert asked
    assert all("LIMIT" in text for text in asked)
