"""What speaks against a fence: a value in its way, or other values that it would refuse, too."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store._errors import FenceError
from keyhinge_store._layout import Layout
from keyhinge_store._retire._can_retire import Retirement
from keyhinge_store._retire._catalogue import objection
from keyhinge_store._retire._question import Question, current_problem
from keyhinge_store._retire._rows import adopting, told_apart
from keyhinge_store._stored import Stored, columns_of

__all__ = [
    "fenceable",
    "in_order",
    "in_the_way",
    "refuse_found",
    "refuse_hidden",
    "refuse_primary",
]


def in_order(store: Stored, keys: KeyManager) -> list[Layout]:
    """Give the columns in an order that is the same for everybody who locks their tables."""
    layouts = [column.layout.for_keys(keys) for column in columns_of(store)]
    return sorted(layouts, key=lambda layout: (layout.table.fullname, layout.value))


def fenceable(store: Stored, keys: KeyManager, question: Question) -> list[Layout]:
    """Give the columns that values of the section can stand in.

    Raises:
        FenceError: In one of them, a fence would refuse other values, too.
    """
    found = []
    for layout in in_order(store, keys):
        _, untold = told_apart(layout, question, ())
        unsure = untold or layout.codec.unsure(question.section)
        unsure = unsure or adopting(layout, keys, question)
        if unsure:
            raise _cannot(layout, unsure)
        if not layout.codec.problem_with(question.section):
            found.append(layout)
    return found


def refuse_primary(keys: KeyManager, question: Question) -> None:
    """Refuse to fence off what new values are made with.

    Raises:
        FenceError: The application could write nothing any more.
    """
    problem = current_problem(keys, question)
    if problem:
        msg = f"{question} can't be fenced off: {problem}. Switch `provider` first"
        raise FenceError(msg)


def refuse_hidden(connection: sa.Connection, layout: Layout) -> None:
    """Refuse a table whose rows can't all be seen, or on which a trigger doesn't see all.

    Raises:
        FenceError: It is such a table.
    """
    objected = objection(connection, layout, fencing=True)
    if objected:
        raise _cannot(layout, objected)


def refuse_found(question: Question, found: Retirement) -> None:
    """Refuse a fence that rows are in the way of.

    Raises:
        FenceError: There are such rows.
    """
    tables = [table.table for table in found.tables if table.found]
    names = {name for table in found.tables for name in (*table.above, *table.unclear)}
    if tables:
        raise in_the_way(question, ", ".join(tables), sorted(names))


def in_the_way(question: Question, table: str, above: Sequence[str] = ()) -> FenceError:
    """Make the error for a fence that a row is in the way of.

    Args:
        question: What is to be refused.
        table: Where the row is.
        above: The sections of values that were made by one that builds on it.
    """
    msg = (
        f"there are still values under {question} in {table}, and a fence would refuse every "
        "change of their rows. Migrate them first"
    )
    if above:
        names = ", ".join(map(repr, above))
        msg += f"; those of {names}, which builds on it, may be rewrapped over another section"
    return FenceError(msg)


def _cannot(layout: Layout, why: str) -> FenceError:
    return FenceError(f"{layout.name} can't be fenced: {why}")
