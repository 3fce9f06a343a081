"""What the sync and the async store have in common: everything but waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard, TypeVar

import sqlalchemy as sa

from keyhinge import (
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    Outcome,
    SectionNotConfiguredError,
)
from keyhinge_store._book import (
    NewSecret,
    Prepared,
    SecretInfo,
    SecretKey,
    check_ids,
    not_found,
    prepare,
    sealed_rows,
    unencrypting,
)
from keyhinge_store._database import require_file, sqlite_file
from keyhinge_store._layout import Layout, Row, make_layout
from keyhinge_store._statements import Plain, list_rows, rebound, write_rows
from keyhinge_store._table import DEFAULT_TABLE, check_table

__all__ = ["MAX_REBINDS", "REBIND_BUSY", "StoreBase", "keys_of"]

MAX_REBINDS = 5
REBIND_BUSY = (
    "the account's secrets changed each time while they were being encrypted anew; "
    "nothing was moved, try again"
)

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


class StoreBase:
    """A table, the keys for it, and whether the table was looked at yet."""

    def __init__(
        self,
        keys: KeyManager,
        *,
        table: str = DEFAULT_TABLE,
        schema: str | None = None,
        label: str | None = None,
    ) -> None:
        self.keys = keys
        self.layout: Layout = make_layout(table, schema, label)
        self._checked = False

    def _checking(self, url: sa.URL | None, work: Work[T]) -> Work[T]:
        """Look at the table before its first use, on the connection that will use it."""

        def checked(connection: sa.Connection) -> T:
            if not self._checked:
                check_table(connection, self.layout.table)
                self._checked = True
            return work(connection)

        if url is not None and not self._checked:
            require_file(url)
        return checked

    @staticmethod
    def _lacks_file(url: sa.URL | None) -> TypeGuard[sa.URL]:
        """Tell whether a URL of ours needs another engine to make its SQLite file."""
        return url is not None and sqlite_file(url) is not None

    def _create(self, connection: sa.Connection) -> None:
        """Make the table if there is none; look at it if there is one."""
        table = self.layout.table
        if not sa.inspect(connection).has_table(table.name, table.schema):
            table.create(connection, checkfirst=True)
        check_table(connection, table)

    def _prepare(self, secrets: Iterable[NewSecret]) -> list[Prepared]:
        return prepare(self.layout, secrets)

    def _writing(
        self,
        prepared: Sequence[Prepared],
        values: Sequence[EncryptedValue],
        *,
        allow_downgrade: bool,
    ) -> Work[None]:
        rows = sealed_rows(prepared, values)
        plain = self._plain(values, allow_downgrade=allow_downgrade)
        return lambda connection: write_rows(connection, self.layout, rows, plain=plain)

    def _plain(self, values: Sequence[EncryptedValue], *, allow_downgrade: bool) -> Plain | None:
        if allow_downgrade or all(self._encrypts(value.section) for value in values):
            return None
        names = unencrypting(self.keys)

        def plain(label: str) -> bool:
            try:
                return self.keys.section_of(label) in names
            except SectionNotConfiguredError:
                return False  # nobody can tell, so it counts as encrypted

        return plain

    def _encrypts(self, section: str) -> bool:
        return self.keys.capabilities(section).encrypts

    def _found(self, key: SecretKey, row: Row | None) -> Decrypt:
        if row is None:
            raise not_found(key)
        return self.layout.item_of(row)

    def _items(
        self, rows: dict[SecretKey, Row]
    ) -> tuple[dict[SecretKey, Decrypt], dict[SecretKey, InvalidCiphertextError]]:
        """Turn rows into items to decrypt, and those that can't be into errors."""
        items: dict[SecretKey, Decrypt] = {}
        errors: dict[SecretKey, InvalidCiphertextError] = {}
        for key, row in rows.items():
            try:
                items[key] = self.layout.item_of(row)
            except InvalidCiphertextError as error:
                errors[key] = error.with_traceback(None)
        return items, errors

    def _listing(
        self, account_id: str | None, kind: str | None, after: SecretKey | None, limit: int | None
    ) -> Work[list[SecretInfo]]:
        given = {"account_id": account_id, "kind": kind}
        check_ids(**{name: value for name, value in given.items() if value is not None})
        if after is not None:
            check_ids(account_id=after[0], secret_id=after[1])
        return lambda connection: list_rows(
            connection, self.layout, account_id=account_id, kind=kind, after=after, limit=limit
        )

    def _outcomes(
        self,
        rows: dict[SecretKey, Row],
        items: dict[SecretKey, Decrypt],
        errors: dict[SecretKey, InvalidCiphertextError],
        opened: Sequence[Outcome[bytes]],
    ) -> dict[tuple[str, str], Outcome[bytes]]:
        """Bring what was decrypted and what couldn't be parsed together, in the rows' order."""
        by_key = dict(zip(items, opened, strict=True))
        return {
            key: by_key[key] if key in by_key else Outcome[bytes](error=errors[key]) for key in rows
        }

    def _moved_items(
        self, rows: Sequence[Row], plaintexts: Sequence[bytes], new_account: str
    ) -> list[Encrypt]:
        items = []
        for row, plaintext in zip(rows, plaintexts, strict=True):
            context = {**self.layout.context_of(row), "account_id": new_account}
            items.append(Encrypt(plaintext, context))
        return items

    def _moves(
        self, rows: Sequence[Row], values: Sequence[EncryptedValue], new_account: str
    ) -> list[tuple[Row, dict[str, Any]]]:
        return [
            (
                row,
                rebound(new_account, value.section, value.key_id, value.version, value.to_text()),
            )
            for row, value in zip(rows, values, strict=True)
        ]


def keys_of(keys: Iterable[tuple[str, str]]) -> list[SecretKey]:
    """Check the keys that a caller gave, and drop repetitions."""
    checked = []
    for account_id, secret_id in keys:
        check_ids(account_id=account_id, secret_id=secret_id)
        checked.append(SecretKey(account_id, secret_id))
    return list(dict.fromkeys(checked))
