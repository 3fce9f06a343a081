"""The store's own table: the text form, and the labels beside it for SQL to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import EncryptedValue, InvalidCiphertextError, KeyRef
from keyhinge_store._codec import Labels
from keyhinge_store._encodings._names_section import NamesSection
from keyhinge_store._encodings._text_form import MAGIC, key_text_begins, text_at, without_slash

__all__ = ["OwnCodec"]


@attrs.frozen
class OwnCodec(NamesSection):
    """The value decides; where a column differs from it, the row doesn't open."""

    labels: tuple[str, ...] = ("section", "key_id", "version")
    value: str = "secret"

    encoding = "own"
    bound = True
    faithful = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels, then the value."""
        return (*self.labels, self.value)

    def read(self, cells: Sequence[Any]) -> EncryptedValue:
        """Parse the text, and compare it with the labels."""
        section, key_id, version, text = cells
        if not isinstance(text, str):
            kind = "NULL" if text is None else f"{type(text).__name__}, not text"
            msg = f"not an encrypted value: the column {self.value!r} holds {kind}"
            raise InvalidCiphertextError(msg)
        value = EncryptedValue.from_text(text)
        if (value.section, value.key_id, value.version) != (section, key_id, version):
            msg = (
                "the value was made with another section, key or version than the columns "
                f"{', '.join(self.labels)} say; it, or they, were changed"
            )
            raise InvalidCiphertextError(msg)
        return value

    def write(self, value: EncryptedValue) -> tuple[str, ...]:
        """Give the labels and the text form."""
        return value.section, value.key_id, value.version, value.to_text()

    def under(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Find rows that are under a label, also those whose value alone says so."""
        value = table.c[self.value]
        beginnings = [f"{MAGIC}{name}:" for name in labels]
        says_so = [sa.func.substr(value, 1, len(text)) == text for text in beginnings]
        return sa.or_(table.c[self.labels[0]].in_(labels), *says_so)

    def surely_at(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Find rows at these labels, without those that only say that they are."""
        label = table.c[self.labels[0]]
        return sa.and_(label.in_(labels), self._begins_with(table, "", 0))

    def is_key(
        self, table: sa.FromClause, labels: Sequence[str], key: KeyRef
    ) -> sa.ColumnElement[bool]:
        """Compare the columns, and the value's beginning with them."""
        label, key_id, version = (table.c[name] for name in self.labels)
        rest = f"{key.key_id}:{key.version}:"
        return sa.and_(
            label.in_(labels),
            key_id == key.key_id,
            version == key.version,
            self._begins_with(table, rest, len(rest)),
        )

    def at(
        self,
        table: sa.FromClause,
        labels: Sequence[str],
        key_id: str | None = None,
        version: str | None = None,
    ) -> sa.ColumnElement[bool]:
        """Look at the columns, and at the value, which may say something else."""
        section, its_key, its_version, value = (self._said(table, name) for name in self.columns)
        columns: list[sa.ColumnElement[bool]] = [section.in_(labels)]
        if key_id is not None:
            columns.append(its_key == key_id)
        if version is not None:
            columns.append(its_version.in_(sorted({version, ""})))
        says_so = [text_at(value, each, key_id, version) for each in labels]
        return sa.or_(sa.and_(*columns), *says_so)

    def key_begins(
        self, table: sa.FromClause, label: str, beginning: str, *, last: bool = False
    ) -> sa.ColumnElement[bool]:
        """Look at the columns, and at the value, which may say something else."""
        section, key_id, _, value = (self._said(table, name) for name in self.columns)
        columns = [
            section == label,
            sa.func.substr(key_id, 1, len(beginning)) == beginning,
        ]
        if last:
            columns.append(without_slash(sa.func.substr(key_id, len(beginning) + 1)))
        says_so = key_text_begins(value, label, beginning, last=last)
        return sa.or_(sa.and_(*columns), says_so)

    def groups(self, table: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
        """Give the columns with the labels."""
        return tuple(table.c[name] for name in self.labels)

    def labels_of(self, group: Sequence[Any]) -> Labels:
        """Give what stands in the columns."""
        section, key_id, version = group
        return section, key_id, version

    def contradicts(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Find rows whose value doesn't begin with their own labels."""
        beginning: sa.ColumnElement[str] = sa.literal(MAGIC)
        for name in self.labels:
            beginning = beginning.concat(table.c[name]).concat(":")
        cut = sa.func.substr(table.c[self.value], 1, sa.func.length(beginning))
        return cut.is_distinct_from(beginning)

    def _said(self, table: sa.FromClause, name: str) -> sa.ColumnElement[str]:
        """Give a column as text: SQLite keeps bytes, too, and they are equal to no text."""
        return sa.cast(table.c[name], sa.Text)

    def _begins_with(self, table: sa.FromClause, rest: str, length: int) -> sa.ColumnElement[bool]:
        """Tell whether a value begins with its row's own section label, and what comes behind."""
        label, value = table.c[self.labels[0]], table.c[self.value]
        beginning = sa.literal(MAGIC).concat(label).concat(f":{rest}")
        cut = sa.func.substr(value, 1, sa.func.length(label) + len(MAGIC) + 1 + length)
        return cut.is_not_distinct_from(beginning)
