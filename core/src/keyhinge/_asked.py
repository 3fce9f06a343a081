"""Counting what a section that builds on others asks of them."""

from __future__ import annotations

import threading
from typing import Literal, NamedTuple

from keyhinge._section import OpenSection

__all__ = ["Asked", "AskedBelow"]


class Asked(NamedTuple):
    """How much a section was asked by those that build on it.

    Attributes:
        calls: Calls to its provider: one for a batch if it has a batch hook, else one for each
            value.
        values: Values in them.
    """

    calls: int
    values: int


class AskedBelow:
    """What one section has asked of those below it, since it was opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Asked] = {}

    def one(self, section: OpenSection) -> None:
        """Count a call with one value."""
        self._add(section.name, 1, 1)

    def many(
        self, section: OpenSection, operation: Literal["encrypt", "decrypt", "rewrap"], values: int
    ) -> None:
        """Count a batch, and what core makes of it where the provider has no hook for it."""
        if not values:
            return
        if f"keyhinge_{operation}_many" in section.hooks:
            self._add(section.name, 1, values)
        elif operation == "rewrap":
            self.many(section, "decrypt", values)
            self.many(section, "encrypt", values)
        else:
            self._add(section.name, values, values)

    def counts(self) -> dict[str, Asked]:
        """Give what was counted, by section."""
        with self._lock:
            return dict(self._counts)

    def _add(self, name: str, calls: int, values: int) -> None:
        with self._lock:
            before = self._counts.get(name, Asked(0, 0))
            self._counts[name] = Asked(before.calls + calls, before.values + values)
