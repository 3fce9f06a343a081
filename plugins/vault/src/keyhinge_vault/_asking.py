"""Sending a request with a given token, once or for as long as patience lasts."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

from keyhinge_vault._answer import Answer
from keyhinge_vault._http import Connection
from keyhinge_vault._retry import Patience

__all__ = ["Asked", "Asking"]

log = logging.getLogger("keyhinge.vault")


class Asked(NamedTuple):
    """What is asked with a token; not shown, since the body may hold plaintexts.

    Attributes:
        again: Whether it is tried again here.
        seconds: What it may take where it isn't; as long as any request if None.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    accept: Collection[int] = ()
    again: bool = True
    seconds: float | None = None

    def __repr__(self) -> str:
        return "<Asked>"


class Asking:
    """Sends requests of one section; keeps nothing.

    Args:
        connection: Sends them.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, token: str | None, asked: Asked, patience: Patience) -> Answer:
        """Send a request.

        Args:
            token: The token to send; None for none.
            asked: The request.
            patience: The bound in time.

        Raises:
            ServiceError: It failed.
            ClosedError: The connection was closed.
        """
        attempt = partial(self._attempt, asked, token)
        try:
            return patience.call(attempt) if asked.again else attempt(asked.seconds)
        finally:
            # The traceback of an error keeps this frame.
            del asked, attempt, token

    def _attempt(self, asked: Asked, token: str | None, seconds: float | None) -> Answer:
        try:
            return self.connection.request(
                asked.method,
                asked.path,
                json=asked.json,
                token=token,
                accept=asked.accept,
                timeout=seconds,
            )
        finally:
            del asked, token

    def longest(self, patience: Patience, requests: int) -> float:
        """Give the seconds after which another thread's work isn't waited for any more.

        Args:
            patience: Of whoever waits.
            requests: How many the other one sends, if there is no trouble.
        """
        return patience.left + requests * self.connection.server.timeout

    def say(self, event: str, level: int, text: str) -> None:
        """Log something of this section."""
        section = self.connection.server.section
        extra = {"event": f"keyhinge.vault.{event}", "section": section}
        log.log(level, "section %s: %s", section, text, extra=extra)
