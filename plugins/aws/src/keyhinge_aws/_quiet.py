"""Keeping the client library from logging what it sends.

At DEBUG, botocore logs each request with plaintext, ciphertext, signature and session token. An
application that turns DEBUG on for everything doesn't mean that. So while a call of ours runs,
what the library logs in this thread below WARNING is dropped; what it logs for the application,
in other threads or at other times, is not touched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("boto3", "botocore", "urllib3", "s3transfer", "awscrt")

_running = threading.local()


class _OwnCalls(logging.Filter):
    """Drops what is logged below WARNING in a thread that runs one of our calls."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(_running, "depth", 0):
            return True
        if record.levelno < logging.WARNING:
            return False
        # The frames of a traceback hold requests and credentials, for whoever looks into them.
        record.exc_info = record.exc_text = None
        return True


_filter = _OwnCalls()
_seen = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Run a call of the client library without its debugging logs."""
    _cover()
    _running.depth = getattr(_running, "depth", 0) + 1
    try:
        yield
    finally:
        _running.depth -= 1


def _cover() -> None:
    """Put the filter on every logger of the libraries: a filter isn't inherited by children."""
    global _seen  # noqa: PLW0603 - loggers are global, too
    known = logging.root.manager.loggerDict
    if len(known) == _seen:
        return
    count = len(known)
    for name in list(known):
        if name.partition(".")[0] in _LIBRARIES:
            logging.getLogger(name).addFilter(_filter)  # adding it twice does nothing
    _seen = max(count, len(known))
