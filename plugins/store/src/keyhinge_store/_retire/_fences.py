"""Making and removing fences, and looking which there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._layout import Layout
from keyhinge_store._retire._can_retire import can_retire
from keyhinge_store._retire._catalogue import covering, list_fences, on_table
from keyhinge_store._retire._fence import Fence
from keyhinge_store._retire._fenceable import (
    fenceable,
    in_order,
    refuse_found,
    refuse_hidden,
    refuse_primary,
)
from keyhinge_store._retire._make import drop, make, statements
from keyhinge_store._retire._patience import patiently
from keyhinge_store._retire._question import Question, ask
from keyhinge_store._retire._snapshot import snapshot
from keyhinge_store._stored import Stored, columns_of

__all__ = ["add_fence", "fence_statements", "fences", "remove_fence"]

_PATIENCE = 60.0
_HOLD = 5.0


@frameless
def fences(store: Stored) -> tuple[Fence, ...]:
    """List the fences of a database, also those on tables that aren't mapped.

    Args:
        store: A store, a mapped column, or all mapped columns.

    Raises:
        DatabaseError: The database failed.
    """
    for column in columns_of(store):
        column.run(lambda _: None)  # a missing database or table is told as such

    layouts = in_order(store, store.keys)

    def look() -> list[Fence]:
        with snapshot(store.engine) as connection:
            return list_fences(connection, layouts)

    return tuple(guarded(look))


@frameless
def add_fence(
    store: Stored,
    section: str,
    *,
    key: str | None = None,
    version: str | None = None,
    keys: KeyManager | None = None,
    patience: float = _PATIENCE,
    hold: float = _HOLD,
) -> tuple[Fence, ...]:
    """Let the database refuse values under a section, a key or a version, in every column.

    A fence is a trigger. It is made, and looked whether a row is in its way, in one transaction
    that nobody can write in between of; so from then on there is none. Where there is a fence
    already, nothing happens.

    Args:
        store: Where the values are: a store, a mapped column, or all mapped columns.
        section: The section, with all its aliases; or an alias, which is then meant alone.
        key: Only values under this key id. None for all keys.
        version: Only values under this version, or one that wasn't recorded. None for all.
        keys: The configured sections; the store's own if None.
        patience: For how many seconds a lock on the tables is tried for. Each try is short, so
            that applications don't queue up behind it.
        hold: For how many seconds applications may have to wait with writing.

    Returns:
        The fences, one for each column.

    Raises:
        FenceError: A row is in the way, or it would refuse something else, too.
        ConfigError: The section is neither configured, nor was it ever seen in the database.
        DatabaseUnavailableError: The lock wasn't free in time.
        DatabaseError: The database failed, or its user may not make triggers.
    """
    keys = store.keys if keys is None else keys
    question = ask(keys, section, key, version)
    refuse_primary(keys, question)
    layouts = fenceable(store, keys, question)
    refuse_found(question, can_retire(store, section, key=key, version=version, keys=keys))

    def work(connection: sa.Connection) -> None:
        there = list_fences(connection)
        for layout in layouts:
            refuse_hidden(connection, layout)
            if covering(connection, layout, question, there) is None:
                make(connection, layout, question, there)

    patiently(store.engine, work, patience=patience, hold=hold)
    return tuple(guarded(partial(_covering, store.engine, layouts, question)))


@frameless
def remove_fence(
    store: Stored,
    section: str,
    *,
    key: str | None = None,
    version: str | None = None,
    keys: KeyManager | None = None,
    patience: float = _PATIENCE,
) -> tuple[Fence, ...]:
    """Drop the fences that were made for exactly this section, key and version.

    Args:
        store: Where the values are. Only fences on its tables are dropped.
        section: As for `add_fence`.
        key: As for `add_fence`.
        version: As for `add_fence`.
        keys: The configured sections; the store's own if None.
        patience: As for `add_fence`.

    Returns:
        Those that were dropped; none if there was none.

    Raises:
        DatabaseUnavailableError: The lock wasn't free in time.
        DatabaseError: The database failed, or the fence is another user's.
    """
    keys = store.keys if keys is None else keys
    question = ask(keys, section, key, version)
    layouts = in_order(store, keys)

    def work(connection: sa.Connection) -> list[Fence]:
        dropped: dict[tuple[object, str], Fence] = {}
        there = list_fences(connection)
        for layout in layouts:
            for fence in on_table(connection, layout, there):
                name = (fence.place, fence.trigger)
                if _is_for(fence, question) and name not in dropped:
                    drop(connection, layout, fence)
                    dropped[name] = fence
        return list(dropped.values())

    return tuple(patiently(store.engine, work, patience=patience, hold=_HOLD))


@frameless
def fence_statements(
    store: Stored,
    section: str,
    *,
    key: str | None = None,
    version: str | None = None,
    keys: KeyManager | None = None,
    remove: bool = False,
) -> list[str]:
    """Write what makes the fences, or removes them, for somebody who may. Changes nothing.

    Whether a row is in the way isn't looked at; `can_retire` does that afterwards. For the store's
    own table and a section of the configuration, nothing is even connected to. What removes a
    fence goes by its name, so the section must have the aliases that it had.

    Args:
        store: Where the values are.
        section: As for `add_fence`.
        key: As for `add_fence`.
        version: As for `add_fence`.
        keys: The configured sections; the store's own if None.
        remove: Write what removes them.

    Returns:
        The statements of one transaction, without semicolons.

    Raises:
        FenceError: It would refuse something else, too.
        ConfigError: The section is neither configured, nor was it ever seen in the database.
    """
    keys = store.keys if keys is None else keys
    question = ask(keys, section, key, version)
    if not remove:
        refuse_primary(keys, question)
    dialect = store.engine.dialect.name
    layouts = fenceable(store, keys, question)
    if not remove and not question.configured:
        can_retire(store, section, key=key, version=version, keys=keys)  # is it misspelt?
    made = [
        each for layout in layouts for each in statements(dialect, layout, question, remove=remove)
    ]
    if dialect == "sqlite":
        return ["BEGIN IMMEDIATE", *made, "COMMIT"]
    return ["BEGIN", "SET LOCAL lock_timeout = '1s'", *dict.fromkeys(made), "COMMIT"]


def _is_for(fence: Fence, question: Question) -> bool:
    asked = (question.section, question.key_id, question.version)
    return (fence.section, fence.key_id, fence.version) == asked


def _covering(engine: sa.Engine, layouts: Sequence[Layout], question: Question) -> list[Fence]:
    with snapshot(engine) as connection:
        there = list_fences(connection, layouts)
        found = [covering(connection, layout, question, there) for layout in layouts]
    return [fence for fence in found if fence is not None]
