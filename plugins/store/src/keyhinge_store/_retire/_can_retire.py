"""Whether anything stored still needs a section, a key or a version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

import attrs
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout
from keyhinge_store._retire._building import Need
from keyhinge_store._retire._catalogue import (
    covering,
    list_fences,
    objection,
    on_table,
    saying_so,
)
from keyhinge_store._retire._fence import Fence
from keyhinge_store._retire._history import is_running, names_seen
from keyhinge_store._retire._ledger import all_of_others
from keyhinge_store._retire._question import Question, ask, current_problem, unknown, values_under
from keyhinge_store._retire._rows import (
    above,
    adopting,
    all_labels,
    any_row,
    any_unreadable,
    told_apart,
)
from keyhinge_store._retire._snapshot import snapshot
from keyhinge_store._runs._transact import moment_of
from keyhinge_store._stored import Column, Stored, columns_of

__all__ = ["Retirement", "TableRetirement", "can_retire"]


@attrs.frozen
class TableRetirement:
    """What one encrypted column says.

    Attributes:
        table: The labels of table and column.
        found: Whether a value was found that is, or may be, under the section, key and version.
        unreadable: Whether there are rows that don't parse: they might be that section's.
        fenced: Whether the database refuses such values in this column.
        running: Whether a migration of this column is under way.
        empty: Whether there is no value at all.
        reason: Why it can't be told; "" if it can.
        above: The sections whose values were found because they were made by a section that
            builds on it, and their key ids name it.
        unclear: The same, of sections whose values' key ids don't say what they were made with.
        broken: The triggers of fences that don't refuse what they say: they are disabled, or
            have another condition than the one they are made with.
    """

    table: str
    found: bool
    unreadable: bool
    fenced: bool
    running: bool
    empty: bool
    reason: str = ""
    above: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether nothing in it needs the section, key and version."""
        return not (self.found or self.unreadable or self.reason)


@attrs.frozen
class Retirement:
    """Whether a section, a key or a version can be retired, as far as live rows go.

    Backups from before `at` still need it.

    Attributes:
        section: What was asked about.
        key_id: The key; None for all of the section's.
        version: Its version; None for all.
        at: The moment that this is about, in UTC, by the database's clock.
        tables: One entry for each encrypted column.
        reason: Why new values go on being made with it; "" if none are.
    """

    section: str
    key_id: str | None
    version: str | None
    at: datetime
    tables: tuple[TableRetirement, ...]
    reason: str = ""

    @property
    def grade(self) -> Literal["no", "none", "fenced"]:
        """The answer: no; no row at that moment; or no row, and the database takes none.

        Only "fenced" lasts.
        """
        if self.reason or not all(table.is_free for table in self.tables):
            return "no"
        if all(table.fenced and not table.running for table in self.tables):
            return "fenced"
        return "none"

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON; the time in ISO 8601."""
        found = attrs.asdict(self)
        return {**found, "at": self.at.isoformat(), "grade": self.grade}


@frameless
def can_retire(
    store: Stored,
    section: str,
    *,
    key: str | None = None,
    version: str | None = None,
    keys: KeyManager | None = None,
) -> Retirement:
    """Look whether a stored value still needs a section, a key, or a version.

    All rows count, also those that a mapping's `where` leaves out. Nothing is decrypted, and
    nothing is written. The section needn't be in the configuration any more.

    Values of sections that build on it (`Section.over`) count, where their key ids begin with its
    name and a slash, or name no section below at all.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        section: The section; or an alias, which is then meant alone.
        key: Only values under this key id. None for all keys.
        version: Only values under this version. None for all. Values whose version wasn't
            recorded may be of it, so they count.
        keys: The configured sections; the store's own if None.

    Raises:
        ConfigError: The section is neither configured, nor was it ever seen in the database.
        DatabaseError: The database failed.
    """
    keys = store.keys if keys is None else keys
    question = ask(keys, section, key, version)
    columns = columns_of(store)
    for column in columns:
        column.run(lambda _: None)  # finds a missing or foreign table before the others are read
    looked = guarded(partial(_look, columns, keys, question))
    tables = tuple(
        _with_ledger(column, keys, question, table)
        for column, table in zip(columns, looked.tables, strict=True)
    )
    known = question.configured or section in looked.seen
    if not known and not any(table.found for table in tables):
        raise unknown(keys, question, looked.seen)
    reason = current_problem(keys, question)
    return Retirement(section, key, version, looked.at, tables, reason)


@attrs.frozen
class _Looked:
    at: datetime
    tables: tuple[TableRetirement, ...]
    seen: frozenset[str]


def _look(columns: Sequence[Column], keys: KeyManager, question: Question) -> _Looked:
    """Look at everything in one snapshot: what is true in it was true at its moment."""
    with snapshot(columns[0].state) as connection:
        at = moment_of(connection)
        fences = list_fences(connection)
        tables = [_judge(connection, column.layout, keys, question, fences) for column in columns]
        seen = names_seen(connection) | {label for each in fences for label in each.memory.labels}
        return _Looked(at, tuple(tables), frozenset(seen))


def _judge(
    connection: sa.Connection,
    layout: Layout,
    keys: KeyManager,
    question: Question,
    fences: Sequence[Fence],
) -> TableRetirement:
    layout = layout.for_keys(keys)
    reason = objection(connection, layout, fencing=False)
    layout, untold = told_apart(layout, question, on_table(connection, layout, fences))
    there = layout.table.c[layout.value].is_not(None)
    empty = not any_row(connection, layout, there)
    labels = all_labels(connection, layout)
    named = above(layout, question, labels, Need.YES)
    unclear = above(layout, question, labels, Need.UNCLEAR)
    found = any_row(connection, layout, values_under(layout, question))
    impossible = layout.codec.problem_with(question.section) != ""
    covered = covering(connection, layout, question, fences) is not None
    said = [] if covered else saying_so(connection, layout, question, fences)
    return TableRetirement(
        table=layout.name,
        found=found or bool(named or unclear),
        unreadable=any_unreadable(connection, layout, labels),
        fenced=(covered or impossible) and not untold,
        running=is_running(connection, layout),
        empty=empty,
        reason=reason or ("" if empty else untold) or adopting(layout, keys, question),
        above=tuple(named),
        unclear=tuple(unclear),
        broken=tuple(each.trigger for each in said),
    )


def _with_ledger(
    column: Column, keys: KeyManager, question: Question, table: TableRetirement
) -> TableRetirement:
    """Where rows name no section, let the ledger say whose they are; else they may be anybody's."""
    layout = column.layout.for_keys(keys)
    unsure = layout.codec.unsure(question.section)
    if not table.found or not unsure:
        return table
    if guarded(partial(all_of_others, column.state, layout, question)):
        return attrs.evolve(table, found=False)
    return attrs.evolve(table, reason=unsure)
