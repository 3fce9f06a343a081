"""What is remembered about mapped columns: the labels that values are bound to, and adoptions.

A table's default label is its name, and a name may change. So the label that was used first is
kept in a small table of ours, and found again by what PostgreSQL knows the table by, as long as it
is the same database of the same server. SQLite has nothing of that kind: there, and after a restore
elsewhere, a table that is gone while its pin is left asks for `label`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import Problem
from keyhinge_store._errors import MappingError
from keyhinge_store._mapping import TableMapping
from keyhinge_store._reflected import Found
from keyhinge_store._runs._tables import METADATA, has_state_table
from keyhinge_store._table import UtcDateTime, now

__all__ = ["PIN", "Pin", "Pins", "write_adopted", "write_pin"]

PIN = sa.Table(
    "keyhinge_mapping",
    METADATA,
    sa.Column("label", sa.Text(), primary_key=True),
    sa.Column("column_label", sa.Text(), primary_key=True),
    sa.Column("schema_name", sa.Text(), nullable=False),
    sa.Column("table_name", sa.Text(), nullable=False),
    sa.Column("column_name", sa.Text(), nullable=False),
    # What PostgreSQL knows them by, whatever they are called.
    sa.Column("table_id", sa.BigInteger()),
    sa.Column("column_id", sa.Integer()),
    # Where it knows them by that: a restored database counts anew, and may give one table's number
    # to another.
    sa.Column("cluster", sa.Text()),
    sa.Column("pinned_at", UtcDateTime(), nullable=False),
    sa.Column("adopted_at", UtcDateTime()),
)


_CLUSTER = sa.text(
    "SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() AS s, pg_database AS d "
    "WHERE d.datname = current_database()"
)


@attrs.frozen
class Pin:
    """The names that a column's values are bound to.

    Attributes:
        label: The table's.
        column_label: The column's.
        is_pinned: Whether they are in the database.
        is_adopted: Whether the column's adoption is finished.
        place: What to remember beside them.
    """

    label: str
    column_label: str
    is_pinned: bool
    is_adopted: bool
    place: dict[str, Any] = attrs.field(factory=dict)


class Pins:
    """The pins of a database, as they stood when they were read.

    Args:
        connection: Where to read. Nothing is made there.
    """

    def __init__(self, connection: sa.Connection) -> None:
        inspector = sa.inspect(connection)
        self._tables = {(None, name) for name in inspector.get_table_names()}
        self._rows: list[Any] = []
        self._cluster = _cluster(connection)
        if has_state_table(connection, PIN):
            self._rows = list(connection.execute(sa.select(PIN)))

    def of(self, mapping: TableMapping, found: Found) -> Pin:
        """Find a mapping's pin, or make what would be it.

        Raises:
            MappingError: Its values are bound to other names than the mapping says.
        """
        place = {
            "schema_name": mapping.schema or "",
            "table_name": mapping.table,
            "column_name": mapping.value,
            "table_id": found.table_id,
            "column_id": found.column_ids.get(mapping.value),
            "cluster": self._cluster,
        }
        row = self._find(mapping, place)
        if row is None:
            self._refuse_renamed(mapping)
            label = mapping.label or mapping.full_name
            column_label = mapping.column_label or mapping.value
            return Pin(label, column_label, False, False, place)
        for key, given, pinned in (
            ("label", mapping.label, row.label),
            ("columnLabel", mapping.column_label, row.column_label),
        ):
            if given is not None and given != pinned:
                msg = (
                    f"values in this column are bound to {pinned!r} since they were first written, "
                    "so they wouldn't open under another name"
                )
                raise MappingError(mapping.full_name, [Problem(key, msg)])
        return Pin(row.label, row.column_label, True, row.adopted_at is not None, place)

    def _find(self, mapping: TableMapping, place: dict[str, Any]) -> Any:
        ids = ("cluster", "table_id", "column_id")
        if all(place[name] is not None for name in ids):
            for row in self._rows:
                if all(getattr(row, name) == place[name] for name in ids):
                    return row
        names = ("schema_name", "table_name", "column_name")
        for row in self._rows:
            if all(getattr(row, name) == place[name] for name in names):
                return row
        if mapping.label is not None:
            given = (mapping.label, mapping.column_label or mapping.value)
            return next((r for r in self._rows if (r.label, r.column_label) == given), None)
        return None

    def _refuse_renamed(self, mapping: TableMapping) -> None:
        """Ask for a label where the table may be one that had another name."""
        if mapping.label is not None:
            return
        gone = [
            row
            for row in self._rows
            if (row.schema_name or None) == mapping.schema
            and row.table_name != mapping.table
            and (None, row.table_name) not in self._tables
        ]
        if gone and mapping.schema is None:
            msg = (
                f"the table {gone[0].table_name!r}, which values were written to, is gone. If this "
                f"is it, say 'label: {gone[0].label}', or they won't open; if it isn't, say "
                f"'label: {mapping.full_name}'"
            )
            raise MappingError(mapping.full_name, [Problem("label", msg)])


def _cluster(connection: sa.Connection) -> str | None:
    """Name the server and database that numbers of tables are from; None if it can't be told."""
    if connection.dialect.name != "postgresql":
        return None
    allowed = sa.func.has_function_privilege("pg_control_system()", "EXECUTE")
    if not connection.execute(sa.select(allowed)).scalar_one():
        return None
    return str(connection.execute(_CLUSTER).scalar_one())


def write_pin(connection: sa.Connection, pin: Pin) -> None:
    """Remember names, in a transaction. Does nothing where they are remembered.

    Raises:
        SQLAlchemyError: The database refused, or another process was first.
    """
    PIN.create(connection, checkfirst=True)
    same = sa.and_(PIN.c.label == pin.label, PIN.c.column_label == pin.column_label)
    if connection.execute(sa.select(PIN.c.label).where(same)).first() is None:
        names = {"label": pin.label, "column_label": pin.column_label}
        connection.execute(sa.insert(PIN).values(**names, **pin.place, pinned_at=now()))


def write_adopted(connection: sa.Connection, pin: Pin) -> datetime:
    """Note that a column's adoption is finished, in a transaction."""
    write_pin(connection, pin)
    moment = now()
    same = sa.and_(PIN.c.label == pin.label, PIN.c.column_label == pin.column_label)
    connection.execute(sa.update(PIN).where(same).values(adopted_at=moment))
    return moment
