"""How a row becomes an encrypted value and its context. One place, for the store and the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import Decrypt, EncryptedValue, InvalidCiphertextError, encode_context
from keyhinge_store._table import DEFAULT_TABLE, KEY, LABELS, secrets_table

__all__ = ["Key", "Layout", "Row", "make_layout"]

Key = tuple[Any, ...]
Row = Sequence[Any]
"""One row: the values of `Layout.columns`, in their order."""


@attrs.frozen
class Layout:
    """A table, and which of its columns mean what.

    Attributes:
        table: The table.
        label: The table's name in the context. It stays when the table is renamed.
        key: The columns of the primary key.
        bound: The columns whose content is in the context, under their own names.
        labels: The columns with section, key id and version.
        value: The column with the encrypted value, in its text form.
        encrypted_at: The column with the time of encryption, if there is one.
    """

    table: sa.Table
    label: str
    key: tuple[str, ...] = KEY
    bound: tuple[str, ...] = ("account_id", "secret_id", "kind")
    labels: tuple[str, ...] = LABELS
    value: str = "secret"
    encrypted_at: str | None = "encrypted_at"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that reading needs, and that a write is guarded with, each once."""
        return tuple(dict.fromkeys((*self.key, *self.bound, *self.labels, self.value)))

    def key_of(self, row: Row) -> Key:
        """Give a row's primary key."""
        return tuple(row[index] for index in self._indexes(self.key))

    def context_of(self, row: Row) -> dict[str, str]:
        """Give the context that a row's value is bound to."""
        context = {"table": self.label, "column": self.value}
        for name, index in zip(self.bound, self._indexes(self.bound), strict=True):
            context[name] = row[index]
        return context

    def labels_of(self, row: Row) -> tuple[Any, ...]:
        """Give what the row's columns say about section, key id and version."""
        return tuple(row[index] for index in self._indexes(self.labels))

    def text_of(self, row: Row) -> Any:
        """Give what stands in the value's column: text, if all is well."""
        return row[self._indexes((self.value,))[0]]

    def item_of(self, row: Row) -> Decrypt:
        """Turn a row into an item to decrypt.

        Raises:
            InvalidCiphertextError: The value doesn't parse, or the columns beside it say
                something else than the value does.
        """
        text = self.text_of(row)
        if not isinstance(text, str):
            kind = "NULL" if text is None else f"{type(text).__name__}, not text"
            msg = f"not an encrypted value: the column {self.value!r} holds {kind}"
            raise InvalidCiphertextError(msg)
        value = EncryptedValue.from_text(text)
        if (value.section, value.key_id, value.version) != self.labels_of(row):
            msg = (
                "the value was made with another section, key or version than the columns "
                f"{', '.join(self.labels)} say; it, or they, were changed"
            )
            raise InvalidCiphertextError(msg)
        return Decrypt(value, self.context_of(row))

    def _indexes(self, names: tuple[str, ...]) -> tuple[int, ...]:
        columns = self.columns
        return tuple(columns.index(name) for name in names)


def make_layout(
    table: str = DEFAULT_TABLE, schema: str | None = None, label: str | None = None
) -> Layout:
    """Describe the store's own table.

    Args:
        table: Its name.
        schema: Its schema.
        label: Its name in the context; the default is `table`, or `schema.table`.

    Raises:
        InvalidContextError: The label isn't 1 to 1,024 bytes of text without NUL.
    """
    described = secrets_table(sa.MetaData(), table, schema)
    if label is None:
        label = table if schema is None else f"{schema}.{table}"
    encode_context({"table": label})
    return Layout(described, label)
