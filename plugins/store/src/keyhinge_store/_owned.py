"""Letting go of an engine, if it was made here."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OwnsEngine"]


class OwnsEngine:
    """A context that ends with `close`."""

    engine: sa.Engine
    _own_url: sa.URL | None
    """Where the engine was made from; None if it is somebody else's."""

    def close(self) -> None:
        """Let go of the connections, if the engine was made here. Keys are left open."""
        if self._own_url is not None:
            self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
