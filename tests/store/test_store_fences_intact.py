"""A fence is believed by what its trigger does, not by its name and what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.store._retiring import ENCODINGS, Place, run_by_hand

from keyhinge_store import (
    MappedColumn,
    TableMapping,
    add_fence,
    can_retire,
    fence_statements,
    fences,
    remove_fence,
)
from keyhinge_store._retire._expression import ParseError, parse, tokens

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def made_anew(database: Any, statements: list[str], change: Callable[[str], str]) -> None:
    """Run the statements of a fence with other triggers than they would make."""
    changed = [change(each) if "CREATE TRIGGER" in each else each for each in statements]
    assert changed != statements
    run_by_hand(database, changed)


def with_condition(wanted: str) -> Callable[[str], str]:
    """Change a trigger's condition; "(…)" stands for the one that it has."""

    def change(statement: str) -> str:
        end = r"\)\nEXECUTE" if "EXECUTE FUNCTION" in statement else r"\nBEGIN"
        found = re.search(rf"WHEN (\(?)(.*?)(?={end})", statement, re.DOTALL)
        assert found is not None
        new = f"WHEN {found[1]}{wanted.replace('(…)', f'({found[2]})')}"
        return statement[: found.start()] + new + statement[found.end() :]

    return change


@every_encoding
@pytest.mark.parametrize("wanted", ["false", "(…) AND false", "(…) AND new.note = 'x'"])
def test_another_condition(database, open_keys, encoding: str, wanted: str) -> None:
    if encoding == "own":
        wanted = wanted.replace("note", "kind")
    place = Place(database, encoding)
    stored = place.open(open_keys("two"))
    made_anew(database, fence_statements(stored, "one"), with_condition(wanted))
    [fence] = fences(stored)
    assert (fence.enabled, fence.intact, fence.to_dict()["intact"]) == (True, False, False)
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].fenced) == ("none", False)
    assert found.tables[0].broken == (fence.trigger,)
    [mended] = add_fence(stored, "one")
    assert (mended.trigger, mended.intact) == (fence.trigger, True)
    assert fences(stored) == (mended,)
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].broken) == ("fenced", ())
    assert remove_fence(stored, "one")


@every_encoding
@pytest.mark.parametrize("which", [{}, {"key": "a'b\"c\\d*/:e"}, {"version": "7"}])
def test_what_is_made_is_intact(database, open_keys, encoding: str, which: dict[str, Any]) -> None:
    """However the database writes the condition, with every part that there may be in it."""
    place = Place(database, encoding)
    stored = place.open(open_keys("two"))
    [fence] = add_fence(stored, "one", **which)
    assert fence.intact
    assert can_retire(stored, "one", **which).grade == "fenced"


def test_another_section_in_the_condition(database, open_keys) -> None:
    place = Place(database, "text")
    stored = place.open(open_keys("two"))
    statements = fence_statements(stored, "one")
    made_anew(database, statements, lambda each: each.replace("kh1:one:", "kh1:onx:"))
    assert can_retire(stored, "one").grade == "none"
    assert [each.intact for each in fences(stored)] == [False]


def test_a_condition_on_another_column(database, open_keys) -> None:
    place = Place(database, "text")
    stored = place.open(open_keys("two"))
    made_anew(
        database,
        fence_statements(stored, "one"),
        lambda x: re.sub(r'("?new"?\.)secret', r"\1note", x),
    )
    assert can_retire(stored, "one").grade == "none"
    assert [each.intact for each in fences(stored)] == [False]


def test_one_on_another_table(database, open_keys) -> None:
    """It is that table's, whatever it says; and nobody knows of it, since that isn't mapped."""
    place = Place(database, "text")
    stored = place.open(open_keys("two"))
    database.execute("CREATE TABLE others (id integer NOT NULL PRIMARY KEY, secret text)")
    statements = fence_statements(stored, "one")
    made_anew(database, statements, lambda x: re.sub(r' ON "?tokens"? ', " ON others ", x))
    found = can_retire(stored, "one")
    assert (found.grade, found.tables[0].broken) == ("none", ())
    assert [(each.table, each.intact) for each in fences(stored)] == [("others", None)]


@only_sqlite
@pytest.mark.parametrize(
    ("old", "new"),
    [("RAISE(ABORT", "RAISE(IGNORE"), ("AFTER UPDATE ON", "AFTER UPDATE OF note ON")],
)
def test_a_trigger_that_does_something_else_in_sqlite(
    database, open_keys, old: str, new: str
) -> None:
    stored = Place(database, "text").open(open_keys("two"))
    statements = fence_statements(stored, "one")
    changed = [
        re.sub(r"RAISE\(ABORT, '[^']*'\)", "RAISE(IGNORE)", each)
        if "IGNORE" in new
        else each.replace(old, new)
        for each in statements
    ]
    assert changed != statements
    run_by_hand(database, changed)
    assert [each.intact for each in fences(stored)] == [False]
    assert can_retire(stored, "one").grade == "none"


