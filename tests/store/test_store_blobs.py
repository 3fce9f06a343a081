"""SQLite keeps bytes in a column of text: they are neither a value, nor a plaintext, nor let in."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store._retiring import Place

from keyhinge import InvalidCiphertextError
from keyhinge_store import (
    FencedError,
    MappedColumn,
    StoreError,
    can_retire,
    migrate,
    status,
    verify,
)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
in_text = pytest.mark.parametrize("encoding", ["own", "text", "columns", "columns in text"])


def as_bytes(row: dict[str, Any]) -> dict[str, Any]:
    """The row as a program writes it that binds bytes where text belongs."""
    names = ("section", "key_id", "version", "secret")
    return {
        name: each.encode() if name in names and isinstance(each, str) else each
        for name, each in row.items()
    }


@in_text
def test_a_fence_refuses_bytes(fenced, open_keys, encoding: str) -> None:
    place, old = fenced(encoding)
    stored = place.open(open_keys("two"))
    before = place.rows()
    with pytest.raises(FencedError):
        stored.run(lambda _: place.save(as_bytes(old)))
    assert place.rows() == before
    assert can_retire(stored, "one").grade == "fenced"
    place.put(stored, 1, "z")


def test_a_fence_on_bytes_refuses_text(fenced, open_keys, database) -> None:
    """The other way round: SQLite keeps text in a column of bytes, whatever its bytes are."""
    place, old = fenced("bytes")
    stored = place.open(open_keys("two"))
    cast = f"UPDATE tokens SET secret = CAST(X'{old['secret'].hex()}' AS TEXT)"
    with pytest.raises(FencedError):
        stored.run(lambda connection: connection.exec_driver_sql(cast))


@in_text
@pytest.mark.parametrize("which", [{}, {"key": "k"}, {"version": "1"}])
def test_bytes_are_unreadable(database, open_keys, encoding: str, which: dict[str, Any]) -> None:
    place = Place(database, encoding)
    stored = place.open(open_keys("two"))
    place.put(stored, 1, "x")
    assert can_retire(stored, "one", **which).grade == "none"
    place.save(as_bytes(place.rows()[0]))
    found = can_retire(stored, "one", **which)
    assert (found.grade, found.tables[0].found, found.tables[0].unreadable) == ("no", False, True)
    assert status(stored).unreadable == 1
    assert verify(stored).failed == 1
    assert migrate(stored).failed == 1


@pytest.mark.parametrize("data", [b"a plain token", b"kh1:one:k:1:AAAA", b"\xff\x00"])
def test_bytes_are_no_plaintext_in_adoption(database, open_keys, data: bytes) -> None:
    """What can't be read counts as such, and isn't left behind when the adoption is finished."""
    place = Place(database, "text", adopt="plaintext")
    place.insert({"id": 1, "secret": data})
    place.insert({"id": 2, "secret": "a plain token"})
    stored = place.open(open_keys("two"))
    assert isinstance(stored, MappedColumn)
    found = status(stored)
    assert (found.unreadable, found.tables[0].plaintexts) == (1, 1)
    report = migrate(stored)
    assert (report.moved, report.failed) == (1, 1)
    assert place.rows()[0]["secret"] == data
    with pytest.raises(InvalidCiphertextError, match="bytes, not text"):
        stored.decrypt({"id": 1, "secret": data})
    with pytest.raises(StoreError, match="aren't text"):
        stored.finish_adoption()
    database.execute("DELETE FROM tokens WHERE id = 1")
    stored.finish_adoption()
