"""Every statement that the store runs. Each function takes an open connection and never a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from keyhinge_store._book import SecretInfo, SecretKey
from keyhinge_store._errors import DatabaseError, DowngradeError, DuplicateSecretError
from keyhinge_store._layout import Layout, Row
from keyhinge_store._table import now

__all__ = [
    "delete_row",
    "list_rows",
    "read_account",
    "read_row",
    "read_rows",
    "rebind_rows",
    "write_rows",
]

_KEYS_PER_STATEMENT = 400
_REPLACED = ("kind", "section", "key_id", "version", "secret", "encrypted_at", "updated_at")

Plain = Callable[[str], bool]
"""Tells whether values with this section label aren't encrypted."""


def read_row(connection: sa.Connection, layout: Layout, key: SecretKey) -> Row | None:
    """Read one row, as `Layout.columns` has it; None if it isn't there."""
    return connection.execute(_selected(layout).where(_is_key(layout, key))).first()


def read_rows(
    connection: sa.Connection, layout: Layout, keys: Sequence[SecretKey]
) -> dict[SecretKey, Row]:
    """Read many rows, with one statement for some hundred of them, in the order of `keys`."""
    table = layout.table
    found: dict[SecretKey, Row] = {}
    columns = sa.tuple_(table.c.account_id, table.c.secret_id)
    for chunk in _chunks(keys, _KEYS_PER_STATEMENT):
        for row in connection.execute(_selected(layout).where(columns.in_(list(chunk)))):
            found[SecretKey(*layout.key_of(row))] = row
    return {key: found[key] for key in keys if key in found}


def read_account(connection: sa.Connection, layout: Layout, account_id: str) -> Sequence[Row]:
    """Read all rows of an account."""
    wanted = _selected(layout).where(layout.table.c.account_id == account_id)
    return connection.execute(wanted.order_by(layout.table.c.secret_id)).all()


def list_rows(
    connection: sa.Connection,
    layout: Layout,
    *,
    account_id: str | None,
    kind: str | None,
    after: SecretKey | None,
    limit: int | None,
) -> list[SecretInfo]:
    """Read what is known about secrets, in the order of their keys, without the values."""
    table = layout.table
    wanted = sa.select(*(table.c[field.name] for field in attrs.fields(SecretInfo)))
    if account_id is not None:
        wanted = wanted.where(table.c.account_id == account_id)
    if kind is not None:
        wanted = wanted.where(table.c.kind == kind)
    key = sa.tuple_(table.c.account_id, table.c.secret_id)
    if after is not None:
        wanted = wanted.where(key > sa.tuple_(*after))
    wanted = wanted.order_by(table.c.account_id, table.c.secret_id).limit(limit)
    return [SecretInfo(**row) for row in connection.execute(wanted).mappings()]


def write_rows(
    connection: sa.Connection,
    layout: Layout,
    rows: Sequence[dict[str, Any]],
    *,
    plain: Plain | None,
) -> None:
    """Insert rows, or replace those that are there; `created_at` stays.

    Args:
        connection: In a transaction, which the caller rolls back if this raises.
        layout: The table.
        rows: What `sealed_rows` made, all with the same section.
        plain: Given if encrypted values must not be replaced by these: tells which labels are
            those of values that aren't encrypted.

    Raises:
        DowngradeError: An encrypted value would have been replaced by an unencrypted one.
    """
    if not rows:
        return
    table = layout.table
    section = rows[0]["section"]
    written = set()
    # Rows that are returned were written; the database holds their locks from then on.
    for key in connection.execute(_upsert(connection, layout, section, plain), list(rows)):
        written.add(tuple(key))
    held_back = [row for row in rows if (row["account_id"], row["secret_id"]) not in written]
    if held_back and plain is None:
        msg = "the database took no row, and said nothing; is there a trigger on the table?"
        raise DatabaseError(msg)
    for row in held_back:
        where = _is_key(layout, SecretKey(row["account_id"], row["secret_id"]))
        stored = connection.execute(
            sa.select(table.c.section, table.c.secret).where(where).with_for_update(key_share=True)
        ).one()
        if not _is_plain(stored, plain):
            raise _downgrade(row["secret_id"], section)
        changes = {name: row[name] for name in _REPLACED}
        connection.execute(sa.update(table).where(where).values(changes))


def _downgrade(secret_id: str, section: str) -> DowngradeError:
    msg = (
        f"the secret {secret_id!r} is stored encrypted, and the primary section {section!r} "
        "doesn't encrypt. Pass allow_downgrade=True if that is what you want"
    )
    return DowngradeError(msg)


