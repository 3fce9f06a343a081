"""Writing a batch in PostgreSQL: one statement, under the full guard, never waiting for a lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from keyhinge_store._cells import Cell
from keyhinge_store._layout import Key, Layout
from keyhinge_store._migrate._convert import Change
from keyhinge_store._migrate._writer import Also, AlteredError
from keyhinge_store._table import now

__all__ = ["PostgresqlWriter"]

# For a lock on the table, as ALTER TABLE takes it, and for what the table's triggers lock; rows of
# the table itself are skipped, not waited for. It is much less than the second after which the
# server looks for deadlocks: if an application waits for us and we for it, we give way.
_LOCK_TIMEOUT = "300ms"
_STATEMENT_TIMEOUT = "20s"
# For a process that is frozen in mid-transaction: applications would wait for its locks.
_IDLE_TIMEOUT = "10s"
_LIMITS = sa.text(
    "SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :all, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
).bindparams(lock=_LOCK_TIMEOUT, all=_STATEMENT_TIMEOUT, idle=_IDLE_TIMEOUT)


class PostgresqlWriter:
    """Replaces values where nothing has changed since they were read.

    Args:
        engine: Where the table is.
        layout: The table.
    """

    threaded = True
    pause = 0.0

    def __init__(self, engine: sa.Engine, layout: Layout) -> None:
        self._engine = engine
        self._layout = layout
        self._arrays = [
            (f"{sign}{index}", _WRITERS.get(layout.cell(name).kind))
            for sign, names in (("r", layout.columns), ("n", layout.codec.columns))
            for index, name in enumerate(names)
        ]
        self._dated = layout.encrypted_at is not None
        self._statement = sa.text(_statement(engine.dialect, layout))
        if self._dated:
            moment = sa.bindparam("moment", type_=sa.DateTime(timezone=True))
            self._statement = self._statement.bindparams(moment)

    def write(self, changes: Sequence[Change], also: Also | None = None) -> set[Key]:
        """Write a batch in a transaction of its own.

        Args:
            changes: The batch.
            also: Writes more in the same transaction.

        Returns:
            The keys of the rows that were written. The others were changed, deleted or locked.

        Raises:
            AlteredError: A trigger changed a value on its way. Nothing was written.
            SQLAlchemyError: The database failed or refused.
        """
        connection = self._engine.connect().execution_options(isolation_level="READ COMMITTED")
        with connection, connection.begin():
            connection.execute(_LIMITS)
            keys = self.write_in(connection, changes)
            if also is not None:
                also(connection, keys)
        return keys

    def write_in(self, connection: sa.Connection, changes: Sequence[Change]) -> set[Key]:
        """Do what `write` does, in a transaction of the caller's."""
        read = zip(*(change.row for change in changes), strict=True)
        new = zip(*(change.cells for change in changes), strict=True)
        sent: dict[str, object] = {
            name: _array(part, write)
            for (name, write), part in zip(self._arrays, (*read, *new), strict=True)
        }
        if self._dated:
            sent["moment"] = now()
        written = connection.execute(self._statement, sent).all()
        if not all(row[-1] for row in written):
            raise AlteredError
        return {tuple(row[:-1]) for row in written}


def _bytes(item: bytes) -> str:
    return "\\x" + item.hex()


# How PostgreSQL reads what Python has, where that isn't text already.
_WRITERS: Mapping[str, Callable[[Any], str]] = {"integer": str, "uuid": str, "bytes": _bytes}


def _array(items: Iterable[Any], write: Callable[[Any], str] | None) -> str:
    """Write an array as PostgreSQL reads it: 5 times as fast as the driver does it.

    Source: PostgreSQL's manual, "Array Input and Output Syntax".
    """
    if write is not None:
        items = [None if item is None else write(item) for item in items]
    quoted = [
        "NULL" if item is None else '"' + item.replace("\\", r"\\").replace('"', r"\"") + '"'
        for item in items
    ]
    return "{" + ",".join(quoted) + "}"


def _statement(dialect: sa.Dialect, layout: Layout) -> str:
    prepare = dialect.identifier_preparer
    table = _in_text(prepare.format_table(layout.table))
    quoted = {name: _in_text(prepare.quote(name)) for name in layout.table.columns.keys()}  # noqa: SIM118 - no dict
    place = {name: f"r{index}" for index, name in enumerate(layout.columns)}
    new = {name: f"n{index}" for index, name in enumerate(layout.codec.columns)}

    sent = [(each, layout.cell(name)) for part in (place, new) for name, each in part.items()]
    arrays = ", ".join(f"CAST(:{each} AS {_sent_as(cell)}[])" for each, cell in sent)
    same_row = " AND ".join(
        f"t.{quoted[name]} = {_typed(layout.cell(name), place[name])}" for name in layout.key
    )
    guard = " AND ".join(_same(layout.cell(n), quoted[n], place[n]) for n in layout.columns)
    as_sent = " AND ".join(_same(layout.cell(n), quoted[n], new[n]) for n in new)
    changes = [f"{quoted[name]} = s.{source}" for name, source in new.items()]
    if layout.encrypted_at is not None:
        changes.append(f"{quoted[layout.encrypted_at]} = :moment")
    returned = ", ".join(_returned(layout.cell(name), quoted[name]) for name in layout.key)
    return (
        f"WITH sent ({', '.join(each for each, _ in sent)}) AS "  # noqa: S608 - every name is quoted
        f"(SELECT * FROM unnest({arrays})), "
        f"free AS (SELECT s.* FROM sent AS s JOIN {table} AS t ON {same_row} "
        f"WHERE {guard} FOR NO KEY UPDATE OF t SKIP LOCKED) "
        f"UPDATE {table} AS t SET {', '.join(changes)} FROM free AS s WHERE {same_row} "
        f"RETURNING {returned}, ({as_sent}) AS as_sent"
    )


def _sent_as(cell: Cell) -> str:
    # Text for whatever is read as text: an array of arrays would come apart.
    return "text" if cell.kind == "other" else _in_text(cell.sql_type)


def _typed(cell: Cell, sent: str) -> str:
    return f"CAST(s.{sent} AS {_in_text(cell.sql_type)})" if cell.kind == "other" else f"s.{sent}"


def _same(cell: Cell, column: str, sent: str) -> str:
    """Compare byte by byte, whatever the column's collation thinks is equal; NULL equals NULL."""
    if cell.kind in ("integer", "uuid", "bytes"):
        return f"t.{column} IS NOT DISTINCT FROM s.{sent}"
    if cell.sql_type == "text":
        return f't.{column} COLLATE "C" IS NOT DISTINCT FROM s.{sent}'
    ours, theirs = f"CAST(t.{column} AS text)", f"CAST(s.{sent} AS text)"
    return f'{ours} COLLATE "C" IS NOT DISTINCT FROM {theirs}'


def _returned(cell: Cell, column: str) -> str:
    return f"CAST(t.{column} AS text)" if cell.kind == "other" else f"t.{column}"


def _in_text(quoted: str) -> str:
    """Prepare a quoted name for `sa.text`, which doubles `%` itself and takes `:x` for a name."""
    return quoted.replace("%%", "%").replace(":", "\\:")
