"""Encrypted columns of tables that exist already, for applications and for migration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from keyhinge import (
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    KeyManager,
    Problem,
)
from keyhinge_store._book import as_bytes
from keyhinge_store._cells import render_context
from keyhinge_store._codec import PLAIN
from keyhinge_store._database import make_engine, parse_url, require_file
from keyhinge_store._downgrade import refuse_downgrade
from keyhinge_store._encodings import TextCodec
from keyhinge_store._errors import (
    DatabaseError,
    DuplicateSecretError,
    MappingError,
    StoreError,
)
from keyhinge_store._errors_sql import guarded
from keyhinge_store._frames import frameless
from keyhinge_store._home import KeepsState
from keyhinge_store._layout import Layout
from keyhinge_store._lock import hold_writers
from keyhinge_store._mapping import TableMapping
from keyhinge_store._pins import Pin, Pins, write_adopted, write_pin
from keyhinge_store._reflect import reflect
from keyhinge_store._table import now
from keyhinge_store._trial import open_items

__all__ = ["MappedColumn", "Tables"]

T = TypeVar("T")


class MappedColumn(KeepsState):
    """One encrypted column of a table that exists already.

    It encrypts and decrypts what stands in the column; reading and writing the table is up to the
    application. `migrate`, `rewrap`, `status` and `verify` take it in place of a store. The table
    is looked at when it is first needed, and what was found is kept. Safe to use from many threads.

    Args:
        database: SQLAlchemy's URL, or an engine of yours.
        keys: Encrypts and decrypts. It is never closed here.
        mapping: The table, and what its columns mean.
        state_schema: The schema of Keyhinge's own tables, in PostgreSQL; None for the one in which
            the table is.

    Raises:
        ConfigError: The URL can't be read, or its driver isn't installed.
    """

    engine: sa.Engine
    keys: KeyManager
    mapping: TableMapping

    @frameless
    def __init__(
        self,
        database: str | sa.URL | sa.Engine,
        keys: KeyManager,
        mapping: TableMapping,
        *,
        state_schema: str | None = None,
    ) -> None:
        self.keys = keys
        self.state_schema = state_schema
        self._first = mapping
        self.mapping = mapping
        self._own_url: sa.URL | None = None
        if isinstance(database, sa.Engine):
            self.engine = database
        else:
            self._own_url = parse_url(database)
            self.engine = make_engine(self._own_url)
        self._layout: Layout | None = None
        self._pin: Pin | None = None

    @property
    def layout(self) -> Layout:
        """What was found out about the table.

        Raises:
            TableMissingError: There is no such table.
            MappingError: The mapping doesn't fit it; it has every problem.
            DatabaseError: The database failed.
        """
        if self._layout is None:
            self.run(lambda _: None)
        assert self._layout is not None  # noqa: S101 - `run` sets it
        return self._layout

    @property
    def name(self) -> str:
        """The labels of table and column."""
        return self.layout.name

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do some work in a transaction, for what builds on this.

        Args:
            work: Is given the connection. The table was looked at before.

        Raises:
            DatabaseError: The database failed; SQLAlchemy's own error is not shown.
        """
        require_file(self._own_url or self.engine.url)

        def in_transaction() -> T:
            with self.engine.begin() as connection:
                self._settle(connection)
                if self._layout is None:
                    self._look(connection)
                return work(connection)

        return guarded(in_transaction)

    def pin(self) -> None:
        """Remember the labels that values are bound to, in the table `keyhinge_mapping`.

        From then on, renaming table or column orphans nothing. `encrypt` does it by itself.

        Raises:
            DatabaseError: The database refused; the user may have to be allowed to make the table.
        """
        pin = self._known_pin()
        if pin.is_pinned:
            return
        try:
            self.run(lambda connection: write_pin(connection, pin))
        except (DatabaseError, DuplicateSecretError) as error:
            failure = error
        else:
            self.refresh()
            return
        # Another process may have been first.
        self.refresh()
        if not self._known_pin().is_pinned:
            raise failure

    def refresh(self) -> None:
        """Look at the table again when it is next needed."""
        self._layout = self._pin = None
        self._unsettle()

    @frameless
    def encrypt(
        self, plaintext: str | bytes, row: Mapping[str, Any], *, allow_downgrade: bool = False
    ) -> dict[str, Any]:
        """Encrypt a value for a row.

        Where the primary section doesn't encrypt, the row is looked up, lest an encrypted value be
        replaced by one that isn't.

        Args:
            plaintext: The secret; str is encrypted as UTF-8.
            row: The row's columns, by name, as they will stand in the table. Those that the
                mapping's `context` names are needed: text, integers and UUIDs. Those of the key
                are, where the primary section doesn't encrypt; None if the database makes them.
            allow_downgrade: Let an unencrypted value replace an encrypted one.

        Returns:
            What to write, by column: those of the encoding, and the moment of encryption (a
            `datetime` in UTC) for the one that the mapping's `encrypted_at` names.

        Raises:
            DowngradeError: See `allow_downgrade`.
            InvalidContextError: A column of the context is missing or can't be in one.
            InvalidPlaintextError: It can't be stored in this column.
            OperationError: It can't be encrypted.
            DatabaseError: The labels can't be remembered.
        """
        self.pin()
        layout = self.layout
        raw = as_bytes(plaintext)
        layout.codec.refuse(raw)
        value = self.keys.encrypt(raw, context=self._context(row))
        if not allow_downgrade and not self.keys.capabilities(value.section).encrypts:
            refuse_downgrade(self.run, self.keys, layout, row, value.section)
        cells = dict(zip(layout.codec.columns, layout.write(value), strict=True))
        if layout.encrypted_at is not None:
            cells[layout.encrypted_at] = now()
        return cells

    @frameless
    def decrypt(self, row: Mapping[str, Any]) -> bytes | None:
        """Decrypt the value of a row.

        Args:
            row: The row's columns, by name; those of the encoding and of the context are needed.

        Returns:
            The secret; None where the column is NULL.

        Raises:
            InvalidContextError: A column is missing.
            OperationError: It can't be decrypted; the subclass says why.
        """
        layout = self.layout
        if _of(row, layout.value) is None:
            return None
        read = layout.codec.read([_of(row, name) for name in layout.codec.columns])
        if not isinstance(read, EncryptedValue):
            return read.plaintext
        item = Decrypt(read, self._context(row))
        [(_, outcome)] = open_items(layout.codec, [item], self.keys.decrypt_many)
        return outcome.value

    @frameless
    def finish_adoption(self) -> None:
        """End the reading of plaintexts, for every process, once none is left in the table.

        Processes that run notice it when they look at the table again: restart them, or call
        `refresh`.

        Raises:
            StoreError: The column isn't being adopted, or there are plaintexts left.
            DatabaseError: The database failed.
        """
        layout, pin = self.layout, self._known_pin()
        if self.mapping.adopt is None:
            msg = "the mapping doesn't adopt a column of plaintexts"
            raise StoreError(msg)

        def finish(connection: sa.Connection) -> bool:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
            hold_writers(connection, [layout.table])
            value = layout.table.c[layout.value]
            plain = layout.codec.under(layout.table, [PLAIN])
            if isinstance(layout.codec, TextCodec):
                # Bytes, which SQLite keeps there, can't be read, and may well be a plaintext.
                plain = sa.or_(plain, layout.codec.no_text(layout.table))
            plain = sa.and_(value.is_not(None), plain)
            left = connection.execute(sa.select(sa.literal(1)).where(plain).limit(1)).first()
            if left is None and not pin.is_adopted:
                write_adopted(connection, pin)
            return left is None

        if not self.run(finish):
            msg = (
                f"there are still plaintexts in {layout.name}, or values that aren't text; migrate "
                "them first. Rows that the mapping's `where` leaves out count, too"
            )
            raise StoreError(msg)
        self.refresh()

    def __repr__(self) -> str:
        return f"<MappedColumn {self.mapping.full_name!r}.{self.mapping.value!r}>"

    def _beside(self) -> tuple[str | None, str]:
        return self._first.schema, self._first.table

    def _look(self, connection: sa.Connection) -> None:
        self._layout, self._pin = reflect(connection, self.mapping, pins=Pins(connection))
        self._layout = self._layout.for_keys(self.keys)

    def _known_pin(self) -> Pin:
        if self._pin is None:
            self.run(lambda _: None)
        assert self._pin is not None  # noqa: S101 - `run` sets it
        return self._pin

    def _context(self, row: Mapping[str, Any]) -> Any:
        layout = self.layout
        parts = [_of(row, column) for column in layout.bound_columns]
        for key, part in zip(layout.bound, parts, strict=True):
            if not _fits(key, part):
                msg = f"the column of the context {key!r} is neither text, integer nor UUID"
                raise InvalidContextError(msg)
        return layout.context(parts)


