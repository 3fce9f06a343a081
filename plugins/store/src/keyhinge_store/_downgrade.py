"""Looking whether a value that isn't encrypted would replace one that is, in a mapped column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from keyhinge import (
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    SectionNotConfiguredError,
)
from keyhinge_store._book import unencrypting
from keyhinge_store._errors import DowngradeError
from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._reader import reread

__all__ = ["refuse_downgrade"]

Found = dict[Key, Row]


def refuse_downgrade(
    run: Callable[[Callable[[sa.Connection], Found]], Found],
    keys: KeyManager,
    layout: Layout,
    row: Mapping[str, Any],
    section: str,
) -> None:
    """Look whether a row holds an encrypted value now.

    Args:
        run: Does some work in a transaction.
        keys: The configured sections.
        layout: The table.
        row: The row's columns, by name.
        section: The section that doesn't encrypt.

    Raises:
        DowngradeError: It does, or the row can't be looked up.
        DatabaseError: The database failed.
    """
    missing = [name for name in layout.key if name not in row]
    key = tuple(row.get(name) for name in layout.key)
    if missing:
        why = (
            "whether the row holds an encrypted value can't be told without its key: add "
            f"{', '.join(missing)} to `row`"
        )
    elif None in key:
        return  # a new row, whose key the database makes
    else:
        found = run(lambda connection: reread(connection, layout, [key]))
        if all(_is_plain(keys, layout, stored) for stored in found.values()):
            return
        why = f"the row holds an encrypted value ({layout.name})"
    msg = (
        f"{why}. The primary section {section!r} doesn't encrypt: pass allow_downgrade=True if "
        "that is what you want"
    )
    raise DowngradeError(msg)


def _is_plain(keys: KeyManager, layout: Layout, stored: Row) -> bool:
    if layout.text_of(stored) is None:
        return True
    try:
        read = layout.codec.read(layout.cells_of(stored))
        if not isinstance(read, EncryptedValue):
            return True  # a column that is being adopted
        names = (read.section, *layout.codec.others(read))
        return {keys.section_of(name) for name in names} <= unencrypting(keys)
    except (InvalidCiphertextError, SectionNotConfiguredError):
        return False  # nobody can tell, so it counts as encrypted
