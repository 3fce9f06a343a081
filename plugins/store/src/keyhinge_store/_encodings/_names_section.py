"""What is the same in every encoding in which a row, or its value, names the section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keyhinge import EncryptedValue

if TYPE_CHECKING:
    from typing_extensions import Self

    from keyhinge import KeyManager

__all__ = ["NamesSection"]


class NamesSection:
    """Nobody has to guess whose a value is, and values of all sections can stand here."""

    __slots__ = ()

    def others(self, value: EncryptedValue) -> tuple[str, ...]:
        """Give nothing: no other section may have made it."""
        return ()

    def unsure(self, section: str) -> str:
        """Give nothing: there is no doubt."""
        return ""

    def problem_with(self, section: str) -> str:
        """Give nothing: it holds the values of every section."""
        return ""

    def refuse(self, plaintext: bytes) -> None:
        """Refuse nothing."""

    def contradicts(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Find nothing: there is nothing beside the value that says the same."""
        return sa.false()

    def for_keys(self, keys: KeyManager, order: Sequence[str] = ()) -> Self:
        """Give itself: which sections are configured doesn't matter."""
        return self