def _is_plain(stored: Row, plain: Plain | None) -> bool:
    section, text = stored
    return (
        plain is not None
        and isinstance(text, str)
        and text.startswith(f"kh1:{section}:")
        and plain(section)
    )


def _upsert(
    connection: sa.Connection, layout: Layout, section: str, plain: Plain | None
) -> sa.sql.dml.ReturningInsert[Any]:
    table = layout.table
    on_sqlite = connection.dialect.name == "sqlite"
    insert = sqlite.insert(table) if on_sqlite else postgresql.insert(table)
    changes = {name: insert.excluded[name] for name in _REPLACED}
    # Without encryption only a value of the same section is replaced at once; others are looked
    # at first, and the condition holds even against a writer that comes in between.
    guard = None
    if plain is not None:
        prefix = f"kh1:{section}:"
        guard = sa.and_(
            table.c.section == section,
            sa.func.substr(table.c.secret, 1, len(prefix)) == prefix,
        )
    return insert.on_conflict_do_update(
        index_elements=[table.c.account_id, table.c.secret_id], set_=changes, where=guard
    ).returning(table.c.account_id, table.c.secret_id)


def delete_row(connection: sa.Connection, layout: Layout, key: SecretKey) -> bool:
    """Delete one row; tell whether it was there."""
    result = connection.execute(sa.delete(layout.table).where(_is_key(layout, key)))
    return result.rowcount > 0


def rebind_rows(
    connection: sa.Connection,
    layout: Layout,
    pairs: Sequence[tuple[Row, dict[str, Any]]],
    *,
    plain: Plain | None,
) -> bool:
    """Move rows to another account, if nobody changed them and no row is left behind.

    Args:
        connection: In a transaction, which the caller rolls back if this isn't True.
        layout: The table.
        pairs: Each row as it was read, all of one account, and what to set.
        plain: As for `write_rows`.

    Raises:
        DowngradeError: As for `write_rows`.
        DuplicateSecretError: The other account has a secret with the same id.
    """
    table = layout.table
    if not pairs:
        return True
    for row, new in pairs:
        if plain is not None and not _is_plain(
            (layout.labels_of(row)[0], layout.text_of(row)), plain
        ):
            raise _downgrade(layout.key_of(row)[1], new["section"])
    old_account = layout.key_of(pairs[0][0])[0]
    # SQLite knows no FOR UPDATE: a write that changes nothing takes its lock before the read.
    connection.execute(sa.update(table).where(sa.false()).values(kind=table.c.kind))
    locked = {
        layout.key_of(row): tuple(row)
        for row in connection.execute(
            _selected(layout).where(table.c.account_id == old_account).with_for_update()
        )
    }
    if locked != {layout.key_of(row): tuple(row) for row, _ in pairs}:
        return False
    new_keys = [SecretKey(new["account_id"], layout.key_of(row)[1]) for row, new in pairs]
    taken = read_rows(connection, layout, new_keys)
    if taken:
        msg = f"the account already has a secret {next(iter(taken)).secret_id!r}; nothing was moved"
        raise DuplicateSecretError(msg)
    names = tuple(pairs[0][1])
    update = (
        sa.update(table)
        .where(
            table.c.account_id == sa.bindparam("old_account"),
            table.c.secret_id == sa.bindparam("old_secret"),
        )
        .values({name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names})
    )
    sent = []
    for row, new in pairs:
        account, secret = layout.key_of(row)
        values = {f"new_{name}": value for name, value in new.items()}
        sent.append({"old_account": account, "old_secret": secret, **values})
    connection.execute(update, sent)
    return True


def rebound(account_id: str, section: str, key_id: str, version: str, text: str) -> dict[str, Any]:
    """Give what `rebind_rows` sets on one row."""
    moment = now()
    return {
        "account_id": account_id,
        "section": section,
        "key_id": key_id,
        "version": version,
        "secret": text,
        "encrypted_at": moment,
        "updated_at": moment,
    }


def _selected(layout: Layout) -> sa.Select[Any]:
    return sa.select(*(layout.table.c[name] for name in layout.columns))


def _is_key(layout: Layout, key: SecretKey) -> sa.ColumnElement[bool]:
    table = layout.table
    return sa.and_(table.c.account_id == key.account_id, table.c.secret_id == key.secret_id)


def _chunks(keys: Iterable[SecretKey], size: int) -> Iterator[list[SecretKey]]:
    listed = list(keys)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