@only_postgresql
def test_a_disabled_one_in_postgresql(database, open_keys) -> None:
    stored = Place(database, "text").open(open_keys("two"))
    [fence] = add_fence(stored, "one")
    database.execute(f"ALTER TABLE tokens DISABLE TRIGGER {fence.trigger}")
    [found] = fences(stored)
    assert (found.enabled, found.intact) == (False, True)
    told = can_retire(stored, "one")
    assert (told.grade, told.tables[0].broken) == ("none", (fence.trigger,))


@only_postgresql
@pytest.mark.parametrize("kind", ["varchar(900)", "checked", 'text COLLATE "POSIX"'])
@pytest.mark.parametrize("encoding", ["text", "columns in text"])
def test_columns_of_other_types(database, open_keys, kind: str, encoding: str) -> None:
    """PostgreSQL writes casts into the condition then."""
    database.execute("CREATE DOMAIN checked AS text CHECK (value <> 'x')")
    place = Place(database, encoding)
    for name in ("section", "key_id", "version", "secret") if " " in encoding else ("secret",):
        database.execute(f"ALTER TABLE tokens ALTER {name} TYPE {kind}")
    stored = place.open(open_keys("two"))
    asked: tuple[dict[str, Any], ...] = ({"key": "k", "version": "1"}, {"version": "1"}, {})
    for which in asked:
        add_fence(stored, "one", **which)
        assert can_retire(stored, "one", **which).grade == "fenced", fences(stored)


def test_renamed_columns_beside_the_value(database, open_keys) -> None:
    """The condition follows them, and how they are quoted doesn't matter."""
    place = Place(database, "columns")
    add_fence(place.open(open_keys("two")), "one")
    database.execute('ALTER TABLE tokens RENAME COLUMN section TO "the Section"')
    columns = {**place.mapping["columns"], "section": "the Section"}
    mapping = TableMapping(
        table="tokens", primary_key="id", encoding="columns", columns=columns, context={"id": "id"}
    )
    stored = MappedColumn(database.engine, open_keys("two"), mapping)
    assert [each.intact for each in fences(stored)] == [True]
    assert can_retire(stored, "one").grade == "fenced"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a.b IS NOT NULL AND c = 'x'", "((a.b IS NOT NULL) AND (c = 'x'::text))"),
        ("a IN ('x', 'y')", "(a = ANY (ARRAY['x'::text, 'y'::text]))"),
        ("a IN ('x', 'y')", "((a)::text = ANY ((ARRAY['x'::character varying, 'y'])::text[]))"),
        ("a IN ('x')", "(a = 'x'::text)"),
        ("CAST(a AS TEXT) COLLATE \"C\" != 'x'", "((a COLLATE \"C\") <> 'x'::text)"),
        ("a - (b - 1) * 2 > 3", "((a - ((b - 1) * 2)) > 3)"),
        ("position(a IN b || c) = 0", "(POSITION((a) IN ((b || c))) = 0)"),
        ("a OR b OR c AND d", "(a OR (b OR (c AND d)))"),
        ("f(a, 1, 2 + 3) = X'00'", "(f(a, 1, (2 + 3)) = X'00')"),
        ('new.secret = "new"."secret"', '"new".secret = new.secret'),
        ("a = E'x\\\\''y'", "a = 'x\\''y'::text"),
        ("coalesce(a, '') = ''", "(COALESCE(a, ''::text) = ''::text)"),
        ("NOT a IS NULL", "(NOT (a IS NULL))"),
    ],
)
def test_the_same_in_other_words(ours: str, theirs: str) -> None:
    assert parse(tokens(ours)) == parse(tokens(theirs))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("(a OR b) AND c", "a OR b AND c"),
        ("a - (b - c) = 0", "a - b - c = 0"),
        ("a = 'x'", "a = 'X'"),
        ("a = 'x'", "a::varchar(1) = 'x'"),
        ("a = 'x'", "a::citext = 'x'"),
        ("a = '1'", "a = 1"),
        ("a IN ('x', 'y')", "a IN ('x')"),
        ("a COLLATE \"C\" = 'x'", "a = 'x'"),
        ('"A" = 1', "a = 1"),
        ("new.a = 1", "old.a = 1"),
        ("a AND b", "a AND NOT b"),
        ("length(a) = 1", "octet_length(a) = 1"),
    ],
)
def test_what_is_not_the_same(ours: str, theirs: str) -> None:
    assert parse(tokens(ours)) != parse(tokens(theirs))


@pytest.mark.parametrize(
    "text",
    ["", "(", "a b", "a = ", "a = ANY (b)", "a IN (", "1 = 'x", "a ~ 'x'", "$1", "a IS x", "a::"],
)
def test_what_is_not_understood(text: str) -> None:
    with pytest.raises(ParseError):
        parse(tokens(text))
