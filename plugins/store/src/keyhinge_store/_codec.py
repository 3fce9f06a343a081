"""What an encoding is: how an encrypted value stands in a table's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import sqlalchemy as sa

from keyhinge import Context, EncryptedValue, KeyRef

if TYPE_CHECKING:
    from typing_extensions import Self

    from keyhinge import KeyManager

__all__ = ["OR", "PLAIN", "UNREADABLE", "Adopted", "Codec", "Labels", "Plain"]

Labels = tuple[Any, Any, Any]
"""Section, key id and version."""

PLAIN = "(plaintext)"
"""Stands for the section of values that aren't encrypted yet; no section is called so."""
UNREADABLE = "(unreadable)"
"""Stands for the section of what is no encrypted value; no section is called so."""
OR = " or "
"""Stands between the sections that a value may be of, if its row doesn't tell."""


@attrs.frozen
class Plain:
    """What stood in a column that is being adopted: it isn't ours yet, so it is the plaintext."""

    plaintext: bytes = attrs.field(repr=False)


@attrs.frozen
class Adopted:
    """A plaintext that was found in place of an encrypted value, and the context it will have."""

    plaintext: bytes = attrs.field(repr=False)
    context: Context


class Codec(Protocol):
    """Reads and writes values in one encoding, and finds them by their labels in SQL.

    Conditions are for rows whose value isn't NULL, and exact to the byte.
    """

    @property
    def encoding(self) -> str:
        """What the mapping calls it; "own" for the store's own table."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads and writes, in the order of `read` and `write`."""

    @property
    def value(self) -> str:
        """The column with the ciphertext."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns with section, key id and version, where all three have one."""

    @property
    def bound(self) -> bool:
        """Whether values have a context; without one it is `keyhinge.NO_CONTEXT`."""

    @property
    def faithful(self) -> bool:
        """Whether `read` gives back exactly what `write` was given, labels and all."""

    def read(self, cells: Sequence[Any]) -> EncryptedValue | Plain:
        """Make a value of what stands in the columns.

        Raises:
            InvalidCiphertextError: It isn't exactly what `write` makes.
        """

    def write(self, value: EncryptedValue) -> tuple[Any, ...]:
        """Make what has to stand in the columns.

        Raises:
            OperationError: The columns can't hold such a value.
        """

    def others(self, value: EncryptedValue) -> tuple[str, ...]:
        """Name the further sections that may have made a value that `read` gave."""

    def under(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Find rows that are under one of these labels, or say so."""

    def surely_at(self, table: sa.FromClause, labels: Sequence[str]) -> sa.ColumnElement[bool]:
        """Find rows that are under one of these labels in everything they say."""

    def is_key(
        self, table: sa.FromClause, labels: Sequence[str], key: KeyRef
    ) -> sa.ColumnElement[bool]:
        """Find rows that are under one of these labels and this key and version."""

    def at(
        self,
        table: sa.FromClause,
        labels: Sequence[str],
        key_id: str | None = None,
        version: str | None = None,
    ) -> sa.ColumnElement[bool]:
        """Find rows that are, by anything they say, under one of these labels, key and version.

        Args:
            table: The table, or what stands for a row of it.
            labels: The names of a section.
            key_id: The key; None for any.
            version: Its version; None for any. Values whose version wasn't recorded may be of it.
        """

    def key_begins(
        self, table: sa.FromClause, label: str, beginning: str, *, last: bool = False
    ) -> sa.ColumnElement[bool]:
        """Find rows that are, by anything they say, under a label and a key id that begins so.

        Args:
            table: The table, or what stands for a row of it.
            label: The name of a section.
            beginning: How the key id begins; "" for any.
            last: Only where no slash comes behind the beginning.
        """

    def unsure(self, section: str) -> str:
        """Say why rows don't tell whether they are under a section; "" if they do."""

    def groups(self, table: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
        """Give expressions to group by, of which `labels_of` makes labels."""

    def labels_of(self, group: Sequence[Any]) -> Labels:
        """Give the labels of a group; the section is PLAIN or UNREADABLE where there is none."""

    def contradicts(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Find rows whose value says something else than the columns beside it."""

    def problem_with(self, section: str) -> str:
        """Say why a section's values can't stand in the columns; "" if they can."""

    def refuse(self, plaintext: bytes) -> None:
        """Refuse a plaintext that can't be stored, before it is encrypted.

        Raises:
            InvalidPlaintextError: It would be taken for something else when it is read.
        """

    def for_keys(self, keys: KeyManager, order: Sequence[str] = ()) -> Self:
        """Give the codec for a configuration, where its sections matter.

        Args:
            keys: The configured sections.
            order: Where a row may be of several sections, those to try first.
        """
