"""One binary column, which holds the binary form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import EncryptedValue, InvalidCiphertextError, KeyRef
from keyhinge_store._codec import UNREADABLE, Labels
from keyhinge_store._encodings._names_section import NamesSection

__all__ = ["BytesCodec"]

_MAGIC = b"\xd3\x4b\x48\x01"
_ALL = bytes(range(256))
_MAX_HEAD = 4 + 1 + 32 + 2 + 512 + 1 + 64


@attrs.frozen
class BytesCodec(NamesSection):
    """The binary form in a column of bytes.

    Attributes:
        value: The column.
        dialect: The database system.
    """

    value: str
    dialect: str

    encoding = "bytes"
    labels: tuple[str, ...] = attrs.field(default=(), init=False)
    bound = True
    faithful = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.value,)

    def read(self, cells: Sequence[Any]) -> EncryptedValue:
        """Parse the bytes."""
        (data,) = cells
        if not isinstance(data, (bytes, memoryview)):
            kind = "NULL" if data is None else f"{type(data).__name__}, not bytes"
            msg = f"not an encrypted value: the column {self.value!r} holds {kind}"
            raise InvalidCiphertextError(msg)
        return EncryptedValue.from_bytes(bytes(data))

    def write(self, value: EncryptedValue) -> tuple[bytes, ...]:
        """Give the binary form."""
        return (value.to_bytes(),)

    def under(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the value's beginning."""
        found = [self._begins(table, _head(label)) for label in labels if label.isascii()]
        return sa.or_(sa.false(), *found)

    def surely_at(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the value's beginning."""
        return self.under(table, labels)

    def is_key(
        self, table: sa.FromClause, labels: Sequence[str], key: KeyRef
    ) -> sa.ColumnElement[bool]:
        """Look at the value's beginning, in which each length is written."""
        heads = [_head(label) + _key(key.key_id, key.version) for label in labels]
        return sa.or_(sa.false(), *(self._begins(table, head) for head in heads))

    def at(
        self,
        table: sa.FromClause,
        labels: Sequence[str],
        key_id: str | None = None,
        version: str | None = None,
    ) -> sa.ColumnElement[bool]:
        """Look at the value's beginning, in which each length is written."""
        value = self._said(table)
        if key_id is not None:
            versions = [None] if version is None else sorted({version, ""})
            heads = [_head(each) + _key(key_id, v) for each in labels for v in versions]
            return sa.or_(sa.false(), *(_begins(value, head) for head in heads))
        found = sa.or_(
            sa.false(), *(_begins(value, _head(each)) for each in labels if each.isascii())
        )
        if version is None:
            return found
        place, _ = self._places(value)
        cuts = [_short(each) for each in sorted({version, ""})]
        alike = [
            sa.func.substr(value, place, len(cut), type_=sa.LargeBinary)
            == sa.literal(cut, sa.LargeBinary)
            for cut in cuts
        ]
        return sa.and_(found, sa.or_(*alike))

    def key_begins(
        self, table: sa.FromClause, label: str, beginning: str, *, last: bool = False
    ) -> sa.ColumnElement[bool]:
        """Look at the value's beginning, and at the length of the key id in it."""
        value = self._said(table)
        head, raw = _head(label), beginning.encode("ascii")
        length = self._length(value, sa.literal(len(head) + 1))
        behind = len(head) + 3 + len(raw)
        cut = sa.func.substr(value, len(head) + 3, len(raw), type_=sa.LargeBinary)
        found = sa.and_(
            _begins(value, head),
            cut == sa.literal(raw, sa.LargeBinary),
            length >= len(raw),
        )
        if last:
            slash = self._place(
                sa.literal(b"/", sa.LargeBinary),
                sa.func.substr(value, behind, type_=sa.LargeBinary),
            )
            found = sa.and_(found, sa.or_(slash == 0, slash > length - len(raw)))
        return found

    def groups(self, table: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
        """Give the beginning up to the ciphertext, by the lengths that are written in it."""
        value = table.c[self.value]
        _, end = self._places(value)
        readable = sa.and_(self._begins(table, _MAGIC), end <= _MAX_HEAD)
        return (sa.case((readable, sa.func.substr(value, 1, end)), else_=sa.literal(b"")),)

    def labels_of(self, group: Sequence[Any]) -> Labels:
        """Parse what `groups` gave."""
        try:
            value = EncryptedValue.from_bytes(bytes(group[0]) + b"\0")
        except InvalidCiphertextError:
            return UNREADABLE, "", ""
        return value.section, value.key_id, value.version

    def _places(self, value: sa.ColumnElement[Any]) -> tuple[Any, Any]:
        """Give where the version's length stands, and where the version ends."""
        key_id = 6 + self._byte(value, sa.literal(5))
        version = key_id + 2 + self._length(value, key_id)
        return version, version + self._byte(value, version)

    def _begins(self, table: sa.FromClause, beginning: bytes) -> sa.ColumnElement[bool]:
        return _begins(table.c[self.value], beginning)

    def _said(self, table: sa.FromClause) -> sa.ColumnElement[Any]:
        """Give the value as bytes: SQLite keeps text, too, and it is equal to no bytes."""
        value = table.c[self.value]
        return sa.cast(value, sa.LargeBinary) if self.dialect == "sqlite" else value

    def _byte(self, value: sa.ColumnElement[Any], at: sa.ColumnElement[int]) -> Any:
        """Give one byte as a number: its place in a row of all bytes. 0 behind the end."""
        byte = sa.func.substr(value, at, 1, type_=sa.LargeBinary)
        return self._place(byte, sa.literal(_ALL, sa.LargeBinary)) - 1

    def _length(self, value: sa.ColumnElement[Any], at: sa.ColumnElement[int]) -> Any:
        """Give a length of two bytes."""
        return 256 * self._byte(value, at) + self._byte(value, at + 1)

    def _place(self, part: sa.ColumnElement[Any], data: sa.ColumnElement[Any]) -> Any:
        """Give where a part stands in bytes, from 1; 0 if it doesn't."""
        if self.dialect == "postgresql":
            place = sa.func.position(part.op("IN", return_type=sa.Integer())(data))
        else:
            place = sa.func.instr(data, part)
        return sa.type_coerce(place, sa.Integer)


def _begins(value: sa.ColumnElement[Any], beginning: bytes) -> sa.ColumnElement[bool]:
    cut = sa.func.substr(value, 1, len(beginning), type_=sa.LargeBinary)
    return cut == sa.literal(beginning, sa.LargeBinary)


def _head(section: str) -> bytes:
    raw = section.encode("ascii")
    return _MAGIC + bytes([min(len(raw), 255)]) + raw


def _key(key_id: str, version: str | None) -> bytes:
    raw = key_id.encode("ascii")
    return len(raw).to_bytes(2, "big") + raw + (b"" if version is None else _short(version))


def _short(text: str) -> bytes:
    raw = text.encode("ascii")
    return len(raw).to_bytes(1, "big") + raw
