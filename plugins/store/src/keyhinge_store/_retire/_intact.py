"""Whether a fence is what it says: its real condition, beside the one that it is made with."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from keyhinge_store._encodings import MonetrCodec
from keyhinge_store._fence_words import FENCE_WORDS
from keyhinge_store._layout import Layout
from keyhinge_store._retire._expression import ParseError, Token, parse, tokens
from keyhinge_store._retire._fence import Fence, Memory
from keyhinge_store._retire._question import values_under
from keyhinge_store._written import literal, written

__all__ = ["NEW", "is_intact"]

NEW = "new"
"""What triggers call the row that is written."""

_SQLITE = re.compile(
    r"CREATE TRIGGER \S+ /\* keyhinge \{[^/]*\} \*/\s+"
    r"AFTER (?P<event>INSERT|UPDATE) ON (?:\"(?:[^\"]|\"\")*\"|\w+) FOR EACH ROW\s+"
    r"WHEN (?P<condition>.*)\s+BEGIN SELECT RAISE\(ABORT, (?P<words>'(?:[^']|'')*')\); END",
    re.DOTALL | re.IGNORECASE,
)
_TABLE = "\0"


def is_intact(dialect: str, layout: Layout, fence: Fence) -> bool:
    """Tell whether the triggers of a fence refuse what would be refused if it were made now.

    Args:
        dialect: The database system.
        layout: The table and column that it is for.
        fence: The fence, with its triggers' definitions.
    """
    layout = _as_remembered(layout, fence.memory)
    condition = values_under(layout, fence.memory.question(), layout.table.alias(NEW))
    try:
        wanted = parse(tokens(written(condition, dialect)))
        if dialect == "sqlite":
            found = _sqlite_conditions(fence)
        else:
            found = [_postgresql_condition(tokens(each)) for each in fence.definitions]
        return all(parse(each) == wanted for each in found)
    except ParseError:
        return False


def _as_remembered(layout: Layout, memory: Memory) -> Layout:
    """Give the layout that knows what values of the section look like, whatever is configured."""
    codec = layout.codec
    if not isinstance(codec, MonetrCodec):
        return layout
    sections = tuple((label, memory.shape) for label in memory.labels)
    return attrs.evolve(layout, codec=attrs.evolve(codec, sections=sections, aliases={}))


def _sqlite_conditions(fence: Fence) -> list[list[Token]]:
    events, conditions = [], []
    words = FENCE_WORDS.format(section=fence.memory.section, table=_TABLE)
    before, after = literal(words, "sqlite").split(_TABLE)
    for each in fence.definitions:
        found = _SQLITE.fullmatch(each)
        # The table may have been renamed since.
        if found is None or not (
            found["words"].startswith(before) and found["words"].endswith(after)
        ):
            raise ParseError
        events.append(found["event"].upper())
        conditions.append(tokens(found["condition"]))
    if sorted(events) != ["INSERT", "UPDATE"]:
        raise ParseError
    return conditions


def _postgresql_condition(found: Sequence[Token]) -> list[Token]:
    """Cut the condition out of a definition: everything else is in the catalogue's columns."""
    words = [text if kind == "word" else "" for kind, text in found]
    for at in range(len(words)):
        if words[at : at + 4] == ["for", "each", "row", "when"]:
            end = next(i for i in range(len(words) - 1, at, -1) if words[i] == "execute")
            return list(found[at + 4 : end])
    raise ParseError
