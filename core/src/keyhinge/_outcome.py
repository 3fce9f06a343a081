"""What a batch gives for each of its items."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Generic, TypeVar

from keyhinge._errors import OperationError

__all__ = ["Outcome", "outcomes", "unwrap"]

T = TypeVar("T")


class Outcome(Generic[T]):
    """The result of one item of a batch: a value or an error, never both.

    Attributes:
        error: Why the item failed, or None.
    """

    __slots__ = ("_value", "error")

    error: OperationError | None

    def __init__(self, value: T | None = None, error: OperationError | None = None) -> None:
        self._value = value
        self.error = error

    @property
    def value(self) -> T:
        """The item's result.

        Raises:
            OperationError: The item failed; this is `error`.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self._value  # type: ignore[return-value]

    def __repr__(self) -> str:
        # Never the value: it may be a plaintext.
        return "Outcome(ok)" if self.error is None else f"Outcome(error={self.error!r})"


def unwrap(answer: T | OperationError) -> T:
    """Give an answer, or raise it if it is an error."""
    if isinstance(answer, OperationError):
        try:
            raise answer.with_traceback(None)
        finally:
            del answer  # the traceback refers to this frame: no circle
    return answer


def outcomes(answers: Iterable[T | OperationError]) -> list[Outcome[T]]:
    """Make the outcomes that callers get of a batch's answers."""
    seen: set[int] = set()
    return [
        Outcome(None, _apart(answer, seen))
        if isinstance(answer, OperationError)
        else Outcome(answer)
        for answer in answers
    ]


def _apart(error: OperationError, seen: set[int]) -> OperationError:
    """Give items that failed together an error each: it has a traceback once it is raised."""
    if id(error) in seen:
        return copy(error)
    seen.add(id(error))
    return error
