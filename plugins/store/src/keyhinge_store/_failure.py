"""A row that failed, as migrations and verifications tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["RowFailure"]


@attrs.frozen
class RowFailure:
    """A row that was left as it is.

    Attributes:
        key: Its primary key, column by column.
        reason: The name of the error's class.
        message: The error's text, which holds no value.
        sqlstate: Where the database refused the row, its SQLSTATE.
    """

    key: Mapping[str, Any]
    reason: str
    message: str
    sqlstate: str = ""
