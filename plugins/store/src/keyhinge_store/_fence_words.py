"""What a fence says when it refuses a row, and how it is known again. It holds no value."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["FENCE_STATE", "FENCE_WORDS", "Refused", "refused"]

# Class 23, "integrity constraint violation", so that drivers and frameworks take it for one; the
# rest of the code is ours, and in the range that the standard leaves to implementations.
FENCE_STATE = "23K01"
FENCE_WORDS = "keyhinge fence: section {section} is refused in table {table}"

_WORDS = re.compile(
    r"keyhinge fence: section ([a-z][a-z0-9-]{0,31}) is refused in table (.+)", re.DOTALL
)


class Refused(NamedTuple):
    """What a fence refused."""

    section: str
    table: str


def refused(message: str) -> Refused | None:
    """Read a fence's message; None if it is something else.

    Args:
        message: The database's message, without what a driver adds to it.
    """
    found = _WORDS.fullmatch(message)
    return None if found is None else Refused(*found.groups())
