"""How a row becomes an encrypted value and its context. One place, for the store and the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from keyhinge import (
    NO_CONTEXT,
    Context,
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    encode_context,
)
from keyhinge_store._cells import Cell, in_json, render_context
from keyhinge_store._codec import Adopted, Codec, Plain
from keyhinge_store._encodings import OwnCodec
from keyhinge_store._table import DEFAULT_TABLE, KEY, secrets_table

if TYPE_CHECKING:
    from keyhinge import KeyManager

__all__ = ["Key", "Layout", "Row", "label_text", "make_layout"]

Key = tuple[Any, ...]
Row = Sequence[Any]
"""One row: the values of `Layout.columns`, in their order."""


@attrs.frozen(eq=False)
class Layout:
    """A table, which of its columns mean what, and how values stand in it.

    Attributes:
        table: The table.
        label: The table's name in the context. It stays when the table is renamed.
        codec: Reads and writes the values.
        column_label: The value column's name in the context.
        key: The columns of the primary key.
        bound: What is in the context, beside `table` and `column`.
        bound_columns: The columns that it comes from, in the same order.
        encrypted_at: The column with the time of encryption, if there is one.
        where: Holds for the rows that are meant; None for all.
        where_columns: The columns that it looks at.
        cells: The columns, by name. Those that aren't in it are text.
    """

    table: sa.Table
    label: str
    codec: Codec = attrs.field(factory=OwnCodec)
    column_label: str = "secret"
    key: tuple[str, ...] = KEY
    bound: tuple[str, ...] = ("account_id", "secret_id", "kind")
    bound_columns: tuple[str, ...] = attrs.field()
    encrypted_at: str | None = "encrypted_at"
    where: sa.ColumnElement[bool] | None = None
    where_columns: tuple[str, ...] = ()
    cells: Mapping[str, Cell] = attrs.field(factory=dict)

    columns: tuple[str, ...] = attrs.field(init=False)
    """Every column that reading needs, and that a write is guarded with, each once."""

    # Which parts of a row are what, found out once: this runs for every row.
    _key: Callable[[Row], Key] = attrs.field(init=False, repr=False)
    _bound: Callable[[Row], Key] = attrs.field(init=False, repr=False)
    _cells: Callable[[Row], tuple[Any, ...]] = attrs.field(init=False, repr=False)
    _all_text: bool = attrs.field(init=False, repr=False)

    @bound_columns.default
    def _same_names(self) -> tuple[str, ...]:
        return self.bound

    @columns.default
    def _all_columns(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                (*self.key, *self.bound_columns, *self.codec.columns, *self.where_columns)
            )
        )

    @_key.default
    def _key_getter(self) -> Callable[[Row], Key]:
        return self._getter(self.key)

    @_bound.default
    def _bound_getter(self) -> Callable[[Row], Key]:
        return self._getter(self.bound_columns)

    @_cells.default
    def _cells_getter(self) -> Callable[[Row], tuple[Any, ...]]:
        return self._getter(self.codec.columns)

    @_all_text.default
    def _is_all_text(self) -> bool:
        return not self.cells

    def _getter(self, names: tuple[str, ...]) -> Callable[[Row], Key]:
        if not names:
            return lambda _: ()
        if len(names) == 1:  # itemgetter would give the item itself, not a tuple of one
            index = self.columns.index(names[0])
            return lambda row: (row[index],)
        return itemgetter(*map(self.columns.index, names))

    @property
    def name(self) -> str:
        """What people and our own tables call it: the labels of table and column."""
        return f"{self.label}.{self.column_label}"

    @property
    def value(self) -> str:
        """The column with the ciphertext."""
        return self.codec.value

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns with section, key id and version; none where not all three have one."""
        return self.codec.labels

    def cell(self, name: str) -> Cell:
        """Describe a column."""
        return self.cells.get(name) or Cell(name)

    def selected(self, name: str) -> sa.ColumnElement[Any]:
        """Give what to select for a column, so that Python gets something that it can send back."""
        column = self.table.c[name]
        if self.cell(name).kind == "other" and self.cell(name).sql_type:
            return sa.cast(column, sa.Text)
        return column

    @property
    def present(self) -> list[sa.ColumnElement[bool]]:
        """Conditions for the rows that are meant: those of `where`, with a value."""
        found = [] if self.where is None else [self.where]
        if self.cell(self.value).nullable:
            found.append(self.table.c[self.value].is_not(None))
        return found

    def key_of(self, row: Row) -> Key:
        """Give a row's primary key."""
        return self._key(row)

    def shown_key(self, row: Row) -> dict[str, Any]:
        """Give a row's primary key by the columns' names, as JSON can hold it."""
        return dict(zip(self.key, map(in_json, self._key(row)), strict=True))

    def context_of(self, row: Row) -> Context:
        """Give the context that a row's value is bound to.

        Raises:
            InvalidCiphertextError: A column of it holds NULL, or what can't be in a context.
        """
        return self.context(self._bound(row))

    def context(self, values: Sequence[Any]) -> Context:
        """Give the context for what stands in the columns of `bound_columns`.

        Raises:
            InvalidCiphertextError: As for `context_of`.
        """
        if not self.codec.bound:
            return NO_CONTEXT
        context = {"table": self.label, "column": self.column_label}
        if not self._all_text:
            pairs = zip(self.bound, values, strict=True)
            values = [render_context(key, value) for key, value in pairs]
        context.update(zip(self.bound, values, strict=True))
        return context

    def labels_of(self, row: Row) -> tuple[Any, ...]:
        """Give what the row's columns say about section, key id and version."""
        return tuple(row[self.columns.index(name)] for name in self.labels)

    def text_of(self, row: Row) -> Any:
        """Give what stands in the value's column: text, if all is well."""
        return row[self.columns.index(self.value)]

    def cells_of(self, row: Row) -> tuple[Any, ...]:
        """Give what stands in the codec's columns."""
        return self._cells(row)

    def read(self, row: Row) -> Decrypt | Adopted:
        """Turn a row into an item to decrypt, or into the plaintext that it still holds.

        Raises:
            InvalidCiphertextError: The value doesn't parse, or the columns beside it say
                something else than the value does.
        """
        if not self._all_text:
            _check_text(row)
        value = self.codec.read(self._cells(row))
        context = self.context_of(row)
        if isinstance(value, Plain):
            return Adopted(value.plaintext, context)
        return Decrypt(value, context)

    def item_of(self, row: Row) -> Decrypt:
        """Turn a row into an item to decrypt.

        Raises:
            InvalidCiphertextError: As for `read`, and for a plaintext.
        """
        item = self.read(row)
        if isinstance(item, Adopted):
            msg = "not an encrypted value: it is still in plaintext"
            raise InvalidCiphertextError(msg)
        return item

    def write(self, value: EncryptedValue) -> tuple[Any, ...]:
        """Give what has to stand in the codec's columns.

        Raises:
            OperationError: They can't hold such a value.
        """
        return self.codec.write(value)

    def for_keys(self, keys: KeyManager, order: Sequence[str] = ()) -> Layout:
        """Give the layout for a configuration: an encoding may ask which sections there are.

        Args:
            keys: The configured sections.
            order: Where a row may be of several sections, those to try first.
        """
        codec = self.codec.for_keys(keys, order)
        return self if codec is self.codec else attrs.evolve(self, codec=codec)


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


def _check_text(row: Row) -> None:
    """Refuse text that isn't UTF-8, which couldn't be sent back to find the row again."""
    for part in row:
        if type(part) is str and not part.isascii():
            raw = part.encode("utf-8", "surrogatepass")
            # A lone surrogate takes three bytes that no other character has: ED A0 to ED BF.
            if b"\xed" in raw and any("\ud800" <= char <= "\udfff" for char in part):
                msg = "a column of the row holds text that isn't UTF-8"
                raise InvalidCiphertextError(msg)
