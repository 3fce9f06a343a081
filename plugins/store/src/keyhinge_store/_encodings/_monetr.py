"""Columns as monetr writes them: no section, no context, and a shape for each of its providers."""

from __future__ import annotations

import binascii
import contextlib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from keyhinge import (
    EncryptedValue,
    InvalidCiphertextError,
    InvalidPlaintextError,
    KeyRef,
    OperationError,
    SectionNotConfiguredError,
)
from keyhinge_store._cells import no_text, said
from keyhinge_store._codec import OR, UNREADABLE, Labels

if TYPE_CHECKING:
    from keyhinge import KeyManager

__all__ = ["MonetrCodec"]

_SHAPES: Mapping[str, str] = {
    "plaintext": "plaintext",
    "vault": "transit",
    "openbao": "transit",
    "aws": "aws",
}
"""The shape of a provider's values in monetr's table. Others have none there."""

_WORDS = {"plaintext": "plaintext", "transit": "Vault or OpenBao", "aws": "AWS KMS"}
_TRANSIT = "vault:v"
_TRANSIT_TEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)
# What the plaintext provider puts before the bytes, so that an empty value isn't empty.
_PLAIN = b"P"


@attrs.frozen
class MonetrCodec:
    """Raw text without a key id; hex with an ARN; Transit's own text with the key's name.

    A row names no section, so the shape says of which kind it is, and among several sections of
    that kind the first in `sections` comes first.

    Attributes:
        value: The column with the value.
        key_id: The column with the key.
        version: The column that monetr leaves NULL; None if the table hasn't got it.
        dialect: The database system.
        sections: The configured sections that monetr has values of, with their shapes.
        aliases: Which section a further label means.
    """

    value: str
    key_id: str
    version: str | None
    dialect: str
    sections: tuple[tuple[str, str], ...] = ()
    aliases: Mapping[str, str] = attrs.field(factory=dict, eq=False)

    encoding = "monetr"
    labels: tuple[str, ...] = attrs.field(default=(), init=False)
    bound = False
    faithful = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The value, the key and, where there is one, the version."""
        return (self.value, self.key_id, *(() if self.version is None else (self.version,)))

    def read(self, cells: Sequence[Any]) -> EncryptedValue:
        """Tell by the shape what it is. The section is the first one of that kind."""
        text, key_id, *version = cells
        if not isinstance(text, str) or not (key_id is None or isinstance(key_id, str)):
            msg = "not a value of monetr's: its columns don't hold text"
            raise InvalidCiphertextError(msg)
        if version and version[0] is not None:
            msg = f"not a value of monetr's: the column {self.version!r} isn't NULL"
            raise InvalidCiphertextError(msg)
        if key_id is None:
            return EncryptedValue(self._first("plaintext"), "", "", _PLAIN + text.encode("utf-8"))
        if text.startswith(_TRANSIT):
            number, body = _parse_transit(text)
            return EncryptedValue(self._first("transit"), key_id, number, body)
        if not _HEX.fullmatch(text):
            msg = "not a value of monetr's: it has a key id, and is neither hex nor Transit's text"
            raise InvalidCiphertextError(msg)
        return EncryptedValue(self._first("aws"), key_id, "", bytes.fromhex(text))

    def write(self, value: EncryptedValue) -> tuple[str | None, ...]:
        """Write it in its provider's shape.

        Raises:
            InvalidPlaintextError: A plaintext isn't text.
            OperationError: monetr has no such values.
        """
        shape = dict(self.sections).get(self._name(value.section), "")
        end: tuple[str | None, ...] = () if self.version is None else (None,)
        if shape == "plaintext":
            return (_as_text(value.ciphertext), None, *end)
        if shape == "transit" and _VERSION.fullmatch(value.version):
            body = b64encode(value.ciphertext).decode("ascii")
            return (f"{_TRANSIT}{value.version}:{body}", value.key_id, *end)
        if shape == "aws":
            return (value.ciphertext.hex(), value.key_id, *end)
        raise OperationError(self.problem_with(value.section), section=value.section)

    def others(self, value: EncryptedValue) -> tuple[str, ...]:
        """Give the further sections of the same kind, in their order."""
        shapes = dict(self.sections)
        shape = shapes.get(value.section)
        return tuple(name for name in shapes if shapes[name] == shape and name != value.section)

    def problem_with(self, section: str) -> str:
        """Say why a section's values can't stand in the table; "" if they can."""
        if self._name(section) in dict(self.sections):
            return ""
        return (
            f"monetr's table can't hold values of the section {section!r}: monetr knows "
            "plaintext, Vault (or OpenBao) and AWS KMS"
        )

    def refuse(self, plaintext: bytes) -> None:
        """Refuse nothing here; `write` does."""

    def under(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the shape: rows may be under other sections of the same kind, too."""
        shapes = dict(self.sections)
        wanted = {shapes[name] for name in map(self._name, labels) if name in shapes}
        return sa.or_(sa.false(), *(self._is(table, shape) for shape in sorted(wanted)))

    def surely_at(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Look at the shape, where no other section has the same."""
        names = set(map(self._name, labels))
        others = {shape for name, shape in self.sections if name not in names}
        sure = {shape for name, shape in self.sections if name in names} - others
        return sa.or_(sa.false(), *(self._is(table, shape) for shape in sorted(sure)))

    def is_key(
        self, table: sa.FromClause, labels: Sequence[str], key: KeyRef
    ) -> sa.ColumnElement[bool]:
        """Look at the key's column, and at the version in Transit's text."""
        found = []
        for label in labels:
            shape = dict(self.sections).get(self._name(label))
            is_key = self._key(table) == key.key_id
            if shape == "transit":
                beginning = f"{_TRANSIT}{key.version}:"
                found.append(sa.and_(is_key, self._begins(table, beginning)))
            elif shape == "aws":
                found.append(sa.and_(is_key, self._is(table, shape)))
        return sa.or_(sa.false(), *found)

    def at(
        self,
        table: sa.FromClause,
        labels: Sequence[str],
        key_id: str | None = None,
        version: str | None = None,
    ) -> sa.ColumnElement[bool]:
        """Look at the shape, at the key's column, and at the version in Transit's text."""
        found = []
        for shape in sorted({self.shape_of(label) for label in labels} - {""}):
            parts = [self._is(table, shape)]
            if key_id is not None:
                parts.append(sa.func.coalesce(self._key(table), "") == key_id)
            if version is not None and shape == "transit":
                parts.append(self._begins(table, f"{_TRANSIT}{version}:"))
            found.append(sa.and_(*parts))
        return sa.or_(sa.false(), *found)

    def key_begins(
        self, table: sa.FromClause, label: str, beginning: str, *, last: bool = False
    ) -> sa.ColumnElement[bool]:
        """Find nothing: monetr has no values of sections that build on others."""
        return sa.false()

    def shape_of(self, section: str) -> str:
        """Name the shape of a section's values here; "" if they can't stand here."""
        return dict(self.sections).get(self._name(section), "")

    def unsure(self, section: str) -> str:
        """Name another section of the same shape; or say that nobody knows the section."""
        name = self._name(section)
        others = [each for each, shape in self.sections if shape == self.shape_of(name)]
        others = [each for each in others if each != name]
        if others:
            return (
                f"its rows name no section, and those of {others[0]!r} look like those of {name!r}"
            )
        return ""

    def groups(self, table: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
        """Give the shape, the key and Transit's version."""
        shape = sa.case(*((self._is(table, name), name) for name in _WORDS), else_="")
        behind = sa.func.substr(self._column(table), len(_TRANSIT) + 1, 10)
        find = sa.func.strpos if self.dialect == "postgresql" else sa.func.instr
        colon = find(behind, ":")
        number = sa.case(
            (sa.and_(self._is(table, "transit"), colon > 1), sa.func.substr(behind, 1, colon - 1)),
            else_="",
        )
        return shape, table.c[self.key_id], number

    def labels_of(self, group: Sequence[Any]) -> Labels:
        """Name the section, or the several that it may be."""
        shape, key_id, number = group
        if shape not in _WORDS:
            return UNREADABLE, "", ""
        names = [name for name, each in self.sections if each == shape]
        return OR.join(names) or f"({shape})", key_id or "", number or ""

    def contradicts(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Find rows with a key that hold neither Transit's text nor hex, or no text at all."""
        value = self._column(table)
        no_hex = sa.or_(
            sa.func.ltrim(value, "0123456789abcdef") != "",
            sa.func.length(value) % 2 == 1,
            value == "",
        )
        wrong = sa.or_(
            sa.and_(self._is(table, "aws"), no_hex),
            *(no_text(table.c[name], self.dialect) for name in (self.value, self.key_id)),
        )
        return wrong if self.version is None else sa.or_(wrong, table.c[self.version].is_not(None))

    def for_keys(self, keys: KeyManager, order: Sequence[str] = ()) -> MonetrCodec:
        """Look at which sections there are.

        Args:
            keys: The configured sections.
            order: Sections to try first, before the others.
        """
        blocks = keys.configuration.sections
        names = [*(name for name in order if name in blocks), *blocks]
        sections = {
            name: _SHAPES[blocks[name].type] for name in names if blocks[name].type in _SHAPES
        }
        aliases = {alias: name for name, block in blocks.items() for alias in block.aliases}
        return attrs.evolve(self, sections=tuple(sections.items()), aliases=aliases)

    def _name(self, label: str) -> str:
        return self.aliases.get(label, label)

    def _first(self, shape: str) -> str:
        for name, each in self.sections:
            if each == shape:
                return name
        msg = f"the row holds a value of {_WORDS[shape]}, and no section of that type is configured"
        raise SectionNotConfiguredError(msg)

    def _column(self, table: sa.FromClause) -> sa.ColumnElement[str]:
        return said(table.c[self.value], self.dialect)

    def _key(self, table: sa.FromClause) -> sa.ColumnElement[str]:
        return said(table.c[self.key_id], self.dialect)

    def _begins(self, table: sa.FromClause, beginning: str) -> sa.ColumnElement[bool]:
        return sa.func.substr(self._column(table), 1, len(beginning)) == beginning

    def _is(self, table: sa.FromClause, shape: str) -> sa.ColumnElement[bool]:
        key_id = table.c[self.key_id]
        if shape == "plaintext":
            return key_id.is_(None)
        is_transit = self._begins(table, _TRANSIT)
        return sa.and_(
            key_id.is_not(None), is_transit if shape == "transit" else sa.not_(is_transit)
        )


def _parse_transit(text: str) -> tuple[str, bytes]:
    found = _TRANSIT_TEXT.fullmatch(text)
    body = None
    if found is not None:
        with contextlib.suppress(binascii.Error):
            body = binascii.a2b_base64(found[2])
    # The server takes several texts for one ciphertext; only the one that it writes is read.
    if found is None or not body or b64encode(body).decode("ascii") != found[2]:
        msg = "not a value of monetr's: Transit doesn't write such a text"
        raise InvalidCiphertextError(msg)
    return found[1], body


def _as_text(ciphertext: bytes) -> str:
    """Give a plaintext as monetr stores it.

    Raises:
        InvalidPlaintextError: It isn't UTF-8, or has a NUL.
    """
    text = None
    with contextlib.suppress(UnicodeDecodeError):
        text = ciphertext[len(_PLAIN) :].decode("utf-8")
    if text is None or "\0" in text:
        msg = "the plaintext isn't UTF-8 text without NUL, so it can't stand in a column of text"
        raise InvalidPlaintextError(msg)
    return text
