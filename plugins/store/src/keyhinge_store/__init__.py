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
    FencedError,
    FenceError,
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
from keyhinge_store._retire import (
    Fence,
    Retirement,
    TableRetirement,
    add_fence,
    can_retire,
    fence_statements,
    fences,
    remove_fence,
)
from keyhinge_store._runs._evidence import Participant
from keyhinge_store._runs._info import RunInfo, RunProcess, abandon, run, runs
from keyhinge_store._runs._tables import create_state_tables
from keyhinge_store._samples import Sample, SampleReport, samples
from keyhinge_store._settings import StoreSettings
from keyhinge_store._staged import StagedReport, abandon_staged, migrate_staged
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
    "Fence",
    "FenceError",
    "FencedError",
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
    "Retirement",
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
    "StagedReport",
    "StatusReport",
    "StoreError",
    "StoreSettings",
    "Stored",
    "TableMapping",
    "TableMissingError",
    "TableRetirement",
    "TableStatus",
    "Tables",
    "UtcDateTime",
    "VerifyReport",
    "abandon",
    "abandon_staged",
    "add_fence",
    "ages",
    "can_retire",
    "create_state_tables",
    "database_url",
    "fence_statements",
    "fences",
    "migrate",
    "migrate_staged",
    "open_store",
    "open_stored",
    "open_tables",
    "remove_fence",
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
