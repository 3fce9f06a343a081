"""Sections that build on others: what is below is needed still, and may be fenced off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._composing import WrapperModule
from tests.store._retiring import ENCODINGS, Place
from tests.store.test_store_can_retire import row_with

from keyhinge import EncryptedValue, KeyManager
from keyhinge_local import keyfile
from keyhinge_store import (
    FencedError,
    FenceError,
    add_fence,
    can_retire,
    fence_statements,
    fences,
    migrate,
    remove_fence,
    rewrap,
    status,
)
from keyhinge_store._retire._building import Building, Need
from keyhinge_store._retire._question import ask, values_under
from keyhinge_store._written import written

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
Open = Callable[..., KeyManager]


@pytest.fixture
def open_over(configuration: Callable[[str], dict[str, Any]]) -> Iterator[Open]:
    """Opens a configuration with further sections: `open_over("wrap", wrap={"over": "one"})`."""
    opened: list[KeyManager] = []

    def make(primary: str, *, without: tuple[str, ...] = (), **blocks: Any) -> KeyManager:
        config = configuration(primary)
        for name in without:
            del config["keyManagement"][name]
        for name, block in blocks.items():
            given = {**config["keyManagement"].get(name, {}), **block}
            config["keyManagement"][name] = {"type": "wrapper", **given}
        opened.append(KeyManager.open(config, providers={"wrapper": WrapperModule()}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


OVER_ONE = {"wrap": {"over": "one"}}
MOVED = {"wrap": {"over": "two", "also": ["one"]}}


@every_encoding
def test_the_section_below_is_needed_until_all_is_rewrapped(
    database, open_over: Open, encoding: str
) -> None:
    """No while values or the primary build on it; and a fence keeps wrapped values out, too."""
    place = Place(database, encoding)
    stored = place.open(open_over("wrap", **OVER_ONE))
    assert can_retire(stored, "one").grade == "no"
    assert "'wrap'" in can_retire(stored, "one").reason
    place.put(stored, 1, "x")
    [old] = place.rows()

    # New values are made over another section; the old one is opened still.
    stored = place.open(open_over("wrap", **MOVED))
    found = can_retire(stored, "one")
    assert (found.grade, found.reason) == ("no", "")
    assert (found.tables[0].found, found.tables[0].above) == (True, ("wrap",))
    assert can_retire(stored, "two").reason
    with pytest.raises(FenceError, match="still values"):
        add_fence(stored, "one")

    assert rewrap(stored).moved == 1
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].above) == ("none", ())
    [fence] = add_fence(stored, "one")
    assert add_fence(stored, "one") == (fence,)
    assert can_retire(stored, "one").grade == "fenced"
    with pytest.raises(FencedError):
        stored.run(lambda _: place.save(old))
    place.put(stored, 2, "y")
    # And that is so without the section in the file, too: that is what one asks for.
    rest = place.open(open_over("wrap", without=("one",), wrap={"over": "two"}))
    assert can_retire(rest, "one").grade == "fenced"
    with pytest.raises(FencedError):
        rewrap(place.open(open_over("wrap", wrap={"over": "one", "also": ["two"]})))


@every_encoding
def test_nothing_is_migrated_onto_what_is_fenced(database, open_over: Open, encoding: str) -> None:
    """Also through a section above it; before the first row is tried."""
    place = Place(database, encoding)
    stored = place.open(open_over("two", **OVER_ONE))
    place.put(stored, 1, "x")
    add_fence(stored, "one")
    before = place.rows()
    with pytest.raises(FencedError):
        migrate(stored, target="wrap", not_primary=True)
    assert place.rows() == before
    assert migrate(place.open(open_over("wrap", wrap={"over": "two"}))).moved == 1


@every_encoding
def test_keys_and_versions_below(database, open_over: Open, tmp_path: Path, encoding: str) -> None:
    place = Place(database, encoding)
    keys = open_over("wrap", **OVER_ONE)
    stored = place.open(keys)
    first = keys.current_key("one")
    place.put(stored, 1, "x")
    [old] = place.rows()
    keyfile.rotate(tmp_path / "one.key", activate=True)
    keys.reload()
    second = keys.current_key("one")

    def grade(**which: Any) -> str:
        return can_retire(stored, "one", **which).grade

    assert grade(version=first.version) == grade(key=first.key_id, version=first.version) == "no"
    assert [label.stale for label in status(stored).labels] == [True]
    assert rewrap(stored).moved == 1
    [label] = status(stored).labels
    assert (label.section, label.key_id) == ("wrap", f"one/{first.key_id}")
    assert (label.stale, label.configured) == (False, True)
    assert grade(version=first.version) == grade(key=first.key_id, version=first.version) == "none"
    assert grade(version=second.version) == grade(key=first.key_id) == "no"
    assert grade(key="other") == grade(key=first.key_id[:-1]) == "none"
    add_fence(stored, "one", key=first.key_id, version=first.version)
    assert grade(key=first.key_id, version=first.version) == "fenced"
    assert grade(version=first.version) == "none"
    add_fence(stored, "one", version=first.version)
    assert grade(version=first.version) == "fenced"
    with pytest.raises(FencedError):
        stored.run(lambda _: place.save(old))
    place.put(stored, 1, "y")


@every_encoding
def test_key_ids_that_do_not_say_count(database, open_over: Open, encoding: str) -> None:
    """Nobody can tell which section they need, so they need all that theirs builds on."""
    place = Place(database, encoding)
    blocks = {"wrap": {"over": "one", "names": False}}
    place.put(place.open(open_over("wrap", **blocks)), 1, "x")
    [old] = place.rows()
    blocks = {"wrap": {"over": "two", "also": ["one"], "names": False}}
    stored = place.open(open_over("two", **blocks))
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].found) == ("no", True)
    assert (found.tables[0].above, found.tables[0].unclear) == ((), ("wrap",))
    assert can_retire(stored, "one", key="any", version="any").grade == "no"
    # New values would count, too.
    assert "don't say" in can_retire(place.open(open_over("wrap", **blocks)), "one").reason
    migrate(stored)
    add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    with pytest.raises(FencedError):
        stored.run(lambda _: place.save(old))


def test_aliases_and_floors(database, open_over: Open, tmp_path: Path) -> None:
    """The section below by its old name, and through another section that builds on it."""
    place = Place(database, "text")
    stored = place.open(open_over("top", top={"over": "wrap"}, wrap={"over": "one"}))
    place.put(stored, 1, "x")
    assert place.rows()[0]["secret"].startswith("kh1:top:wrap/one/")
    renamed = open_over(
        "plaintext",
        without=("one",),
        top={"over": "new-wrap"},
        **{"new-wrap": {"over": "new", "aliases": ["wrap"]}},
        new={"type": "local", "keyFile": str(tmp_path / "one.key"), "aliases": ["one"]},
    )
    stored = place.open(renamed)
    for section, grade in {"one": "no", "new": "no", "new-wrap": "no", "two": "none"}.items():
        assert can_retire(stored, section).grade == grade, section
    database.execute("DELETE FROM tokens")
    place.put(stored, 1, "y")
    for section in ("one", "new", "new-wrap"):
        assert can_retire(stored, section).grade == "none"
        add_fence(stored, section)
        assert can_retire(stored, section).grade == "fenced"


def test_a_section_that_is_gone_needs_what_it_names(database, open_over: Open) -> None:
    """Without the section in the file its values name what is below all the same."""
    place = Place(database, "text")
    place.put(place.open(open_over("wrap", **OVER_ONE)), 1, "x")
    stored = place.open(open_over("two"))
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].above) == ("no", ("wrap",))


def test_a_section_that_came_later_is_not_fenced(database, open_over: Open) -> None:
    """A fence knows the sections that there were; for a new one it must be made once more."""
    place = Place(database, "text")
    stored = place.open(open_over("two"))
    [fence] = add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    stored = place.open(open_over("two", wrap={"over": "two"}))
    assert can_retire(stored, "one").grade == "none"
    [other] = add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    assert {each.trigger for each in fences(stored)} == {fence.trigger, other.trigger}
    assert len(remove_fence(stored, "one")) == 2


ODD = [
    ("wrap", "one/k", "1"),
    ("wrap", "one/k", ""),
    ("wrap", "one/", "1"),
    ("wrap", "one/a/b:c", "1"),
    ("wrap", "one", "x" * 47),  # 47 is the slash's code, and a length here
    ("wrap", "two/k", "1"),
    ("wrap", "w", "1"),
    ("wrap", "", ""),
    ("top", "wrap/one/k", "1"),
    ("top", "wrap/two/k", "1"),
    ("top", "wrap/w", "1"),
    ("top", "one/k", "1"),
    ("two", "one/k", "1"),
    ("one", "k", "1"),
]
KEYS = (None, "k", "", "a/b:c", "other")


@every_encoding
def test_what_sql_says_is_what_the_parts_say(database, open_over: Open, encoding: str) -> None:
    """Also where it is written into a trigger; each value by its own labels."""
    place = Place(database, encoding)
    keys = open_over("two", top={"over": "wrap"}, wrap={"over": "two", "also": ["one"]})
    stored = place.open(keys)
    questions = [ask(keys, "one", *which) for which in product(KEYS, (None, "1", "2"))]
    dialect = database.engine.dialect.name
    new = stored.layout.table.alias("new")
    looked = sa.select(*(values_under(stored.layout, each) for each in questions))
    texts = [written(values_under(stored.layout, each, new), dialect) for each in questions]
    from_row = f"SELECT {', '.join(texts)} FROM {place.table} AS new"
    for labels in ODD:
        database.execute(f"DELETE FROM {place.table}")
        place.insert(row_with(stored, EncryptedValue(*labels, b"\xff\x00/x" * 5)))
        expected = [
            _is_under(labels, each.key_id, each.version) or each.need(labels) is not Need.NO
            for each in questions
        ]
        with database.engine.connect() as connection:
            assert [bool(x) for x in connection.execute(looked).one()] == expected, labels
            raw = connection.exec_driver_sql(from_row, execution_options={"no_parameters": True})
            assert [bool(x) for x in raw.one()] == expected, labels
        assert can_retire(stored, "one").tables[0].found is expected[0]


@every_encoding
def test_a_fence_refuses_also_what_a_broken_section_made(
    database, open_over: Open, encoding: str
) -> None:
    """Here nobody knows what it builds on; an application that can use it may write its values."""
    place = Place(database, encoding)
    stored = place.open(open_over("wrap", **OVER_ONE))
    place.put(stored, 1, "x")
    [old] = place.rows()
    database.execute(f"DELETE FROM {place.table}")

    stored = place.open(open_over("two", wrap={"type": "missing"}))
    add_fence(stored, "one")
    assert can_retire(stored, "one").grade == "fenced"
    with pytest.raises(FencedError):
        stored.run(lambda _: place.insert(old))


def _is_under(labels: tuple[str, str, str], key_id: str | None, version: str | None) -> bool:
    own, key, number = labels
    return own == "one" and key_id in (None, key) and (version in (None, number) or not number)


def test_what_is_printed_has_the_sections_above(database, open_over: Open) -> None:
    place = Place(database, "text")
    stored = place.open(open_over("two", **MOVED))
    made = fence_statements(stored, "one")
    assert any("kh1:wrap:one/" in each for each in made)


@pytest.mark.parametrize(
    ("label", "key_id", "names", "need"),
    [
        ("a", "b/k", ("b",), Need.YES),
        ("a", "b/k", ("c",), Need.UNCLEAR),
        ("a", "k", ("b",), Need.UNCLEAR),
        ("a", "k", ("c",), Need.UNCLEAR),
        ("a", "b/c/k", ("c",), Need.YES),
        ("a", "b/k", ("d",), Need.NO),
        ("a", "x/k", ("b",), Need.UNCLEAR),
        ("a", "old-b/k", ("b", "old-b"), Need.YES),
        ("a", "b/k", ("old-b",), Need.NO),
        ("gone", "b/k", ("b",), Need.YES),
        ("gone", "k", ("b",), Need.NO),
        ("d", "b/k", ("b",), Need.NO),
        ("d", "b/k", ("gone",), Need.NO),
        ("a", "gone/k", ("gone",), Need.YES),
        ("round", "round/k", ("round",), Need.YES),
        ("round", "k", ("b",), Need.NO),
    ],
)
def test_whose_key_a_value_needs(
    label: str, key_id: str, names: tuple[str, ...], need: Need
) -> None:
    """Of `a`, which builds on `b`, which builds on `c`; and of `round`, which builds on itself."""
    owners = {"a": "a", "b": "b", "old-b": "b", "c": "c", "d": "d", "round": "round"}
    below = {"a": ("b",), "b": ("c",), "c": (), "d": (), "round": ("round",)}
    building = Building(owners, below)
    assert building.need(label, key_id, names)[0] is need
    assert ("round", f"{names[0]}/") in building.ways(names)
