"""What `MappedColumn.encrypt` gives to write: the time, too, and never a plaintext by accident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import (
    DowngradeError,
    MappedColumn,
    TableMapping,
    UtcDateTime,
    report,
    status,
)

YEAR = timedelta(days=365)
ENCODINGS: dict[str, tuple[str, dict[str, str]]] = {
    "text": ("secret text", {"ciphertext": "secret"}),
    "bytes": ("secret bytea", {"ciphertext": "secret"}),
    "columns": (
        "section text, key_id text, version text, secret text",
        {"ciphertext": "secret", "section": "section", "keyID": "key_id", "version": "version"},
    ),
    "monetr": ("key_id text, secret text", {"ciphertext": "secret", "keyID": "key_id"}),
}
Open = Callable[..., MappedColumn]


@pytest.fixture
def open_column(database: Any) -> Open:
    """Maps the table `t`, and makes it: `open_column(keys, "text")`."""

    def make(keys: KeyManager, encoding: str = "text", **mapping: Any) -> MappedColumn:
        columns, roles = ENCODINGS[encoding]
        ddl = (
            "CREATE TABLE IF NOT EXISTS t (id integer PRIMARY KEY NOT NULL, "
            f"sealed timestamptz, {columns})"
        )
        if database.is_sqlite:
            ddl = ddl.replace("bytea", "blob").replace("timestamptz", "text")
        database.execute(ddl)
        bound = {} if encoding == "monetr" else {"context": {"id": "id"}}
        given = {"table": "t", "primary_key": "id", "encoding": encoding, "columns": roles}
        return MappedColumn(database.engine, keys, TableMapping(**{**given, **bound, **mapping}))

    return make


def insert(column: MappedColumn, cells: dict[str, Any]) -> None:
    moment = UtcDateTime()
    columns = (sa.column(n, moment if n == "sealed" else sa.types.NULLTYPE) for n in cells)
    with column.engine.begin() as connection:
        connection.execute(sa.insert(sa.table("t", *columns)).values(cells))


class TestTime:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_ages_of_what_an_application_writes_are_known(
        self, open_column: Open, open_keys, encoding: str
    ) -> None:
        primary = "plaintext" if encoding == "monetr" else "one"
        column = open_column(open_keys(primary), encoding, encrypted_at="sealed")
        before = datetime.now(timezone.utc)
        for number in range(3):
            insert(column, {"id": number, **column.encrypt("x", {"id": number})})

        [table] = status(column, max_key_age=YEAR).tables
        assert (table.values, table.undated) == (3, 0)
        [label] = status(column, max_key_age=YEAR).labels
        assert label.oldest is not None
        assert before <= label.oldest <= datetime.now(timezone.utc)
        if primary == "one":
            assert status(column, max_key_age=YEAR).policy == "kept"
            found = report(column, since=before - YEAR, max_key_age=YEAR)
            assert [each.policy for each in found.status.labels] == ["kept"]

    def test_it_is_a_moment_in_utc(self, open_column: Open, open_keys) -> None:
        cells = open_column(open_keys("one"), encrypted_at="sealed").encrypt("x", {"id": 1})
        assert set(cells) == {"secret", "sealed"}
        assert cells["sealed"].tzinfo is timezone.utc

    def test_without_such_a_column_there_is_none(self, open_column: Open, open_keys) -> None:
        assert set(open_column(open_keys("one")).encrypt("x", {"id": 1})) == {"secret"}


@pytest.mark.parametrize("encoding", ["text", "bytes", "columns"])
class TestDowngrade:
    def test_encrypted_stays_encrypted(self, open_column: Open, open_keys, encoding: str) -> None:
        column = open_column(open_keys("one"), encoding)
        insert(column, {"id": 1, **column.encrypt("x", {"id": 1})})
        plain = open_column(open_keys("plaintext"), encoding)
        with pytest.raises(DowngradeError, match="allow_downgrade"):
            plain.encrypt("open", {"id": 1})
        # Another section than the primary encrypts, and one that nobody knows may do so.
        unknowing = open_column(open_keys("plaintext", without=("one",)), encoding)
        with pytest.raises(DowngradeError, match="allow_downgrade"):
            unknowing.encrypt("open", {"id": 1})

    def test_unless_it_is_allowed(self, open_column: Open, open_keys, encoding: str) -> None:
        column = open_column(open_keys("one"), encoding)
        insert(column, {"id": 1, **column.encrypt("x", {"id": 1})})
        plain = open_column(open_keys("plaintext"), encoding)
        row = {"id": 1, **plain.encrypt("open", {"id": 1}, allow_downgrade=True)}
        assert plain.decrypt(row) == b"open"

    def test_where_nothing_is_encrypted(self, open_column: Open, open_keys, encoding: str) -> None:
        """A new row, one without a value, and one that is plaintext already."""
        plain = open_column(open_keys("plaintext"), encoding)
        insert(plain, {"id": 1, **plain.encrypt("1", {"id": 1})})
        insert(plain, {"id": 2, "secret": None})
        for number in (1, 2, 3):
            assert plain.encrypt("2", {"id": number})

    def test_what_does_not_parse_counts_as_encrypted(
        self, open_column: Open, open_keys, encoding: str
    ) -> None:
        plain = open_column(open_keys("plaintext"), encoding)
        insert(plain, {"id": 1, "secret": b"kh1:odd" if encoding == "bytes" else "kh1:odd"})
        with pytest.raises(DowngradeError):
            plain.encrypt("open", {"id": 1})


def test_a_row_without_its_key_is_refused(open_column: Open, open_keys) -> None:
    """Nobody can tell what is in it."""
    mapping: dict[str, Any] = {"context": {}}
    plain = open_column(open_keys("plaintext"), **mapping)
    with pytest.raises(DowngradeError, match="add id to `row`"):
        plain.encrypt("open", {})
    assert plain.encrypt("open", {}, allow_downgrade=True)
    assert plain.encrypt("open", {"id": None})  # the database will make it
    assert open_column(open_keys("one"), **mapping).encrypt("x", {})


def test_a_column_that_is_being_adopted(open_column: Open, open_keys) -> None:
    plain = open_column(open_keys("plaintext"), adopt="plaintext")
    insert(plain, {"id": 1, "secret": "as it was"})
    assert plain.encrypt("open", {"id": 1})


def test_rows_that_name_no_section(open_column: Open, open_keys) -> None:
    plain = open_column(open_keys("plaintext"), "monetr")
    insert(plain, {"id": 1, "secret": "as it was", "key_id": None})
    insert(plain, {"id": 2, "secret": "vault:v1:AAAA", "key_id": "k"})
    assert plain.encrypt("open", {"id": 1})
    with pytest.raises(DowngradeError):
        plain.encrypt("open", {"id": 2})


def test_only_a_primary_that_does_not_encrypt_costs_a_statement(
    open_column: Open, open_keys
) -> None:
    column = open_column(open_keys("one"))
    column.encrypt("x", {"id": 1})
    statements: list[str] = []
    sa.event.listen(
        column.engine, "before_cursor_execute", lambda *given: statements.append(given[2])
    )
    column.encrypt("x", {"id": 1})
    assert statements == []
