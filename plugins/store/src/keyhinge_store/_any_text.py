"""Text in SQLite that isn't UTF-8: one such row must not end the reading of all.

SQLite keeps whatever bytes are written into a column of text. What can't be decoded is read as
lone surrogates, which no encrypted value and no context may hold: so the row fails alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa

__all__ = ["read_any_text", "sent"]

_ANY_TEXT = partial(str, encoding="utf-8", errors="surrogateescape")


def read_any_text(engine: sa.Engine) -> None:
    """Let an engine of SQLite read such text."""

    def connected(connection: Any, _: object) -> None:
        connection.text_factory = _ANY_TEXT

    sa.event.listen(engine, "connect", connected)


def sent(value: Any) -> Any:
    """Give what was read from a column as it can be sent back: such text as its bytes.

    The statement has to make text of them again, by a CAST.
    """
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape")
    return value
