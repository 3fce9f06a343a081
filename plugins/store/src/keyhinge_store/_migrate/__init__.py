"""Moving stored values to another section or key version, while applications go on."""

from keyhinge_store._migrate._engine import migrate, rewrap
from keyhinge_store._migrate._report import KeyCalls, MigrationReport, Progress, RowFailure

__all__ = ["KeyCalls", "MigrationReport", "Progress", "RowFailure", "migrate", "rewrap"]
