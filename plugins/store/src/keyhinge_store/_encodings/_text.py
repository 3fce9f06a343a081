"""One text column, which holds the text form; or, while it is adopted, still a plaintext."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import EncryptedValue, InvalidCiphertextError, InvalidPlaintextError, KeyRef
from keyhinge_store._cells import exact, no_text, said
from keyhinge_store._codec import PLAIN, UNREADABLE, Labels, Plain
from keyhinge_store._encodings._names_section import NamesSection
from keyhinge_store._encodings._text_form import BASE64, MAGIC, key_text_begins, text_at

__all__ = ["TextCodec"]

# More than the longest labels with their colons.
_HEAD = 700


@attrs.frozen
class TextCodec(NamesSection):
    """The text form in a column of text.

    Attributes:
        value: The column.
        dialect: The database system.
        adopt: Whether what isn't ours is a plaintext, rather than an error.
    """

    value: str
    dialect: str
    adopt: bool = False

    encoding = "text"
    labels: tuple[str, ...] = attrs.field(default=(), init=False)
    bound = True
    faithful = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.value,)

    def read(self, cells: Sequence[Any]) -> EncryptedValue | Plain:
        """Parse the text. Whatever begins as ours does is ours, or an error."""
        (text,) = cells
        if not isinstance(text, str):
            kind = "NULL" if text is None else f"{type(text).__name__}, not text"
            msg = f"not an encrypted value: the column {self.value!r} holds {kind}"
            raise InvalidCiphertextError(msg)
        if self.adopt and not text.startswith(MAGIC):
            return Plain(text.encode("utf-8"))
        return EncryptedValue.from_text(text)

    def write(self, value: EncryptedValue) -> tuple[str, ...]:
        """Give the text form."""
        return (value.to_text(),)

    def refuse(self, plaintext: bytes) -> None:
        """Refuse a plaintext that nobody could tell from an encrypted value.

        Raises:
            InvalidPlaintextError: It begins with our marker, and the column is being adopted.
        """
        if self.adopt and plaintext.startswith(MAGIC.encode()):
            msg = (
                f"the plaintext begins with {MAGIC!r}, as encrypted values do; while the column "
                f"{self.value!r} is adopted, nobody could tell which of them it is"
            )
            raise InvalidPlaintextError(msg)

    def under(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the value's beginning."""
        found = [self._begins(table, f"{MAGIC}{each}:") for each in labels if each != PLAIN]
        if PLAIN in labels:
            found.append(sa.and_(sa.not_(self._begins(table, MAGIC)), sa.not_(self.no_text(table))))
        return sa.or_(sa.false(), *found)

    def surely_at(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the value's beginning."""
        return self.under(table, labels)

    def is_key(
        self, table: sa.FromClause, labels: Sequence[str], key: KeyRef
    ) -> sa.ColumnElement[bool]:
        """Look at the beginning, behind which no further colon may come: a key id may have some."""
        found = []
        for label in labels:
            beginning = f"{MAGIC}{label}:{key.key_id}:{key.version}:"
            rest = sa.func.substr(self._column(table), len(beginning) + 1)
            no_more = self._position(rest, ":") == 0
            found.append(sa.and_(self._begins(table, beginning), no_more))
        return sa.or_(sa.false(), *found)

    def at(
        self,
        table: sa.FromClause,
        labels: Sequence[str],
        key_id: str | None = None,
        version: str | None = None,
    ) -> sa.ColumnElement[bool]:
        """Look at the value's beginning."""
        column = said(table.c[self.value], self.dialect)
        return sa.or_(sa.false(), *(text_at(column, each, key_id, version) for each in labels))

    def key_begins(
        self, table: sa.FromClause, label: str, beginning: str, *, last: bool = False
    ) -> sa.ColumnElement[bool]:
        """Look at the value's beginning."""
        column = said(table.c[self.value], self.dialect)
        return key_text_begins(column, label, beginning, last=last)

    def groups(self, table: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
        """Give the labels as they stand in the value, by taking the base64 off its end."""
        head = sa.func.rtrim(sa.func.substr(self._column(table), 1, _HEAD), BASE64)
        # What isn't ours may be a plaintext, and isn't read; what isn't text is neither.
        ours = (self._begins(table, MAGIC), head)
        if self.dialect != "sqlite":
            return (sa.case(ours, else_=""),)
        return (sa.case(ours, (self.no_text(table), MAGIC), else_=""),)

    def labels_of(self, group: Sequence[Any]) -> Labels:
        """Parse what `groups` gave."""
        (head,) = group
        if not head:
            return (PLAIN if self.adopt else UNREADABLE), "", ""
        try:
            value = EncryptedValue.from_text(f"{head}AA==")
        except InvalidCiphertextError:
            return UNREADABLE, "", ""
        return value.section, value.key_id, value.version

    def no_text(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Find rows whose value isn't text, so that it can't be read."""
        return no_text(table.c[self.value], self.dialect)

    def _column(self, table: sa.FromClause) -> sa.ColumnElement[str]:
        return exact(table.c[self.value], self.dialect)

    def _begins(self, table: sa.FromClause, beginning: str) -> sa.ColumnElement[bool]:
        return sa.func.substr(self._column(table), 1, len(beginning)) == beginning

    def _position(self, text: sa.ColumnElement[str], part: str) -> sa.ColumnElement[int]:
        find = sa.func.strpos if self.dialect == "postgresql" else sa.func.instr
        return find(text, part)
