"""Writing a batch in SQLite: one short write transaction, under the full guard."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import sqlalchemy as sa

from keyhinge_store._layout import Key, Layout
from keyhinge_store._migrate._convert import Change
from keyhinge_store._migrate._writer import Also, AlteredError, holds
from keyhinge_store._reader import reread
from keyhinge_store._table import now

__all__ = ["SqliteWriter"]

_BUSY_MILLISECONDS = 5000
_PAUSE = 0.01


class SqliteWriter:
    """Replaces values where nothing has changed since they were read.

    SQLite has one writer at a time, so the transaction takes its lock at once and is over in
    milliseconds; between two batches the application gets its turn. The journal mode stays.

    Args:
        engine: Where the table is.
        layout: The table.
    """

    threaded = False  # in the rollback journal's modes readers and the writer wait for each other
    pause = _PAUSE

    def __init__(self, engine: sa.Engine, layout: Layout) -> None:
        self._engine = engine
        self._layout = layout
        self._statement = _statement(engine.dialect, layout)

    def write(self, changes: Sequence[Change], also: Also | None = None) -> set[Key]:
        """Write a batch in a transaction of its own.

        Args:
            changes: The batch.
            also: Writes more in the same transaction.

        Returns:
            The keys of the rows that were written. The others were changed or deleted.

        Raises:
            AlteredError: A trigger changed a value on its way. Nothing was written.
            SQLAlchemyError: The database failed or refused.
        """
        # AUTOCOMMIT leaves the transaction to us: the driver's own BEGIN would take no lock yet.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            self._be_patient(connection)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                written = self.write_in(connection, changes)
                if also is not None:
                    also(connection, written)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise
        return written

    def write_in(self, connection: sa.Connection, changes: Sequence[Change]) -> set[Key]:
        """Do what `write` does, in a transaction of the caller's."""
        moment = now().strftime("%Y-%m-%d %H:%M:%S.%f")
        stamp = () if self._layout.encrypted_at is None else (moment,)
        sent = [
            (*change.cells, *stamp, *self._layout.key_of(change.row), *change.row)
            for change in changes
        ]
        touched = connection.exec_driver_sql(self._statement, sent).rowcount
        return self._written(connection, changes, touched)

    def _written(
        self, connection: sa.Connection, changes: Sequence[Change], touched: int
    ) -> set[Key]:
        """Tell which rows were written; nobody else can write before the commit."""
        keys = [self._layout.key_of(change.row) for change in changes]
        if touched == len(changes) and not self._has_triggers(connection):
            return set(keys)
        rows = reread(connection, self._layout, keys)
        written = {
            key
            for key, change in zip(keys, changes, strict=True)
            if key in rows and holds(self._layout, rows[key], change)
        }
        if len(written) < touched:
            raise AlteredError
        return written

    def _has_triggers(self, connection: sa.Connection) -> bool:
        schema = self._layout.table.schema
        source = f"{connection.dialect.identifier_preparer.quote(schema)}." if schema else ""
        return bool(
            connection.exec_driver_sql(
                f"SELECT count(*) FROM {source}sqlite_master "  # noqa: S608 - quoted above
                "WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
                (self._layout.table.name,),
            ).scalar_one()
        )

    def _be_patient(self, connection: sa.Connection) -> None:
        current = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
        if current < _BUSY_MILLISECONDS:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")


def _roll_back(connection: sa.Connection) -> None:
    # SQLite has rolled back by itself after some errors; then there is nothing to roll back.
    with contextlib.suppress(sa.exc.SQLAlchemyError):
        connection.exec_driver_sql("ROLLBACK")


def _statement(dialect: sa.Dialect, layout: Layout) -> str:
    prepare = dialect.identifier_preparer
    changes = [f"{prepare.quote(name)} = ?" for name in layout.codec.columns]
    if layout.encrypted_at is not None:
        changes.append(f"{prepare.quote(layout.encrypted_at)} = ?")
    same_row = [f"{prepare.quote(name)} = ?" for name in layout.key]
    # Byte by byte, whatever the column's collation thinks is equal; and NULL equals NULL.
    guard = [f"{prepare.quote(name)} COLLATE BINARY IS ?" for name in layout.columns]
    return (
        f"UPDATE {prepare.format_table(layout.table)} "  # noqa: S608 - every name is quoted
        f"SET {', '.join(changes)} WHERE {' AND '.join((*same_row, *guard))}"
    )
