"""What a run goes through: the table by its key, or the rows that failed in an earlier run."""

from __future__ import annotations

import json

import attrs
import sqlalchemy as sa

from keyhinge_store._keys import decode_key, encode_key
from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._reader import Reader, reread
from keyhinge_store._runs._failures import failed_keys
from keyhinge_store._runs._ranges import Places

__all__ = ["FailedRows", "Page", "Pages", "TableRows"]


@attrs.frozen
class Page:
    """Rows that have to be moved, and how far that was.

    Attributes:
        rows: The rows.
        position: The place behind which to go on.
        is_last: Whether nothing comes behind it.
    """

    rows: list[Row]
    position: Key | None
    is_last: bool


class Pages(Places):
    """Places at which there are pages of rows."""

    def page(self, after: Key | None, last: Key | None) -> Page:
        """Read the next page behind a place, up to another one."""
        raise NotImplementedError


class TableRows(Pages):
    """The rows of a table that have to be moved, in the order of their keys.

    Args:
        reader: Reads them.
        layout: The table.
    """

    def __init__(self, reader: Reader, layout: Layout) -> None:
        self._reader = reader
        self._layout = layout

    def page(self, after: Key | None, last: Key | None) -> Page:
        """Read the next page behind a key, up to another one."""
        rows = self._reader.page(after, last)
        if not rows:
            return Page([], after, is_last=True)
        position = self._layout.key_of(rows[-1])
        return Page(rows, position, is_last=position == last)

    def ahead(self, after: Key | None, count: int) -> Key | None:
        """Find the key so many ahead; None if the table ends first."""
        return self._reader.ahead(after, count)

    def encode(self, key: Key) -> str:
        """Write a key as JSON."""
        return encode_key(self._layout, key)

    def decode(self, text: str) -> Key:
        """Read what `encode` wrote."""
        return decode_key(self._layout, text)


class FailedRows(Pages):
    """The rows that failed in an earlier run, in the order in which they did.

    Args:
        engine: Where the tables are.
        layout: The table.
        run_id: The earlier run.
        condition: Holds for a row that still has to be moved.
        rows: At most so many in a page.
    """

    def __init__(
        self,
        engine: sa.Engine,
        layout: Layout,
        run_id: int,
        condition: sa.ColumnElement[bool],
        *,
        rows: int,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._run_id = run_id
        self._conditions = [*layout.present, condition]
        self._rows = rows

    def page(self, after: Key | None, last: Key | None) -> Page:
        """Read the next page of them; what has been moved meanwhile isn't in it."""
        place = 0 if after is None else int(after[0])
        with self._engine.connect() as connection:
            failed = failed_keys(connection, self._run_id, place, self._rows)
            keys = [decode_key(self._layout, key) for _, key in failed]
            found = reread(connection, self._layout, keys, self._conditions)
        position = (failed[-1][0],) if failed else after
        return Page(list(found.values()), position, is_last=len(failed) < self._rows)

    def ahead(self, after: Key | None, count: int) -> Key | None:
        """Give them all to one process."""
        return None

    def encode(self, key: Key) -> str:
        """Write a place as JSON."""
        return json.dumps(key)

    def decode(self, text: str) -> Key:
        """Read what `encode` wrote."""
        return tuple(json.loads(text))
