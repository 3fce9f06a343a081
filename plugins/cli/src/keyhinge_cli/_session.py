"""Opening what a command works with: the configuration, its keys, the store."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from keyhinge_cli._exit import USAGE, CliError
from keyhinge_cli._plugins import plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyhinge import KeyManager
    from keyhinge.config import Configuration
    from keyhinge_cli._options import Invocation
    from keyhinge_cli._output import Output
    from keyhinge_store import SecretStore, Tables

__all__ = [
    "open_keys",
    "open_store",
    "open_stored",
    "open_tables",
    "quiet_logging",
    "read_config",
    "show_logging",
]

_VISIBLE = (
    "the password in --database can be seen by every user of this machine; put the URL into "
    "KEYHINGE_DATABASE, or into the file that `store.urlFile` names"
)
_NOT_OURS = (
    "the configuration maps tables of an application under `store.tables`; this command is for the "
    "store's own table"
)
_URL_PASSWORD = re.compile(r"^[^/?#]*://[^/?#@]*:[^@]+@|[?&](ssl)?password=", re.IGNORECASE)


class _ToOutput(logging.Handler):
    """Shows what the library logs, on standard error in the command's own shape."""

    def __init__(self, out: Output) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._out.warn(record.getMessage(), code=getattr(record, "event", "keyhinge.log"))


def _handle_logs(handler: logging.Handler) -> None:
    log = logging.getLogger("keyhinge")
    log.handlers[:] = [handler]
    log.propagate = False


def show_logging(out: Output) -> None:
    """Show what the library logs as warnings of the command."""
    _handle_logs(_ToOutput(out))


def quiet_logging() -> None:
    """Drop what the library logs: the command tells it itself."""
    _handle_logs(logging.NullHandler())


def read_config(invocation: Invocation) -> Configuration:
    """Read the configuration, by the command's rule. Its problems are kept, not raised.

    Raises:
        ConfigError: There is no such file, or it can't be read at all.
    """
    from keyhinge.config import read_configuration

    return read_configuration(invocation.config)


@contextmanager
def open_keys(invocation: Invocation) -> Iterator[KeyManager]:
    """Open the configuration's keys; warnings go to standard error.

    Raises:
        KeyhingeError: The configuration is wrong, or its primary section can't be used.
    """
    from keyhinge import KeyManager

    show_logging(invocation.out)
    with KeyManager.open(invocation.config) as keys:
        yield keys


@contextmanager
def open_store(invocation: Invocation, keys: KeyManager) -> Iterator[SecretStore]:
    """Open the secrets store: that of `--database`, KEYHINGE_DATABASE or the file's `store.url`.

    Connects nowhere yet.

    Raises:
        ConfigError: No database is named, or the `store` block is wrong.
        CliError: keyhinge-store isn't installed, or the file maps an application's tables.
    """
    if plugin("store").store_settings(keys.configuration).tables:
        raise CliError(_NOT_OURS, USAGE)
    with open_stored(invocation, keys) as store:
        yield cast("SecretStore", store)


@contextmanager
def open_tables(invocation: Invocation, keys: KeyManager) -> Iterator[Tables]:
    """Open the tables of an application that the configuration maps.

    Raises:
        ConfigError: None is mapped, or as for `open_stored`.
        CliError: keyhinge-store isn't installed.
    """
    if not plugin("store").store_settings(keys.configuration).tables:
        plugin("store").open_tables(keys, invocation.database)  # says what to write
    with open_stored(invocation, keys) as tables:
        yield cast("Tables", tables)


@contextmanager
def open_stored(invocation: Invocation, keys: KeyManager) -> Iterator[SecretStore | Tables]:
    """Open what the configuration's values are stored in: the tables that it maps, or the store.

    Connects nowhere yet.

    Raises:
        ConfigError: No database is named, or the `store` block is wrong.
        CliError: keyhinge-store isn't installed.
    """
    if invocation.database and _URL_PASSWORD.search(invocation.database):
        invocation.out.warn(_VISIBLE, code="cli.password-in-arguments")
    stored: SecretStore | Tables = plugin("store").open_stored(keys, invocation.database)
    with stored:
        yield stored
