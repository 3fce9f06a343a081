"""What went wrong below HTTP, told from the library's exceptions. Nothing of them is kept."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

__all__ = ["kind_of_exception"]

_DEEPEST = 12
# `HTTPException` itself is what http.client raises at more than a hundred headers.
_NO_HTTP = {
    "BadStatusLine",
    "HTTPException",
    "HeaderParsingError",
    "LineTooLong",
    "UnknownProtocol",
}


def kind_of_exception(error: BaseException, over: str = "") -> str:
    """Name the kind of failure; see `KINDS`.

    Args:
        error: What requests, urllib3 or Python raised.
        over: What the request's budget had too little of, "time" or "size".
    """
    if over:
        return "timeout" if over == "time" else "answer-size"
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "tls-untrusted"
    if any(isinstance(cause, ValueError) for cause in causes):
        return "client"  # a header or a host that can't be sent
    if "ProxyError" in names:
        return "proxy"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "name"
    if any(isinstance(cause, TimeoutError) for cause in causes) or "Timeout" in names:
        return "timeout"
    tls = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
    if tls:
        return "tls-alert" if not any(map(_ended, tls)) else "connection"
    if names & _NO_HTTP:
        return "answer" if "RemoteDisconnected" not in names else "connection"
    if any(isinstance(cause, OSError) for cause in causes) or "IncompleteRead" in names:
        return "connection"
    return "client"


def _ended(error: ssl.SSLError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an exception and all that it stands for: libraries hide them in several places."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _DEEPEST:
        found = waiting.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__, getattr(found, "reason", None)]
        waiting += found.args
