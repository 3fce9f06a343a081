"""Where values are: the store's own table, one column of an existing table, or all of these."""

from __future__ import annotations

from keyhinge_store._mapped import MappedColumn, Tables
from keyhinge_store._store import SecretStore

__all__ = ["Column", "Stored", "columns_of"]

Column = SecretStore | MappedColumn
"""One encrypted column. It has an `engine`, `keys`, a `layout`, and `run(work)`."""
Stored = SecretStore | MappedColumn | Tables
"""What `migrate`, `rewrap`, `status`, `verify` and `samples` work on."""


def columns_of(stored: Stored) -> tuple[Column, ...]:
    """Give the encrypted columns, each on its own."""
    return stored.columns if isinstance(stored, Tables) else (stored,)
