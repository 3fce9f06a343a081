"""Telling by the ledger under which section a value is, where its row doesn't name one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from keyhinge import Decrypt, EncryptedValue, InvalidCiphertextError, SectionNotConfiguredError
from keyhinge_store._codec import Labels
from keyhinge_store._errors_sql import sqlstate_of
from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._reader import Reader
from keyhinge_store._runs._ledger import Entry, digest_of_cells, look_up
from keyhinge_store._runs._tables import LEDGER, has_state_table

__all__ = ["Resolver", "count_known"]

_NO_PRIVILEGE = "42501"
_PAGE_ROWS = 1000
_PAGE_BYTES = 8 * 1024 * 1024


class Resolver:
    """Looks rows up in the ledger, if they may be of several sections.

    An entry is believed if it is about exactly what stands in the row, and names a configured
    section that may have made it. For all others the shape decides, and a trial.

    Args:
        layout: The table, for the configuration; see `Layout.for_keys`.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._has_ledger: bool | None = None

    def known(
        self, connection: sa.Connection | sa.Engine, parsed: Sequence[tuple[Row, Decrypt]]
    ) -> dict[Key, EncryptedValue]:
        """Give the values whose section the ledger knows, with that section.

        Args:
            connection: Where the ledger is. An engine is asked only if there is a need to.
            parsed: Rows, and what `Layout.read` made of them.

        Raises:
            SQLAlchemyError: The database failed.
        """
        layout = self._layout
        # A plaintext, which has no key, is never entered.
        unclear = {
            layout.key_of(row): (row, item.value)
            for row, item in parsed
            if item.value.key_id and layout.codec.others(item.value)
        }
        if not unclear or self._has_ledger is False:
            return {}
        found: dict[Key, EncryptedValue] = {}
        for key, entry in self._look_up(connection, list(unclear)).items():
            row, value = unclear[key]
            section = self._believed(row, value, entry)
            if section:
                found[key] = EncryptedValue(section, value.key_id, value.version, value.ciphertext)
        return found

    def _look_up(self, connection: sa.Connection | sa.Engine, keys: list[Key]) -> dict[Key, Entry]:
        if isinstance(connection, sa.Engine):
            with connection.connect() as opened:
                return self._look_up(opened, keys)
        if self._has_ledger is None:
            self._has_ledger = has_state_table(connection, LEDGER)
        if not self._has_ledger:
            return {}
        try:
            with connection.begin_nested():
                return look_up(connection, self._layout, keys)
        except sa.exc.ProgrammingError as error:
            if sqlstate_of(error) != _NO_PRIVILEGE:
                raise
        # Somebody who only reads may not have been granted the ledger.
        self._has_ledger = False
        return {}

    def _believed(self, row: Row, value: EncryptedValue, entry: Entry) -> str:
        """Give the section that an entry names; "" if it isn't to be believed."""
        if entry.digest != digest_of_cells(self._layout.cells_of(row)):
            return ""
        if (entry.key_id, entry.version) != (value.key_id, value.version):
            return ""
        possible = (value.section, *self._layout.codec.others(value))
        return entry.section if entry.section in possible else ""


def count_known(
    connection: sa.Connection, layout: Layout, sections: Sequence[str]
) -> Counter[Labels]:
    """Count the values whose section the ledger knows, by section, key id and version.

    Goes through the rows page by page: no database can make our digests. The connection's
    transaction is ended after each page.

    Args:
        connection: Where the table is.
        layout: The table, for the configuration.
        sections: Only values that may be of these.

    Raises:
        SQLAlchemyError: The database failed.
    """
    resolver = Resolver(layout)
    counted: Counter[Labels] = Counter()
    condition = layout.codec.under(layout.table, sections)
    reader = Reader(connection.engine, layout, condition, rows=_PAGE_ROWS, size=_PAGE_BYTES)
    after = None
    while rows := reader.page(after, connection=connection):
        after = layout.key_of(rows[-1])
        parsed = []
        for row in rows:
            try:
                item = layout.read(row)
            except (InvalidCiphertextError, SectionNotConfiguredError):
                continue
            if isinstance(item, Decrypt):
                parsed.append((row, item))
        for value in resolver.known(connection, parsed).values():
            counted[value.section, value.key_id, value.version] += 1
        connection.commit()
    return counted
