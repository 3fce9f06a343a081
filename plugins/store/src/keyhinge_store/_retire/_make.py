"""Making and dropping the triggers of one column."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from keyhinge_store._layout import Layout
from keyhinge_store._retire import _fence_postgresql as postgresql
from keyhinge_store._retire import _fence_sqlite as sqlite
from keyhinge_store._retire._catalogue import on_table
from keyhinge_store._retire._fence import Fence, memory_for
from keyhinge_store._retire._fenceable import in_the_way
from keyhinge_store._retire._intact import NEW
from keyhinge_store._retire._question import Question, values_under
from keyhinge_store._retire._rows import any_row
from keyhinge_store._written import run_written

__all__ = ["drop", "make", "statements"]


def make(
    connection: sa.Connection, layout: Layout, question: Question, there: Sequence[Fence]
) -> None:
    """Make a column's fence, in a transaction, and look whether a row is in its way.

    From the first statement on nobody else can write to the table until the transaction ends.

    Args:
        connection: The transaction.
        layout: The table and column.
        question: What is refused.
        there: The fences of the database; one of the same name is made anew.

    Raises:
        FenceError: There is such a row.
    """
    memory = memory_for(layout, question)
    name = memory.name(layout.table.fullname)
    condition = values_under(layout, question, layout.table.alias(NEW))
    if any(fence.trigger == name for fence in on_table(connection, layout, there)):
        _run(connection, _drop(connection.dialect.name, layout, name))
    if connection.dialect.name == "sqlite":
        _run(connection, sqlite.create(layout, memory, condition))
    else:
        schema = postgresql.look(connection, layout).schema_name
        postgresql.make_function(connection, schema)
        _run(connection, postgresql.create(layout, memory, condition, schema))
    # A statement of its own: it sees everything that was written before the lock was ours.
    if any_row(connection, layout, values_under(layout, question)):
        raise in_the_way(question, layout.name)


def drop(connection: sa.Connection, layout: Layout, fence: Fence) -> None:
    """Drop a fence, in a transaction; with the last one goes what they share."""
    _run(connection, _drop(connection.dialect.name, layout, fence.trigger))
    if connection.dialect.name == "postgresql":
        postgresql.drop_function(connection, postgresql.look(connection, layout).schema_name)


def statements(dialect: str, layout: Layout, question: Question, *, remove: bool) -> list[str]:
    """Write the statements for one column, without semicolons."""
    memory = memory_for(layout, question)
    if remove:
        return _drop(dialect, layout, memory.name(layout.table.fullname))
    condition = values_under(layout, question, layout.table.alias(NEW))
    if dialect == "sqlite":
        return sqlite.create(layout, memory, condition)
    schema = layout.table.schema
    return [
        postgresql.function(schema),
        *postgresql.create(layout, memory, condition, schema),
    ]


def _drop(dialect: str, layout: Layout, trigger: str) -> list[str]:
    if dialect == "sqlite":
        return sqlite.drop(layout, trigger)
    return postgresql.drop(layout, trigger)


def _run(connection: sa.Connection, made: Sequence[str]) -> None:
    for each in made:
        run_written(connection, each)
