"""What can go wrong with the database, in one tree.

An exception of SQLAlchemy or of a driver carries the statement's parameters, which are the values
themselves, and PostgreSQL's own messages may print a whole row. So none of them is chained to
these errors, and none of their text is repeated; the SQLSTATE is what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keyhinge import ConfigError, KeyhingeError, Problem

__all__ = [
    "DatabaseError",
    "DatabaseMissingError",
    "DatabaseUnavailableError",
    "DowngradeError",
    "DuplicateSecretError",
    "FenceError",
    "FencedError",
    "ForeignTableError",
    "MappingError",
    "MigrationError",
    "MigrationRunningError",
    "MigrationStoppedError",
    "NotTextError",
    "SecretNotFoundError",
    "StoreError",
    "TableMissingError",
]


class StoreError(KeyhingeError):
    """The root of everything that the store raises on its own account.

    Attributes:
        retryable: Whether the same call may succeed later without any change.
    """

    retryable = False


class SecretNotFoundError(StoreError):
    """There is no secret with this account and id."""


class DuplicateSecretError(StoreError):
    """Two secrets would have the same account and id."""


class DowngradeError(StoreError):
    """An encrypted value would be replaced by one that isn't encrypted."""


class NotTextError(StoreError):
    """The secret is bytes that aren't UTF-8, and text was asked for."""


class DatabaseError(StoreError):
    """The database refused something.

    Attributes:
        sqlstate: The five characters by which SQL names an error, or "" where there are none.
    """

    sqlstate: str

    def __init__(self, message: str, *, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailableError(DatabaseError):
    """The database can't be reached, or it is too busy; the same call may succeed later."""

    retryable = True


class DatabaseMissingError(DatabaseError):
    """There is no such database. Only `create_tables` makes one."""


class TableMissingError(DatabaseError):
    """There is no such table. Only `create_tables` makes one."""


class ForeignTableError(DatabaseError):
    """The table isn't the store's: another program's happens to have the same name."""


class FencedError(DatabaseError):
    """A value is under a section that the database refuses: the section is fenced off.

    Attributes:
        section: The section.
        table: The table.
    """

    section: str
    table: str

    def __init__(self, message: str, *, section: str, table: str, sqlstate: str = "") -> None:
        super().__init__(message, sqlstate=sqlstate)
        self.section = section
        self.table = table

    @classmethod
    def at(cls, section: str, table: str, *, sqlstate: str = "") -> FencedError:
        """Make the error for a section and a table."""
        msg = (
            f"the table {table!r} takes no value under the section {section!r}: it was fenced off "
            "when the section was retired. Whoever writes this has an old configuration, or saves "
            "what was loaded before the migration: read it again. `keyhinge fence show` lists the "
            "fences"
        )
        return cls(msg, section=section, table=table, sqlstate=sqlstate)


class FenceError(StoreError):
    """A fence can't be made: a value is in the way, or it would refuse other values, too."""


class MappingError(ConfigError, StoreError):
    """A mapping doesn't fit the table; `problems` has everything that was found.

    Attributes:
        table: The table.
    """

    def __init__(self, table: str, problems: Iterable[Problem]) -> None:
        super().__init__(problems, source=f"the table {table!r}")
        self.table = table


class MigrationError(StoreError):
    """A migration can't be started as it was asked for."""


class MigrationRunningError(MigrationError):
    """Another process is moving the same values, and there can be only one. Try again later."""

    retryable = True


class MigrationStoppedError(MigrationError):
    """A migration had to stop. Nothing is lost; running it again goes on where it stopped.

    Attributes:
        report: What was done until then, a `MigrationReport`.
        retryable: Whether the reason may go away by itself.
    """

    def __init__(self, message: str, *, report: Any, retryable: bool) -> None:
        super().__init__(message)
        self.report = report
        self.retryable = retryable
