"""The keys can't go on: neither with this batch nor with another one."""

from __future__ import annotations

from keyhinge import OperationError

__all__ = ["KeysFailedError"]


class KeysFailedError(Exception):
    """Carries the error out to the engine.

    Args:
        error: What a section said.
        about: What it means, and what to do, where that is known.
    """

    def __init__(self, error: OperationError, about: str = "") -> None:
        super().__init__(f"{error}; {about}" if about else str(error))
        self.error = error
