"""Moving all values at once, for applications that can't read a table that is half moved."""

from keyhinge_store._staged._engine import abandon_staged, migrate_staged
from keyhinge_store._staged._report import StagedReport

__all__ = ["StagedReport", "abandon_staged", "migrate_staged"]
