"""Where a redirect may lead. Token and plaintext go along, so: almost nowhere.

A standby node redirects to the active one, under the same path. Only that is followed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from keyhinge_vault._endpoint import Origin, endpoint_problem, origin_of
from keyhinge_vault._server import Server

__all__ = ["REDIRECTS", "redirect_target"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})


def redirect_target(
    server: Server, method: str, path: str, status: int, location: str
) -> str | None:
    """Give the URL to repeat a request at; None if the redirect is refused.

    Args:
        server: The server that redirected, with what it may redirect to.
        method: The request's method, in capitals.
        path: The request's path below `/v1/`.
        status: The answer's status, one of `REDIRECTS`.
        location: The answer's header.
    """
    if method != "GET" and status not in _KEEP_METHOD:
        return None  # it would become a GET, and lose its body
    wanted = f"/v1/{path}"
    if location.startswith("/") and not location.startswith("//"):
        location = _root(server) + location
    base, found = location[: -len(wanted)], location[-len(wanted) :]
    if found != wanted or endpoint_problem(base) is not None:
        return None
    if urlsplit(base).path.rstrip("/") not in {"", urlsplit(server.endpoint).path}:
        return None
    if server.is_tls and not base.lower().startswith("https:"):
        return None
    target = origin_of(base)
    if target in server.redirects or Origin(target.host, None) in server.redirects:
        return base + wanted
    return None


def _root(server: Server) -> str:
    split = urlsplit(server.endpoint)
    return f"{split.scheme}://{split.netloc}"
