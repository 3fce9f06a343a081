"""Reading a table page by page, bounded in rows and in bytes, with no transaction left open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from keyhinge_store._any_text import sent
from keyhinge_store._layout import Key, Layout, Row

__all__ = ["Reader", "reread"]

_KEYS_PER_STATEMENT = 400


class Reader:
    """Gives the rows for which a condition holds, in the order of their keys.

    Pages go by the key, so that each costs the same, and rows that come and go meanwhile don't
    shift the others. Nothing is held between two pages.

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
        self._statement = self._build(condition, rows, after=False)
        self._next = self._build(condition, rows, after=True)

    def page(self, after: Key | None) -> list[Row]:
        """Read the page that begins behind a key, or the first one.

        Raises:
            SQLAlchemyError: The database failed.
        """
        given = {f"after_{index}": sent(part) for index, part in enumerate(after or ())}
        statement = self._statement if after is None else self._next
        with self._engine.connect() as connection:
            rows = connection.execute(statement, {**given, "size": self._size}).all()
        return [tuple(row[:-1]) for row in rows]

    def pages(self) -> Iterator[list[Row]]:
        """Read the whole table, page by page."""
        after = None
        while rows := self.page(after):
            yield rows
            after = self._layout.key_of(rows[-1])

    def _mark(self, name: str, kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
        mark = sa.bindparam(name, type_=kind)
        is_text = isinstance(kind, sa.Text) and self._engine.dialect.name == "sqlite"
        return sa.cast(mark, kind) if is_text else mark

    def _build(
        self, condition: sa.ColumnElement[bool] | None, rows: int, *, after: bool
    ) -> sa.Select[tuple[object, ...]]:
        table, layout = self._layout.table, self._layout
        key = [table.c[name] for name in layout.key]
        page = sa.select(*(table.c[name] for name in layout.columns)).order_by(*key).limit(rows)
        if condition is not None:
            page = page.where(condition)
        if after:
            marks = [self._mark(f"after_{index}", c.type) for index, c in enumerate(key)]
            page = page.where(sa.tuple_(*key) > sa.tuple_(*marks))
        inner = page.subquery("page")
        # The sum of the sizes before each row: the page ends where it would grow too large.
        length = sa.func.length if self._engine.dialect.name == "sqlite" else sa.func.octet_length
        size = sa.func.coalesce(length(inner.c[layout.value]), 0)
        order = [inner.c[name] for name in layout.key]
        before = (sa.func.sum(size).over(order_by=order, rows=(None, 0)) - size).label("before")
        sized = sa.select(*inner.c, before).subquery("sized")
        return (
            sa.select(*sized.c)
            .where(sized.c.before < sa.bindparam("size", type_=sa.BigInteger))
            .order_by(*(sized.c[name] for name in layout.key))
        )


def reread(connection: sa.Connection, layout: Layout, keys: list[Key]) -> dict[Key, Row]:
    """Read rows again by their keys; those that are gone are missing."""
    table = layout.table
    found: dict[Key, Row] = {}
    wanted = sa.select(*(table.c[name] for name in layout.columns))
    key = sa.tuple_(*(table.c[name] for name in layout.key))
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        chunk = keys[start : start + _KEYS_PER_STATEMENT]
        for row in connection.execute(wanted.where(key.in_(chunk))):
            found[layout.key_of(row)] = tuple(row)
    return found
