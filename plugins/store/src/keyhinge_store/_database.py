"""Connecting: a URL becomes an engine that never makes a database by accident."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from keyhinge import ConfigError
from keyhinge_store._any_text import read_any_text
from keyhinge_store._errors import DatabaseMissingError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["make_async_engine", "make_engine", "parse_url", "require_file", "sqlite_file"]

T = TypeVar("T")

_CONNECT_SECONDS = 5
# A server that vanishes without a word, as in a failover, would be waited for for two hours.
_KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_SQLITE_BUSY_SECONDS = 10
# Gives our engines a logger of their own, which has a filter.
_LOGGING_NAME = "keyhinge-store"
_INSTALL = {
    "psycopg": "pip install 'keyhinge-store[postgresql]'",
    "aiosqlite": "pip install 'keyhinge-store[asyncio]'",
}


def parse_url(url: str | sa.URL, *, asynchronous: bool = False) -> sa.URL:
    """Read a database URL and choose the driver where it names none.

    Args:
        url: As SQLAlchemy writes it. `postgres://` is taken too.
        asynchronous: Whether an asyncio driver is wanted.

    Returns:
        The URL with its driver.

    Raises:
        ConfigError: It can't be read. The message doesn't repeat it, it may hold a password.
    """
    parsed = None
    with contextlib.suppress(sa.exc.ArgumentError, ValueError, TypeError):
        parsed = sa.make_url(url)
    if parsed is None:
        msg = (
            "the database URL can't be read; it looks like 'sqlite:///app.db' or "
            "'postgresql+psycopg://user@host/database'"
        )
        raise ConfigError(msg)
    if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        msg = f"the store doesn't work in {parsed.drivername!r}; use sqlite or postgresql+psycopg"
        raise ConfigError(msg)
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and asynchronous:
        return parsed.set(drivername="sqlite+aiosqlite")
    return parsed


def make_engine(url: sa.URL, *, create: bool = False) -> sa.Engine:
    """Make an engine for a URL that `parse_url` gave.

    Args:
        url: The URL.
        create: Whether a missing SQLite file is made. Otherwise it is an error when connecting.

    Raises:
        ConfigError: The driver isn't installed, or there is no such database system.
    """
    engine = _make(sa.create_engine, url, create=create)
    if url.get_backend_name() == "sqlite":
        read_any_text(engine)
    return engine


def make_async_engine(url: sa.URL, *, create: bool = False) -> AsyncEngine:
    """Make an engine for an event loop; see `make_engine`."""
    if url.get_driver_name() == "aiosqlite":
        _quiet_aiosqlite()
    factory: Callable[..., AsyncEngine] | None = None
    try:
        from sqlalchemy.ext.asyncio import create_async_engine as factory
    except ImportError:
        factory = None
    if factory is None:
        msg = "SQLAlchemy can't be used in an event loop here: " + _INSTALL["aiosqlite"]
        raise ConfigError(msg)
    return _make(factory, url, create=create)


def _make(factory: Callable[..., T], url: sa.URL, *, create: bool) -> T:
    try:
        return factory(sqlite_mode(url, "rwc" if create else "rw"), **engine_options(url))
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        problem = _driver_problem(url, error)
    except (sa.exc.ArgumentError, sa.exc.InvalidRequestError, TypeError, ValueError):
        problem = "the database URL's driver can't be used here, or doesn't know a part of the URL"
    raise ConfigError(problem)


def _driver_problem(url: sa.URL, error: Exception) -> str:
    """Say what is missing for a URL's driver, and how to get it."""
    if isinstance(error, sa.exc.NoSuchModuleError):
        return f"SQLAlchemy knows no database '{url.drivername}'; use sqlite or postgresql+psycopg"
    name = getattr(error, "name", None) or url.drivername
    return (
        f"the database driver '{name}' isn't installed. {_INSTALL.get(name, f'pip install {name}')}"
    )


def engine_options(url: sa.URL) -> dict[str, Any]:
    """Give the options that our own engines have, for `create_engine`."""
    # `hide_parameters` hides what is sent; at DEBUG SQLAlchemy logs the rows that come back, too.
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").addFilter(_without_rows)
    options: dict[str, Any] = {
        "hide_parameters": True,
        "logging_name": _LOGGING_NAME,
        "connect_args": {},
    }
    arguments = options["connect_args"]
    if url.get_backend_name() == "sqlite":
        if "timeout" not in url.query:
            arguments["timeout"] = _SQLITE_BUSY_SECONDS
        if sqlite_file(url) is None:
            # One connection, or each would see a database of its own.
            options["poolclass"] = StaticPool
            arguments["check_same_thread"] = False
    elif url.get_driver_name() in ("psycopg", "psycopg_async"):
        # Prepared statements don't survive PgBouncer's transaction mode.
        arguments["prepare_threshold"] = None
        options["pool_pre_ping"] = True
        given = {"connect_timeout": _CONNECT_SECONDS, **_KEEPALIVE}
        arguments.update((name, value) for name, value in given.items() if name not in url.query)
    return options


def _without_rows(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def _quiet_aiosqlite() -> None:
    """Keep values out of the log of an application that sets the root logger to DEBUG.

    aiosqlite logs every statement with its parameters at that level. SQLAlchemy does the same
    with its own logger; whoever asks for aiosqlite's by its name still gets it.
    """
    log = logging.getLogger("aiosqlite")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)


def sqlite_file(url: sa.URL) -> Path | None:
    """Give the file of an SQLite URL; None if it is in memory or isn't SQLite."""
    if url.get_backend_name() != "sqlite":
        return None
    name = url.database or ""
    if name.startswith("file:"):
        path, _, query = name[5:].partition("?")
        return None if "mode=memory" in query or url.query.get("mode") == "memory" else Path(path)
    return None if name in ("", ":memory:") else Path(name)


def sqlite_mode(url: sa.URL, mode: str) -> sa.URL:
    """Say in an SQLite URL whether the file may be made; other URLs stay as they are."""
    file = sqlite_file(url)
    if file is None or (url.database or "").startswith("file:"):
        return url
    uri = f"file:{quote(str(file.absolute()))}"
    return url.set(database=uri).update_query_dict({"mode": mode, "uri": "true"})


def require_file(url: sa.URL) -> None:
    """Refuse a missing SQLite file before a connection makes it.

    Raises:
        DatabaseMissingError: The file isn't there.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        msg = (
            f"there is no database file {str(file)!r}. If the path is right, make it with "
            "SecretStore.create_tables() or `keyhinge store init`"
        )
        raise DatabaseMissingError(msg)