class Tables(KeepsState):
    """All mapped columns of a configuration, in one database.

    Args:
        database: SQLAlchemy's URL, or an engine of yours.
        keys: Encrypts and decrypts. It is never closed here.
        mappings: The tables.
        state_schema: The schema of Keyhinge's own tables, in PostgreSQL; None for the one in which
            the first table is.
    """

    def __init__(
        self,
        database: str | sa.URL | sa.Engine,
        keys: KeyManager,
        mappings: Iterable[TableMapping],
        *,
        state_schema: str | None = None,
    ) -> None:
        self.state_schema = state_schema
        self._own_url = None if isinstance(database, sa.Engine) else parse_url(database)
        engine = database if isinstance(database, sa.Engine) else make_engine(parse_url(database))
        self.engine = engine
        self.keys = keys
        self.columns = tuple(
            MappedColumn(engine, keys, mapping, state_schema=state_schema) for mapping in mappings
        )
        for column in self.columns:
            column._first = self.columns[0].mapping  # noqa: SLF001 - one place for all
        _refuse_twice(self.columns, engine.dialect.name)

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """What was found out about each; see `MappedColumn.layout`."""
        return tuple(column.layout for column in self.columns)

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do some work in a transaction; see `MappedColumn.run`. Every table was looked at before.

        Args:
            work: Is given the connection.
        """
        for column in self.columns[1:]:
            _ = column.layout
        return self.columns[0].run(work)

    def pin(self) -> None:
        """Remember the labels of all columns; see `MappedColumn.pin`."""
        for column in self.columns:
            column.pin()

    def column(self, table: str, column: str | None = None) -> MappedColumn:
        """Find a mapped column.

        Args:
            table: The table's name, or its label.
            column: The column with the ciphertext, where the table has several.

        Raises:
            KeyError: There is none, or more than one.
        """
        found = [
            each
            for each in self.columns
            if table in (each.mapping.table, each.mapping.full_name, each.mapping.label)
            and column in (None, each.mapping.value, each.mapping.column_label)
        ]
        if len(found) != 1:
            raise KeyError(table if column is None else (table, column))
        return found[0]

    def _beside(self) -> tuple[str | None, str]:
        return self.columns[0].mapping.schema, self.columns[0].mapping.table

    def __iter__(self) -> Iterator[MappedColumn]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return f"<Tables, {len(self.columns)} columns in {self.engine.dialect.name}>"


def _refuse_twice(columns: Iterable[MappedColumn], dialect: str) -> None:
    """Refuse a column that is mapped twice: its values would be counted, and bound, twice.

    Raises:
        MappingError: Two mappings are, or may be, about the same column.
    """
    seen = set()
    for column in columns:
        mapping = column.mapping
        place = (mapping.schema, mapping.table, mapping.value)
        if dialect == "sqlite":  # its names go by their letters, whatever their case
            place = (None, mapping.table.lower(), mapping.value.lower())
        elif mapping.schema is None:
            place = ("public", mapping.table, mapping.value)
        if place in seen:
            msg = "another mapping is about the same column; if it isn't, name the schema in both"
            raise MappingError(mapping.full_name, [Problem("table", msg)])
        seen.add(place)


def _of(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        msg = f"the row has no column {column!r}, which the mapping needs"
        raise InvalidContextError(msg)
    return row[column]


def _fits(key: str, part: Any) -> bool:
    try:
        render_context(key, part)
    except InvalidCiphertextError:
        return False
    return True
