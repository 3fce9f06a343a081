"""What the database itself says about fences and tables, whichever system it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from keyhinge_store._layout import Layout
from keyhinge_store._retire import _fence_postgresql as postgresql
from keyhinge_store._retire import _fence_sqlite as sqlite
from keyhinge_store._retire._fence import Fence, covers
from keyhinge_store._retire._question import Question, values_under

__all__ = ["NEW", "covering", "list_fences", "objection", "on_table", "place_of"]

NEW = "new"
"""What triggers call the row that is written."""


def list_fences(connection: sa.Connection) -> list[Fence]:
    """Find all fences of a database."""
    listed = sqlite.listed if connection.dialect.name == "sqlite" else postgresql.listed
    return listed(connection)


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
        fences: Those of the database.
    """
    for fence in on_table(connection, layout, fences):
        if fence.columns == _looked_at(connection, layout, fence) and covers(
            fence, layout, question
        ):
            return fence
    return None


def _looked_at(connection: sa.Connection, layout: Layout, fence: Fence) -> frozenset[str]:
    """Name the columns that a fence for this layout would look at."""
    if connection.dialect.name == "sqlite":
        return frozenset([layout.value])
    found = visitors.iterate(values_under(layout, fence.memory.question()))
    return frozenset(str(each.name) for each in found if isinstance(each, sa.Column))


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
