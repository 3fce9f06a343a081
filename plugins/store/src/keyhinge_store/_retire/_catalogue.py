"""What the database itself says about fences and tables, whichever system it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge_store._layout import Layout
from keyhinge_store._retire import _fence_postgresql as postgresql
from keyhinge_store._retire import _fence_sqlite as sqlite
from keyhinge_store._retire._fence import Fence, covers
from keyhinge_store._retire._intact import is_intact
from keyhinge_store._retire._question import Question

__all__ = [
    "covering",
    "is_for",
    "list_fences",
    "objection",
    "on_table",
    "place_of",
    "saying_so",
]


def list_fences(connection: sa.Connection, layouts: Sequence[Layout] = ()) -> list[Fence]:
    """Find all fences of a database.

    Args:
        connection: Where it is.
        layouts: The tables and columns that are mapped. Of fences on them it is looked whether
            they are intact.
    """
    dialect = connection.dialect.name
    found = sqlite.listed(connection) if dialect == "sqlite" else postgresql.listed(connection)
    for layout in layouts:
        place = place_of(connection, layout)
        found = [
            attrs.evolve(each, intact=bool(each.intact) or is_intact(dialect, layout, each))
            if each.place == place and is_for(each, layout)
            else each
            for each in found
        ]
    return found


def is_for(fence: Fence, layout: Layout) -> bool:
    """Tell whether a fence on a table is for one of its columns."""
    of_column = layout.value in fence.columns | {fence.memory.column}
    return of_column and fence.memory.encoding == layout.codec.encoding


def place_of(connection: sa.Connection, layout: Layout) -> Any:
    """Give what identifies a table among fences."""
    if connection.dialect.name == "sqlite":
        return sqlite.place_of(layout)
    return postgresql.place_of(connection, layout)


def on_table(connection: sa.Connection, layout: Layout, fences: Sequence[Fence]) -> list[Fence]:
    """Pick the fences that are on a layout's table."""
    place = place_of(connection, layout)
    return [fence for fence in fences if fence.place == place]


def covering(
    connection: sa.Connection, layout: Layout, question: Question, fences: Sequence[Fence]
) -> Fence | None:
    """Find the fence that refuses, in a column, all that a question is about.

    Args:
        connection: Where the table is.
        layout: The table and column.
        question: What is asked.
        fences: Those of the database; see `list_fences`.
    """
    for fence in saying_so(connection, layout, question, fences):
        if fence.enabled and is_intact(connection.dialect.name, layout, fence):
            return fence
    return None


def saying_so(
    connection: sa.Connection, layout: Layout, question: Question, fences: Sequence[Fence]
) -> list[Fence]:
    """Find the fences that say that they refuse all that; also what is no more than a name."""
    there = [each for each in on_table(connection, layout, fences) if is_for(each, layout)]
    return [fence for fence in there if covers(fence, layout, question)]


def objection(connection: sa.Connection, layout: Layout, *, fencing: bool) -> str:
    """Say why a table can't be judged, or fenced; "" if it can.

    Args:
        connection: Where it is.
        layout: The table.
        fencing: Whether a fence is to be made.
    """
    if connection.dialect.name == "sqlite":
        return ""
    found = postgresql.look(connection, layout)
    if found.is_replica:
        return "this server is a replica, which may lag behind: ask the primary server"
    if found.is_hidden:
        return (
            "row security hides rows of it from this user: use the table's owner, or a user with "
            "BYPASSRLS"
        )
    if fencing and found.has_heirs:
        return "other tables inherit from it, and a trigger here doesn't see what is written there"
    return ""
