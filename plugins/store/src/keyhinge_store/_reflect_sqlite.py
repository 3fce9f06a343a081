"""Looking at a table in SQLite, by its pragmas."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from keyhinge_store._cells import Cell, Kind
from keyhinge_store._reflected import Found

__all__ = ["look"]

_GENERATED = (2, 3)  # virtual, stored


def look(connection: sa.Connection, table: str, schema: str | None) -> Found | None:
    """Look at a table; None if there is none of this name.

    Source: https://sqlite.org/pragma.html, https://sqlite.org/datatype3.html
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    where = "" if schema is None else f"{quote(schema)}."

    def pragma(name: str, of: str) -> list[Any]:
        return list(connection.exec_driver_sql(f"PRAGMA {where}{name}({quote(of)})").mappings())

    made = connection.exec_driver_sql(
        f"SELECT type, sql FROM {where}sqlite_master "  # noqa: S608 - quoted above
        "WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')",
        (table,),
    ).first()
    if made is None:
        return None
    kind, sql = made
    columns = [each for each in pragma("table_xinfo", table) if each["hidden"] != 1]
    key = [each for each in columns if each["pk"]]
    key.sort(key=lambda each: int(each["pk"]))
    # This one is another name of the row's number, and never NULL.
    is_rowid = len(key) == 1 and str(key[0]["type"]).upper() == "INTEGER"
    unique = [tuple(str(each["name"]) for each in key)] if key else []
    for index in pragma("index_list", table):
        if index["unique"] and not index["partial"]:
            parts = [each["name"] for each in pragma("index_xinfo", index["name"]) if each["key"]]
            if all(parts) and tuple(parts) not in unique:
                unique.append(tuple(parts))
    rowid = {each["name"] for each in key} if is_rowid else set()
    return Found(
        cells={
            each["name"]: Cell(
                name=each["name"],
                kind=_kind(str(each["type"])),
                sql_type="",
                nullable=not each["notnull"] and each["name"] not in rowid,
            )
            for each in columns
        },
        types={each["name"]: each["type"] or "of no type" for each in columns},
        generated=frozenset(each["name"] for each in columns if each["hidden"] in _GENERATED),
        moments={each["name"]: True for each in columns},
        unique=tuple(unique),
        lax_nulls=frozenset(each["name"] for each in key),
        unfit=_unfit(kind, str(sql)),
    )


def _unfit(kind: str, sql: str) -> str:
    if kind == "view":
        return "it is a view; map the table behind it"
    if sql.upper().split()[:2] == ["CREATE", "VIRTUAL"]:
        return "it is a virtual table"
    return ""


def _kind(declared: str) -> Kind:
    """Tell what a column is made for; SQLite lets it hold anything."""
    name = declared.upper()
    if "INT" in name:
        return "integer"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if "UUID" in name:
        return "uuid"
    if "BLOB" in name:
        return "bytes"
    return "other"
