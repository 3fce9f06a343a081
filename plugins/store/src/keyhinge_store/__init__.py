"""Secrets in a database, encrypted through Keyhinge, and live migration between key services."""

from keyhinge_store._about import SectionInfo
from keyhinge_store._async_store import AsyncSecretStore
from keyhinge_store._audit import AuditReport, Inventory, LabelChange, RunEvidence, report
from keyhinge_store._book import NewSecret, SecretInfo, SecretKey
from keyhinge_store._errors import (
    DatabaseError,
    DatabaseMissingError,
    DatabaseUnavailableError,
    DowngradeError,
    DuplicateSecretError,
    ForeignTableError,
    MappingError,
    MigrationError,
    MigrationRunningError,
    MigrationStoppedError,
    NotTextError,
    SecretNotFoundError,
    StoreError,
    TableMissingError,
)
from keyhinge_store._inventory import (
    LabelStatus,
    MonthCount,
    StatusReport,
    TableStatus,
    ages,
    status,
)
from keyhinge_store._mapped import MappedColumn, Tables
from keyhinge_store._mapping import TableMapping
from keyhinge_store._migrate import (
    KeyCalls,
    MigrationReport,
    Progress,
    RowFailure,
    migrate,
    rewrap,
)
from keyhinge_store._opening import (
    DATABASE_VARIABLE,
    database_url,
    open_store,
    open_stored,
    open_tables,
    store_settings,
)
from keyhinge_store._runs import (
    Participant,
    RunInfo,
    RunProcess,
    abandon,
    create_state_tables,
    run,
    runs,
)
from keyhinge_store._samples import Sample, SampleReport, samples
from keyhinge_store._settings import StoreSettings
from keyhinge_store._store import SecretStore
from keyhinge_store._stored import Stored
from keyhinge_store._table import UtcDateTime, secrets_table
from keyhinge_store._verification import VerifyReport, verify

__all__ = [
    "DATABASE_VARIABLE",
    "AsyncSecretStore",
    "AuditReport",
    "DatabaseError",
    "DatabaseMissingError",
    "DatabaseUnavailableError",
    "DowngradeError",
    "DuplicateSecretError",
    "ForeignTableError",
    "Inventory",
    "KeyCalls",
    "LabelChange",
    "LabelStatus",
    "MappedColumn",
    "MappingError",
    "MigrationError",
    "MigrationReport",
    "MigrationRunningError",
    "MigrationStoppedError",
    "MonthCount",
    "NewSecret",
    "NotTextError",
    "Participant",
    "Progress",
    "RowFailure",
    "RunEvidence",
    "RunInfo",
    "RunProcess",
    "Sample",
    "SampleReport",
    "SecretInfo",
    "SecretKey",
    "SecretNotFoundError",
    "SecretStore",
    "SectionInfo",
    "StatusReport",
    "StoreError",
    "StoreSettings",
    "Stored",
    "TableMapping",
    "TableMissingError",
    "TableStatus",
    "Tables",
    "UtcDateTime",
    "VerifyReport",
    "abandon",
    "ages",
    "create_state_tables",
    "database_url",
    "migrate",
    "open_store",
    "open_stored",
    "open_tables",
    "report",
    "rewrap",
    "run",
    "runs",
    "samples",
    "secrets_table",
    "status",
    "store_settings",
    "verify",
]
