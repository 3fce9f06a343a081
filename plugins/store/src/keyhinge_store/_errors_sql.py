"""From the exceptions of SQLAlchemy and its drivers to ours, without what they carry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import sqlalchemy as sa

from keyhinge_store._errors import (
    DatabaseError,
    DatabaseMissingError,
    DatabaseUnavailableError,
    DuplicateSecretError,
    FencedError,
    TableMissingError,
)
from keyhinge_store._fence_words import FENCE_STATE, refused

__all__ = ["aguarded", "guarded", "is_disconnect", "sqlstate_of", "translated"]

T = TypeVar("T")

_BY_STATE = {
    "23505": (DuplicateSecretError, "a secret with this account and id is there already"),
    "25006": (DatabaseError, "the database is read-only (a replica?); connect to the primary"),
    "28P01": (DatabaseError, "the database refused the user's password"),
    "28000": (DatabaseError, "the database refused the user"),
    "3D000": (DatabaseMissingError, "there is no database of this name on the server"),
    "3F000": (TableMissingError, "there is no schema of this name in the database"),
    "42501": (DatabaseError, "the database's user lacks a privilege on the table"),
    "42P01": (TableMissingError, "the table isn't there any more"),
    "55P03": (DatabaseUnavailableError, "a lock on the table wasn't free in time"),
    "57014": (DatabaseUnavailableError, "the statement took longer than it may"),
}
# Connection trouble, out of resources, stopped by an operator, rolled back by the server.
_RETRYABLE_CLASSES = ("08", "40", "53", "57")
# Where there is no SQLSTATE: in SQLite, and in libpq before a connection stands. Such text is
# looked at, and never shown.
_BY_TEXT = (
    ("role ", "28000"),
    ("password authentication", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("does not exist", "3D000"),
)
_SQLITE_REASONS = (
    ("unable to open", DatabaseMissingError, "the SQLite file isn't there or can't be opened"),
    ("locked", DatabaseUnavailableError, "the SQLite file is locked by another process"),
    ("no such table", TableMissingError, "the table isn't there any more"),
    ("readonly", DatabaseError, "the SQLite file, or its folder, can't be written to"),
    ("not a database", DatabaseError, "the file isn't an SQLite database"),
    ("disk is full", DatabaseUnavailableError, "the disk is full"),
    (
        "decode to UTF-8",
        DatabaseError,
        "a row holds text that isn't UTF-8; mend or delete that row",
    ),
    ("UNIQUE constraint", DuplicateSecretError, _BY_STATE["23505"][1]),
)


def guarded(work: Callable[[], T]) -> T:
    """Do some work with the database and turn what SQLAlchemy raises into our errors.

    A context manager would chain the original; so this takes a function.

    Raises:
        StoreError: The database failed.
    """
    try:
        return work()
    except sa.exc.SQLAlchemyError as error:
        failure = translated(error)
    raise failure


async def aguarded(work: Callable[[], Awaitable[T]]) -> T:
    """Do what `guarded` does, for a coroutine."""
    try:
        return await work()
    except sa.exc.SQLAlchemyError as error:
        failure = translated(error)
    raise failure


def sqlstate_of(error: sa.exc.SQLAlchemyError) -> str:
    """Give the SQLSTATE, or "" (SQLite has none, and a lost connection often hasn't)."""
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    return state if isinstance(state, str) else ""


def is_disconnect(error: sa.exc.SQLAlchemyError) -> bool:
    """Tell whether the connection was lost, so that a commit's outcome may be unknown."""
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def translated(error: sa.exc.SQLAlchemyError) -> Exception:
    """Make our error of theirs. Nothing of their text goes in, it may hold values."""
    state = sqlstate_of(error)
    if fenced := _fenced(error, state):
        return fenced
    if state in _BY_STATE:
        kind, message = _BY_STATE[state]
        return _make(kind, message, state)
    if is_disconnect(error) or state[:2] in _RETRYABLE_CLASSES:
        return DatabaseUnavailableError("the connection to the database was lost", sqlstate=state)
    if not state:
        return _without_state(error)
    name = type(getattr(error, "orig", None) or error).__name__
    msg = f"the database refused the statement: {name} (SQLSTATE {state})"
    return DatabaseError(msg, sqlstate=state)


def _fenced(error: sa.exc.SQLAlchemyError, state: str) -> FencedError | None:
    """Make our error of what a fence of ours raised; its text holds no value."""
    if not isinstance(error, sa.exc.IntegrityError):
        return None
    original = getattr(error, "orig", None)
    if state == FENCE_STATE:
        text = getattr(getattr(original, "diag", None), "message_primary", None) or str(original)
    else:
        text = "" if state else str(original)
    found = refused(text)
    return None if found is None else FencedError.at(*found, sqlstate=state)


def _without_state(error: sa.exc.SQLAlchemyError) -> Exception:
    original = getattr(error, "orig", None)
    text = str(original)
    if type(original).__module__.startswith(("sqlite3", "aiosqlite")):
        for part, kind, message in _SQLITE_REASONS:
            if part in text:
                return _make(kind, message, "")
    elif isinstance(error, sa.exc.OperationalError):
        for part, state in _BY_TEXT:
            if part in text:
                return _make(*_BY_STATE[state], state)
    if isinstance(error, sa.exc.TimeoutError):
        return DatabaseUnavailableError("no connection of the pool became free in time")
    if isinstance(error, sa.exc.OperationalError):
        return DatabaseUnavailableError("the database can't be reached")
    name = type(original or error).__name__
    return DatabaseError(f"the database refused the statement: {name}")


def _make(kind: type[Exception], message: str, state: str) -> Exception:
    if issubclass(kind, DatabaseError):
        return kind(message, sqlstate=state)
    return kind(message)
