"""What was written into rows that don't say themselves under which section their value is.

An entry is made in the same transaction as the value, and believed only as long as its digest is
that of what stands in the row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from keyhinge_store._cells import in_json
from keyhinge_store._keys import digest_of, encode_key
from keyhinge_store._layout import Key, Layout
from keyhinge_store._runs._tables import LEDGER
from keyhinge_store._runs._transact import moment_of

__all__ = ["Entry", "digest_of_cells", "enter", "look_up", "strike_out"]

_KEYS_PER_STATEMENT = 400


@attrs.frozen
class Entry:
    """What was written into a row.

    Attributes:
        digest: Of what stands in the codec's columns then; see `digest_of_cells`.
        section: The value's section.
        key_id: Its key.
        version: Its version.
    """

    digest: str
    section: str
    key_id: str
    version: str


def digest_of_cells(cells: Sequence[Any]) -> str:
    """Give the digest of an encrypted value as it stands in its columns. Never of a plaintext."""
    return hashlib.sha256(json.dumps([in_json(cell) for cell in cells]).encode()).hexdigest()


def enter(connection: sa.Connection, layout: Layout, entries: Mapping[Key, Entry]) -> None:
    """Enter what is written in the same transaction, in place of what was known before."""
    if not entries:
        return
    moment = moment_of(connection)
    rows = []
    for key, entry in entries.items():
        text = encode_key(layout, key)
        name = {"subject": layout.name, "key_digest": digest_of(text), "key": text}
        rows.append({**name, **attrs.asdict(entry), "written_at": moment})
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    made = insert(LEDGER)
    names = ("digest", "section", "key_id", "version", "written_at")
    connection.execute(
        made.on_conflict_do_update(
            index_elements=["subject", "key_digest"],
            set_={name: made.excluded[name] for name in names},
        ),
        rows,
    )


def strike_out(connection: sa.Connection, layout: Layout, keys: Iterable[Key]) -> None:
    """Take out the entries of rows that now hold a plaintext."""
    digests = [digest_of(encode_key(layout, key)) for key in keys]
    for start in range(0, len(digests), _KEYS_PER_STATEMENT):
        chunk = digests[start : start + _KEYS_PER_STATEMENT]
        connection.execute(
            LEDGER.delete().where(LEDGER.c.subject == layout.name, LEDGER.c.key_digest.in_(chunk))
        )


def look_up(connection: sa.Connection, layout: Layout, keys: Sequence[Key]) -> dict[Key, Entry]:
    """Read what is known of rows. Whether it still holds, the digest tells."""
    names = {digest_of(encode_key(layout, key)): key for key in keys}
    digests = list(names)
    found: dict[Key, Entry] = {}
    for start in range(0, len(digests), _KEYS_PER_STATEMENT):
        chunk = digests[start : start + _KEYS_PER_STATEMENT]
        wanted = sa.select(LEDGER).where(
            LEDGER.c.subject == layout.name, LEDGER.c.key_digest.in_(chunk)
        )
        for row in connection.execute(wanted):
            entry = Entry(row.digest, row.section, row.key_id, row.version)
            found[names[row.key_digest]] = entry
    return found
