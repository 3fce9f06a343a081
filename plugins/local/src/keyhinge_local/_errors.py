"""What can be wrong with a key file, and what holds keys."""

from __future__ import annotations

import re
from typing import Literal, NoReturn

from keyhinge import ConfigError, Problem

KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
"""What the id of a key set looks like."""

Kind = Literal["missing", "exists", "denied", "malformed", "refused", "io"]


class KeyFileError(ConfigError):
    """A key file can't be used; the message says why and what to do, never what it holds.

    Attributes:
        kind: "missing" (there is no file), "exists" (there is one, and it isn't overwritten),
            "denied" (owner or mode), "malformed" (the content), "refused" (what was asked for
            can't be done with this file), "io" (the operating system failed).
    """

    kind: Kind

    def __init__(self, kind: Kind, where: str, message: str) -> None:
        super().__init__(Problem(where, message))
        self.kind = kind


class Sensitive:
    """A base for what holds a key: not shown, not copied, not pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, keys hidden>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = f"{type(self).__name__} holds keys and can't be copied or pickled"
        raise TypeError(msg)
