"""What a request may hold, as far as a server's refusals have told."""

from __future__ import annotations

from typing import NamedTuple

from keyhinge_vault._errors import ServiceError

__all__ = ["Limits", "TooLargeError"]

# OpenBao takes 1,000 strings in a request, names of fields included, if nothing else is configured.
# An item has three values: a text, its context and a reference; 498 of them pass (OpenBao 2.7).
_FIRST_STRINGS = 498
_MOST_STRINGS = 8192
_BYTES = 4 << 20
"""Both servers refuse bodies above 32 MiB by default. Far below that: where a body is much larger
than `max_request_size` the server hangs up instead of saying so, and more gains no time."""


class TooLargeError(ServiceError):
    """A request had too much of something.

    Attributes:
        of_bytes: Whether that were bytes, and not strings; None where the server doesn't tell.
    """

    def __init__(self, messages: list[str]) -> None:
        super().__init__("too-large", status=400)
        text = " ".join(messages).lower()
        strings, memory = "number of strings" in text, "memory" in text or "body" in text
        self.of_bytes: bool | None = None if strings == memory else memory


class Limits(NamedTuple):
    """What a request may hold, as far as it is known.

    Attributes:
        strings: So many strings are sent.
        refused: So many were too many.
        bytes: So many bytes are sent.
    """

    strings: int = _FIRST_STRINGS
    refused: int = _MOST_STRINGS + 1
    bytes: int = _BYTES

    def doubled(self, passed: int) -> Limits:
        """A server that takes so many may take more, if it didn't refuse that many before."""
        if passed + 3 > self.strings and self.strings * 2 < self.refused:
            return self._replace(strings=self.strings * 2)
        return self

    def halved(self, error: TooLargeError | ServiceError, strings: int, size: int) -> Limits:
        """Give what is tried after a request of this size was too large."""
        of_bytes = getattr(error, "of_bytes", True)
        limits = self
        if of_bytes is not False:
            limits = limits._replace(bytes=max(1, size // 2))
        if of_bytes is not True:
            refused = min(limits.refused, strings)
            limits = limits._replace(refused=refused, strings=max(1, strings // 2))
        return limits
