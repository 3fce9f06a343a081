"""Secrets in a database, encrypted through Keyhinge, and live migration between key services."""

from keyhinge_store._async_store import AsyncSecretStore
from keyhinge_store._book import NewSecret, SecretInfo, SecretKey
from keyhinge_store._errors import (
    DatabaseError,
    DatabaseMissingError,
    DatabaseUnavailableError,
    DowngradeError,
    DuplicateSecretError,
    ForeignTableError,
    MigrationError,
    MigrationStoppedError,
    NotTextError,
    SecretNotFoundError,
    StoreError,
    TableMissingError,
)
from keyhinge_store._settings import StoreSettings
from keyhinge_store._store import SecretStore
from keyhinge_store._table import UtcDateTime, secrets_table

__all__ = [
    "AsyncSecretStore",
    "DatabaseError",
    "DatabaseMissingError",
    "DatabaseUnavailableError",
    "DowngradeError",
    "DuplicateSecretError",
    "ForeignTableError",
    "MigrationError",
    "MigrationStoppedError",
    "NewSecret",
    "NotTextError",
    "SecretInfo",
    "SecretKey",
    "SecretNotFoundError",
    "SecretStore",
    "StoreError",
    "StoreSettings",
    "TableMissingError",
    "UtcDateTime",
    "secrets_table",
]
