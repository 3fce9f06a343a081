"""The keys can't go on: neither with this batch nor with another one."""

from __future__ import annotations

from keyhinge import OperationError

__all__ = ["KeysFailedError"]


class KeysFailedError(Exception):
    """Carries the error out to the engine."""

    def __init__(self, error: OperationError) -> None:
        super().__init__(str(error))
        self.error = error
