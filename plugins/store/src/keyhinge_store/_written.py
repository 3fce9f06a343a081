"""SQL with its values written out, for triggers and for people: neither takes parameters."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteDialect

__all__ = ["literal", "quoted", "quoted_table", "run_written", "written"]


def literal(value: Any, dialect: str) -> str:
    """Write a value as SQL, so that it is the same under any setting of the server.

    Args:
        value: Text, bytes or a whole number.
        dialect: The database system.
    """
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        return f"decode('{value.hex()}', 'hex')" if dialect == "postgresql" else f"X'{value.hex()}'"
    if not isinstance(value, str):
        msg = f"{type(value).__name__} can't be written into a statement"
        raise TypeError(msg)
    text = value.replace("'", "''")
    if dialect == "postgresql" and "\\" in text:
        return "E'" + text.replace("\\", "\\\\") + "'"
    return f"'{text}'"


class _PostgreSQLCompiler(PGCompiler):
    def render_literal_value(self, value: Any, type_: sa.types.TypeEngine[Any]) -> str:
        """Write a value."""
        return literal(value, "postgresql")


class _SQLiteCompiler(SQLiteCompiler):
    def render_literal_value(self, value: Any, type_: sa.types.TypeEngine[Any]) -> str:
        """Write a value."""
        return literal(value, "sqlite")


class _PostgreSQL(PGDialect):
    statement_compiler = _PostgreSQLCompiler
    supports_statement_cache = False


class _SQLite(SQLiteDialect):
    statement_compiler = _SQLiteCompiler
    supports_statement_cache = False


# A percent sign stands for itself only where no driver's marks are written.
_DIALECTS: dict[str, sa.Dialect] = {
    "postgresql": _PostgreSQL(paramstyle="named"),  # type: ignore[no-untyped-call]
    "sqlite": _SQLite(paramstyle="named"),
}


def written(part: sa.ColumnElement[Any] | sa.Select[Any], dialect: str) -> str:
    """Write an expression or a query with its values."""
    compiled = part.compile(dialect=_DIALECTS[dialect], compile_kwargs={"literal_binds": True})
    return str(compiled)


def quoted(name: str, dialect: str) -> str:
    """Quote a name."""
    return _DIALECTS[dialect].identifier_preparer.quote_identifier(name)


def quoted_table(table: sa.Table, dialect: str) -> str:
    """Quote a table's name and its schema, if there is one."""
    parts = [part for part in (table.schema, table.name) if part is not None]
    return ".".join(quoted(part, dialect) for part in parts)


def run_written(connection: sa.Connection, statement: str) -> None:
    """Run a statement as it is written, percent signs and all."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
