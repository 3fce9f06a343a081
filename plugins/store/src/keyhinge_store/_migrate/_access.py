"""Telling a section that has been closed to us from rows that can't be opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyhinge import AccessDeniedError, Decrypt, KeyUnavailableError, Outcome
from keyhinge_store._migrate._keys_failed import KeysFailedError

__all__ = ["Access"]

_CLOSED = (AccessDeniedError, KeyUnavailableError)


class Access:
    """Remembers, for each section, a value that it has opened.

    A token that ends in the middle of a run would make every row behind it one that failed. Where
    all of a batch is refused, what was opened before is tried again: if that is refused too, it
    isn't the rows.
    """

    def __init__(self) -> None:
        self._opened: dict[str, Decrypt] = {}

    def look(
        self,
        items: Sequence[Decrypt],
        outcomes: Sequence[Outcome[bytes]],
        decrypt: Callable[[Sequence[Decrypt]], Sequence[Outcome[bytes]]],
    ) -> None:
        """Look at what became of a batch.

        Args:
            items: The batch.
            outcomes: What became of it.
            decrypt: Decrypts a batch.

        Raises:
            KeysFailedError: A section that was open isn't any more.
        """
        answered, closed = set[str](), set[str]()
        for item, outcome in zip(items, outcomes, strict=True):
            section, error = item.value.section, outcome.error
            if error is None and section not in answered:
                self._opened[section] = item
            if isinstance(error, _CLOSED):
                closed.add(section)
            else:
                answered.add(section)
        for section in closed:
            known = self._opened.get(section)
            if section in answered or known is None:
                continue
            [again] = decrypt([known])
            if isinstance(again.error, _CLOSED):
                raise KeysFailedError(again.error)
