"""Reading and writing the side table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from keyhinge import EncryptedValue
from keyhinge_store._errors import MigrationError
from keyhinge_store._keys import digest_of, encode_key
from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._runs._transact import moment_of
from keyhinge_store._staged._seal import Seal
from keyhinge_store._staged._staging import Staging
from keyhinge_store._staged._tables import STAGED, STAGING

__all__ = ["Shelf", "Staged", "StagingEndedError"]

_KEYS_PER_STATEMENT = 400


class StagingEndedError(MigrationError):
    """Somebody else has swapped or dropped what was being prepared."""


@attrs.frozen
class Staged:
    """A new value for a row.

    Attributes:
        source: The digest of the row that it was made from.
        cells: What is to stand in the codec's columns; None if the row may stay as it is.
        section: The value's section.
        key_id: Its key.
        version: Its version.
    """

    source: str
    cells: tuple[Any, ...] | None = attrs.field(repr=False)
    section: str = ""
    key_id: str = ""
    version: str = ""

    def value(self, layout: Layout) -> EncryptedValue:
        """Give the new value as it will be read from the table.

        Raises:
            InvalidCiphertextError: It doesn't parse.
        """
        read = layout.codec.read(self.cells or ())
        assert isinstance(read, EncryptedValue)  # noqa: S101 - none that is staged is another
        return EncryptedValue(self.section, read.key_id, read.version, read.ciphertext)


class Shelf:
    """The part of the side table that is one preparation's.

    Args:
        layout: The table that it is for.
        staging: The preparation.
        seal: Makes the digests.
    """

    def __init__(self, layout: Layout, staging: Staging, seal: Seal) -> None:
        self._layout = layout
        self._staging = staging
        self._seal = seal
        self.staging_id = staging.staging_id

    def hold(self, connection: sa.Connection, *, alone: bool = False) -> None:
        """See that the preparation is still under way, and stays so until the transaction ends.

        Raises:
            StagingEndedError: It is over.
        """
        own = sa.select(STAGING.c.staging_id).where(
            STAGING.c.subject == self._staging.subject,
            STAGING.c.staging_id == self._staging.staging_id,
        )
        if connection.execute(own.with_for_update(read=not alone)).first() is None:
            msg = (
                f"somebody has swapped or dropped what was being prepared for "
                f"{self._staging.subject}; look with `keyhinge runs` and `keyhinge status`"
            )
            raise StagingEndedError(msg)

    def of_row(self, row: Row) -> str:
        """Give the digest of a row."""
        return self._seal.of_row(row)

    def fitting(self, connection: sa.Connection, rows: Sequence[Row]) -> dict[Key, Staged]:
        """Give what is staged for rows that are still as they were then."""
        layout = self._layout
        by_digest = {digest_of(encode_key(layout, layout.key_of(row))): row for row in rows}
        digests = list(by_digest)
        found: dict[Key, Staged] = {}
        for start in range(0, len(digests), _KEYS_PER_STATEMENT):
            wanted = sa.select(STAGED).where(
                STAGED.c.subject == layout.name,
                STAGED.c.staging_id == self._staging.staging_id,
                STAGED.c.key_digest.in_(digests[start : start + _KEYS_PER_STATEMENT]),
            )
            for each in connection.execute(wanted):
                row = by_digest[each.key_digest]
                if each.source_digest == self._seal.of_row(row) and self._proves(each):
                    found[layout.key_of(row)] = Staged(
                        each.source_digest, _unpack(each.cells), *_labels(each)
                    )
        return found

    def put(self, connection: sa.Connection, staged: Mapping[Key, Staged]) -> None:
        """Put new values on the shelf, in place of what was there for the same rows."""
        if not staged:
            return
        moment = moment_of(connection)
        rows = sorted((self._row(*pair) for pair in staged.items()), key=lambda r: r["key_digest"])
        on_sqlite = connection.dialect.name == "sqlite"
        insert: Any = (sqlite.insert if on_sqlite else postgresql.insert)(STAGED)
        keys = ["subject", "key_digest"]
        names = [column.name for column in STAGED.columns if column.name not in keys]
        changes = {name: insert.excluded[name] for name in names}
        connection.execute(
            insert.on_conflict_do_update(index_elements=keys, set_=changes),
            [{**row, "staged_at": moment} for row in rows],
        )

    def _row(self, key: Key, staged: Staged) -> dict[str, Any]:
        text = encode_key(self._layout, key)
        row = {
            "subject": self._layout.name,
            "key_digest": digest_of(text),
            "key": text,
            "staging_id": self._staging.staging_id,
            "source_digest": staged.source,
            "cells": _pack(staged.cells),
            "section": staged.section,
            "key_id": staged.key_id,
            "version": staged.version,
        }
        return {**row, "proof": self._seal.of_staged(list(row.values()))}

    def _proves(self, each: sa.Row[Any]) -> bool:
        parts = [getattr(each, name) for name in _PROVEN]
        return bool(each.proof == self._seal.of_staged(parts))


_PROVEN = (
    "subject",
    "key_digest",
    "key",
    "staging_id",
    "source_digest",
    "cells",
    "section",
    "key_id",
    "version",
)


def _labels(each: sa.Row[Any]) -> tuple[str, str, str]:
    return each.section, each.key_id, each.version


def _pack(cells: tuple[Any, ...] | None) -> str | None:
    if cells is None:
        return None
    return json.dumps([{"hex": c.hex()} if isinstance(c, bytes) else c for c in cells])


def _unpack(text: str | None) -> tuple[Any, ...] | None:
    if text is None:
        return None
    return tuple(bytes.fromhex(c["hex"]) if isinstance(c, dict) else c for c in json.loads(text))
