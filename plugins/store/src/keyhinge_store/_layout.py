"""How a row becomes an encrypted value and its context. One place, for the store and the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import Decrypt, EncryptedValue, InvalidCiphertextError, encode_context
from keyhinge_store._table import DEFAULT_TABLE, KEY, LABELS, secrets_table

__all__ = ["Key", "Layout", "Row", "label_text", "make_layout"]

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

    columns: tuple[str, ...] = attrs.field(init=False)
    """Every column that reading needs, and that a write is guarded with, each once."""

    # Which parts of a row are what, found out once: this runs for every row.
    _key: Callable[[Row], Key] = attrs.field(init=False, repr=False, eq=False)
    _bound: Callable[[Row], Key] = attrs.field(init=False, repr=False, eq=False)
    _labels: Callable[[Row], Key] = attrs.field(init=False, repr=False, eq=False)
    _text: Callable[[Row], Any] = attrs.field(init=False, repr=False, eq=False)

    @columns.default
    def _all_columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.key, *self.bound, *self.labels, self.value)))

    @_key.default
    def _key_getter(self) -> Callable[[Row], Key]:
        return self._getter(self.key)

    @_bound.default
    def _bound_getter(self) -> Callable[[Row], Key]:
        return self._getter(self.bound)

    @_labels.default
    def _labels_getter(self) -> Callable[[Row], Key]:
        return self._getter(self.labels)

    @_text.default
    def _text_getter(self) -> Callable[[Row], Any]:
        return itemgetter(self.columns.index(self.value))

    def _getter(self, names: tuple[str, ...]) -> Callable[[Row], Key]:
        if len(names) == 1:  # itemgetter would give the item itself, not a tuple of one
            index = self.columns.index(names[0])
            return lambda row: (row[index],)
        return itemgetter(*map(self.columns.index, names))

    def key_of(self, row: Row) -> Key:
        """Give a row's primary key."""
        return self._key(row)

    def context_of(self, row: Row) -> dict[str, str]:
        """Give the context that a row's value is bound to."""
        context = {"table": self.label, "column": self.value}
        context.update(zip(self.bound, self._bound(row), strict=True))
        return context

    def labels_of(self, row: Row) -> tuple[Any, ...]:
        """Give what the row's columns say about section, key id and version."""
        return self._labels(row)

    def text_of(self, row: Row) -> Any:
        """Give what stands in the value's column: text, if all is well."""
        return self._text(row)

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


def label_text(label: object) -> str:
    """Give what stands in a column of text as text, whatever it is.

    SQLite keeps whatever is written into a column, also bytes and NULL.
    """
    return label if isinstance(label, str) else f"({type(label).__name__}, not text)"
