"""A column for each part: ciphertext, section, key id and version."""

from __future__ import annotations

import binascii
import contextlib
from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import EncryptedValue, InvalidCiphertextError, KeyRef
from keyhinge_store._cells import exact, said
from keyhinge_store._codec import UNREADABLE, Labels
from keyhinge_store._encodings._names_section import NamesSection
from keyhinge_store._encodings._text_form import without_slash

__all__ = ["ColumnsCodec"]


@attrs.frozen
class ColumnsCodec(NamesSection):
    """The parts one by one. A binary ciphertext stands as it is, in text it is base64.

    Attributes:
        value: The column with the ciphertext.
        labels: The columns with section, key id and version. NULL in the latter two is read as
            empty, and empty is written as empty.
        dialect: The database system.
        binary: Whether the ciphertext's column is binary.
    """

    value: str
    labels: tuple[str, ...]
    dialect: str
    binary: bool

    encoding = "columns"
    bound = True
    faithful = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels, then the ciphertext."""
        return (*self.labels, self.value)

    def read(self, cells: Sequence[Any]) -> EncryptedValue:
        """Put the parts together."""
        section, key_id, version, data = cells
        ciphertext = self._ciphertext(data)
        labels = section, "" if key_id is None else key_id, "" if version is None else version
        if not all(isinstance(label, str) for label in labels):
            msg = f"not an encrypted value: a column of {', '.join(self.labels)} holds no text"
            raise InvalidCiphertextError(msg)
        return EncryptedValue(*labels, ciphertext)

    def write(self, value: EncryptedValue) -> tuple[str | bytes, ...]:
        """Take it apart."""
        labels = value.section, value.key_id, value.version
        if self.binary:
            return (*labels, value.ciphertext)
        return (*labels, binascii.b2a_base64(value.ciphertext, newline=False).decode("ascii"))

    def under(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the section's column."""
        return sa.func.coalesce(self._label(table, 0), "").in_(list(labels))

    def surely_at(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the section's column."""
        return self.under(table, labels)

    def is_key(
        self, table: sa.FromClause, labels: Sequence[str], key: KeyRef
    ) -> sa.ColumnElement[bool]:
        """Look at the columns."""
        return sa.and_(
            self.under(table, labels),
            sa.func.coalesce(self._label(table, 1), "") == key.key_id,
            sa.func.coalesce(self._label(table, 2), "") == key.version,
        )

    def at(
        self,
        table: sa.FromClause,
        labels: Sequence[str],
        key_id: str | None = None,
        version: str | None = None,
    ) -> sa.ColumnElement[bool]:
        """Look at the columns."""
        section, its_key, its_version = (self._said(table, index) for index in range(3))
        found: list[sa.ColumnElement[bool]] = [section.in_(list(labels))]
        if key_id is not None:
            found.append(its_key == key_id)
        if version is not None:
            found.append(its_version.in_(sorted({version, ""})))
        return sa.and_(*found)

    def key_begins(
        self, table: sa.FromClause, label: str, beginning: str, *, last: bool = False
    ) -> sa.ColumnElement[bool]:
        """Look at the columns."""
        key_id = self._said(table, 1)
        begins = sa.func.substr(key_id, 1, len(beginning)) == beginning
        found = sa.and_(self._said(table, 0) == label, begins)
        if last:
            found = sa.and_(found, without_slash(sa.func.substr(key_id, len(beginning) + 1)))
        return found

    def groups(self, table: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
        """Give the columns with the labels."""
        return tuple(self._label(table, index) for index in range(3))

    def labels_of(self, group: Sequence[Any]) -> Labels:
        """Give what stands in the columns, if it is text; SQLite lets it be bytes."""
        section, key_id, version = group
        if not all(each is None or isinstance(each, str) for each in group):
            return UNREADABLE, "", ""
        return section or UNREADABLE, key_id or "", version or ""

    def _label(self, table: sa.FromClause, index: int) -> sa.ColumnElement[str]:
        return exact(table.c[self.labels[index]], self.dialect)

    def _said(self, table: sa.FromClause, index: int) -> sa.ColumnElement[str]:
        return sa.func.coalesce(said(table.c[self.labels[index]], self.dialect), "")

    def _ciphertext(self, data: Any) -> bytes:
        if self.binary and isinstance(data, (bytes, memoryview)):
            return bytes(data)
        decoded = None
        if not self.binary and isinstance(data, str) and data.isascii():
            with contextlib.suppress(binascii.Error):
                decoded = binascii.a2b_base64(data)
            # Decoders accept stray bits and skip junk, so encode again and compare.
            if decoded is not None and binascii.b2a_base64(decoded, newline=False) != data.encode():
                decoded = None
        if decoded is None:
            kind = "bytes" if self.binary else "canonical base64"
            msg = f"not an encrypted value: the column {self.value!r} doesn't hold {kind}"
            raise InvalidCiphertextError(msg)
        return decoded
