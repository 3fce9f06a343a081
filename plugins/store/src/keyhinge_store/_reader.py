"""Reading a table page by page, bounded in rows and in bytes, with no transaction left open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from keyhinge_store._any_text import sent
from keyhinge_store._layout import Key, Layout, Row

__all__ = ["Reader", "reread"]

_KEYS_PER_STATEMENT = 400

# Which parts of a key are text; None where there is no key.
_Kinds = tuple[bool, ...] | None


class Reader:
    """Gives the rows for which a condition holds, in the order of their keys.

    Pages go by the key, so that each costs the same, and rows that come and go meanwhile don't
    shift the others. Nothing is held between two pages. Rows without a value, and those that the
    layout's `where` leaves out, are never read.

    Args:
        engine: Where the table is.
        layout: The table.
        condition: Which rows; None for all.
        rows: At most so many in a page.
        size: At most about so many bytes of values in a page. One value that is larger makes a
            page of its own.
    """

    def __init__(
        self,
        engine: sa.Engine,
        layout: Layout,
        condition: sa.ColumnElement[bool] | None,
        *,
        rows: int,
        size: int,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._size = size
        self._conditions = layout.present + ([] if condition is None else [condition])
        self._rows = rows
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._statements: dict[tuple[_Kinds, _Kinds], sa.Select[Any]] = {}

    def page(
        self, after: Key | None, last: Key | None = None, *, connection: sa.Connection | None = None
    ) -> list[Row]:
        """Read the page that begins behind a key, or the first one.

        Args:
            after: The key; None for the beginning of the table.
            last: The last key to read; None for the end of the table.
            connection: Where to read, as in a transaction; a connection of its own if None.

        Raises:
            SQLAlchemyError: The database failed.
        """
        if connection is None:
            with self._engine.connect() as opened:
                return self.page(after, last, connection=opened)
        statement = self._statement(after, last)
        given = {**_given("after", after), **_given("last", last)}
        rows = connection.execute(statement, {**given, "size": self._size}).all()
        return [tuple(row[:-1]) for row in rows]

    def pages(self) -> Iterator[list[Row]]:
        """Read the whole table, page by page."""
        after = None
        while rows := self.page(after):
            yield rows
            after = self._layout.key_of(rows[-1])

    def between(
        self, after: Key | None, last: Key | None
    ) -> tuple[list[sa.ColumnElement[bool]], dict[str, Any]]:
        """Give the conditions for a part of the table, and what to send with them.

        Args:
            after: The key behind which it begins; None for the beginning of the table.
            last: Its last key; None for the end of the table.
        """
        key, found = sa.tuple_(*self._key()), []
        if after is not None:
            found.append(key > self._marks("after", _kinds(after)))
        if last is not None:
            found.append(key <= self._marks("last", _kinds(last)))
        return found, {**_given("after", after), **_given("last", last)}

    def ahead(
        self, after: Key | None, count: int, *, connection: sa.Connection | None = None
    ) -> Key | None:
        """Find the key that is so many keys behind another one, whatever its row holds.

        Args:
            after: The other one; None for the beginning of the table.
            count: How many; the database walks over them in the key's index.
            connection: Where to read; a connection of its own if None.

        Returns:
            The key; None if the table ends before it.

        Raises:
            SQLAlchemyError: The database failed.
        """
        if connection is None:
            with self._engine.connect() as opened:
                return self.ahead(after, count, connection=opened)
        columns = [self._layout.selected(name) for name in self._layout.key]
        wanted = sa.select(*(column.label(f"k{i}") for i, column in enumerate(columns)))
        wanted = wanted.order_by(*self._key()).limit(1).offset(count - 1)
        if after is not None:
            wanted = wanted.where(sa.tuple_(*self._key()) > self._marks("after", _kinds(after)))
        row = connection.execute(wanted, _given("after", after)).one_or_none()
        return None if row is None else tuple(row)

    def _statement(self, after: Key | None, last: Key | None) -> sa.Select[Any]:
        # In SQLite any column holds anything; only text may have to be sent as its bytes.
        kinds = _kinds(after), _kinds(last)
        statement = self._statements.get(kinds)
        if statement is None:
            statement = self._statements[kinds] = self._build(*kinds)
        return statement

    def _key(self) -> list[sa.ColumnElement[Any]]:
        return [self._layout.table.c[name] for name in self._layout.key]

    def _marks(self, name: str, kinds: _Kinds) -> Any:
        marks = [
            self._mark(f"{name}_{index}", column.type, is_text)
            for index, (column, is_text) in enumerate(zip(self._key(), kinds or (), strict=True))
        ]
        return sa.tuple_(*marks)

    def _mark(self, name: str, kind: sa.types.TypeEngine[Any], is_text: bool) -> Any:
        if not self._is_sqlite:
            return sa.bindparam(name, type_=kind)
        mark = sa.bindparam(name, type_=sa.types.NULLTYPE)
        return sa.cast(mark, sa.Text) if is_text else mark

    def _build(self, after: _Kinds, last: _Kinds) -> sa.Select[Any]:
        layout, key = self._layout, self._key()
        # Names of our own: the table's columns may have any.
        read = [layout.selected(name).label(f"c{i}") for i, name in enumerate(layout.columns)]
        order = [column.label(f"k{index}") for index, column in enumerate(key)]
        page = sa.select(*read, *order).order_by(*key).limit(self._rows).where(*self._conditions)
        if after is not None:
            page = page.where(sa.tuple_(*key) > self._marks("after", after))
        if last is not None:
            page = page.where(sa.tuple_(*key) <= self._marks("last", last))
        inner = page.subquery("page")
        keys = [inner.c[f"k{index}"] for index in range(len(key))]
        # The sum of the sizes before each row: the page ends where it would grow too large.
        length = sa.func.length if self._is_sqlite else sa.func.octet_length
        value = inner.c[f"c{layout.columns.index(layout.value)}"]
        size = sa.func.coalesce(length(value), 0)
        before = (sa.func.sum(size).over(order_by=keys, rows=(None, 0)) - size).label("before")
        sized = sa.select(*inner.c, before).subquery("sized")
        return (
            sa.select(*(sized.c[f"c{index}"] for index in range(len(read))), sized.c.before)
            .where(sized.c.before < sa.bindparam("size", type_=sa.BigInteger))
            .order_by(*(sized.c[f"k{index}"] for index in range(len(key))))
        )


def _kinds(key: Key | None) -> _Kinds:
    return None if key is None else tuple(isinstance(part, str) for part in key)


def _given(name: str, key: Key | None) -> dict[str, Any]:
    return {f"{name}_{index}": sent(part) for index, part in enumerate(key or ())}


def reread(
    connection: sa.Connection,
    layout: Layout,
    keys: list[Key],
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> dict[Key, Row]:
    """Read rows again by their keys; those that are gone, or don't meet conditions, are missing."""
    table = layout.table
    found: dict[Key, Row] = {}
    wanted = sa.select(*(layout.selected(name) for name in layout.columns))
    columns = [table.c[name] for name in layout.key]
    key = columns[0] if len(columns) == 1 else sa.tuple_(*columns)
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        chunk: list[Any] = list(keys[start : start + _KEYS_PER_STATEMENT])
        if len(columns) == 1:
            chunk = [part for (part,) in chunk]
        for row in connection.execute(wanted.where(key.in_(chunk), *conditions)):
            found[layout.key_of(row)] = tuple(row)
    return found
