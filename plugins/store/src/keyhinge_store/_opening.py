"""From a configuration to a store: what the command line and small programs need."""

from __future__ import annotations

import os
from collections.abc import Mapping

import sqlalchemy as sa

from keyhinge import ConfigError, KeyManager, Problem
from keyhinge.config import Configuration
from keyhinge_store._database import parse_url
from keyhinge_store._frames import frameless
from keyhinge_store._mapped import Tables
from keyhinge_store._settings import StoreSettings
from keyhinge_store._store import SecretStore

__all__ = [
    "DATABASE_VARIABLE",
    "database_url",
    "open_store",
    "open_stored",
    "open_tables",
    "store_settings",
]

DATABASE_VARIABLE = "KEYHINGE_DATABASE"


def store_settings(configuration: Configuration) -> StoreSettings:
    """Give the `store` block's settings; the defaults if the file has no such block.

    Raises:
        ConfigError: With everything that is wrong in the block.
    """
    return configuration.structure_block("store", StoreSettings) or StoreSettings()


@frameless
def database_url(
    configuration: Configuration,
    override: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> sa.URL:
    """Find out which database is meant. There is no default.

    Args:
        configuration: Its `store: {url: …}` comes last.
        override: What was asked for here and now, as by `--database`; comes first.
        environ: The environment, whose `KEYHINGE_DATABASE` comes second; the process's if None.

    Returns:
        The URL. A relative SQLite file of the configuration starts at the configuration's folder.

    Raises:
        ConfigError: None of the three names one, or it can't be read.
    """
    environ = os.environ if environ is None else environ
    given = override or environ.get(DATABASE_VARIABLE)
    if given:
        return parse_url(given)
    url = store_settings(configuration).url
    if url is None:
        msg = (
            f"no database is named. Say it with --database or {DATABASE_VARIABLE}, or write "
            "`store: {url: …}` into the configuration"
        )
        raise ConfigError([Problem("store.url", msg)], source=configuration.source)
    return _from_folder(parse_url(url.reveal()), configuration)


@frameless
def open_store(
    keys: KeyManager,
    override: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> SecretStore:
    """Open the store that a KeyManager's configuration describes.

    Args:
        keys: The open configuration.
        override: See `database_url`.
        environ: See `database_url`.

    Raises:
        ConfigError: No database is named, or its driver isn't installed.
    """
    configuration = keys.configuration
    settings = store_settings(configuration)
    url = database_url(configuration, override, environ=environ)
    return SecretStore(
        url,
        keys,
        table=settings.table,
        schema=settings.schema,
        label=settings.label,
        state_schema=settings.state_schema,
    )


@frameless
def open_tables(
    keys: KeyManager,
    override: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Tables:
    """Open the tables that a KeyManager's configuration maps under `store: {tables: …}`.

    Args:
        keys: The open configuration.
        override: See `database_url`.
        environ: See `database_url`.

    Raises:
        ConfigError: No table is mapped, no database is named, or its driver isn't installed.
    """
    configuration = keys.configuration
    settings = store_settings(configuration)
    if not settings.tables:
        msg = "no tables are mapped; name them in the configuration"
        raise ConfigError([Problem("store.tables", msg)], source=configuration.source)
    url = database_url(configuration, override, environ=environ)
    mappings = [each.mapping() for each in settings.tables]
    return Tables(url, keys, mappings, state_schema=settings.state_schema)


@frameless
def open_stored(
    keys: KeyManager,
    override: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> SecretStore | Tables:
    """Open whatever the configuration says that values are stored in: its tables, or a store.

    Args:
        keys: The open configuration.
        override: See `database_url`.
        environ: See `database_url`.

    Raises:
        ConfigError: No database is named, or its driver isn't installed.
    """
    mapped = store_settings(keys.configuration).tables
    return (open_tables if mapped else open_store)(keys, override, environ=environ)


def _from_folder(url: sa.URL, configuration: Configuration) -> sa.URL:
    name = url.database
    if url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return url
    if str(name).startswith("file:"):
        return url
    return url.set(database=str(configuration.base_dir / str(name)))
