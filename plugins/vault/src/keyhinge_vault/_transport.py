"""The client library's part: a session that takes nothing from the environment, and one request.

Nothing here imports hvac or requests before the first request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from keyhinge_vault._errors import ServiceError
from keyhinge_vault._failures import kind_of_exception
from keyhinge_vault._redirect import REDIRECTS, redirect_target
from keyhinge_vault._server import CONNECT_SECONDS, Server
from keyhinge_vault._tls import make_context

if TYPE_CHECKING:
    import requests

    from keyhinge_vault._adapter import PreparedAdapter
    from keyhinge_vault._bounded import Budget

__all__ = ["Asked", "Received", "Session", "open_session", "send"]

THREADS = 64
"""How many connections are kept open; more are made when they are needed, and not kept."""

_SMALL = 1 << 20
_LARGEST = 96 << 20
_PIECE = 1 << 18
_SERVERS_LIMIT = 32 << 20
"""Bytes of a request that the servers take unless they are told otherwise.

Source: the listener's `max_request_size` in Vault's and OpenBao's documentation.
"""


class Asked(NamedTuple):
    """A request that is ready to be sent; not shown, since it holds a token."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    seconds: float

    def __repr__(self) -> str:
        return "<Asked>"


class Received(NamedTuple):
    """An answer as it came; not shown, since it may hold a token.

    Attributes:
        peer: The server's certificate, if it was a new TLS connection.
    """

    status: int
    content: bytes
    headers: Mapping[str, str]
    peer: bytes | None = None

    def __repr__(self) -> str:
        return "<Received>"


class Session(NamedTuple):
    """A session of the client library, and hvac's adapter over it."""

    session: requests.Session
    adapter: PreparedAdapter

    def close(self) -> None:
        """Close its connections; those in use are closed when their requests end."""
        self.session.close()


def open_session(server: Server) -> Session:
    """Make a session of the TLS files as they are now. Connects nowhere.

    Raises:
        OSError: The TLS files can't be used.
        ValueError: They can't even be looked for.
    """
    import hvac
    import requests

    from keyhinge_vault._adapter import PreparedAdapter
    from keyhinge_vault._bounded import BoundedAdapter

    transport = BoundedAdapter(make_context(server), THREADS)
    session = requests.Session()
    session.trust_env = False  # no proxies, no netrc, no CA bundle of the environment
    session.adapters.clear()
    session.mount("http://", transport)
    session.mount("https://", transport)
    if server.proxy is not None:
        proxy = server.proxy.reveal()
        session.proxies = {"http": proxy, "https": proxy}
    # All of it is given: whatever is None, hvac takes from the environment.
    client = hvac.Client(
        url=server.endpoint,
        token="",
        cert=(),  # type: ignore[arg-type]
        verify=True,
        timeout=server.timeout,  # type: ignore[arg-type]
        proxies=dict(session.proxies),
        allow_redirects=False,
        session=session,
        adapter=PreparedAdapter,
        namespace="",
    )
    adapter: Any = client.adapter
    return Session(session, adapter)


def send(session: Session, server: Server, asked: Asked) -> Received | ServiceError:
    """Send a request, follow one redirect if it may be followed, read the answer to its end."""
    from keyhinge_vault._bounded import Budget, spending

    size = min(_SMALL + 6 * len(asked.body or b""), _LARGEST)
    budget = Budget(asked.seconds, CONNECT_SECONDS, size)
    method, path = asked.method, asked.path
    try:
        with spending(budget):
            status, content, headers = _exchange(session, asked, f"v1/{path}", budget)
            if status in REDIRECTS:
                location = headers.get("Location", "")
                target = redirect_target(server, method, path, status, location)
                if target is None:
                    return ServiceError("redirect", status=status)
                status, content, headers = _exchange(session, asked, target, budget)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not come out
        kind = kind_of_exception(error, budget.over)
        if kind == "connection" and budget.sent and len(asked.body or b"") > _SERVERS_LIMIT:
            # The server answers 413 and closes while we still send: often its answer is lost.
            kind = "too-large"
        return ServiceError(kind, type=type(error).__name__)
    if status in REDIRECTS:
        return ServiceError("redirect", status=status)
    return Received(status, content, headers, budget.peer)


def _exchange(
    session: Session, asked: Asked, url: str, budget: Budget
) -> tuple[int, bytes, Mapping[str, str]]:
    response: Any = session.adapter.request(
        asked.method,
        url,
        headers=asked.headers,
        raise_exception=False,
        data=asked.body,
        timeout=asked.seconds,
    )
    try:
        content = _read(response, budget)
    finally:
        response.close()
    return response.status_code, content, response.headers


def _read(response: Any, budget: Budget) -> bytes:
    """Read the body as it is: what is packed is not unpacked, since it may be a bomb."""
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit():
        # Python makes room for all that is announced, so the announcement counts.
        budget.expect(int(length))
        whole: bytes = response.raw.read(decode_content=False)
        return whole
    pieces = []
    while piece := response.raw.read(_PIECE, decode_content=False):
        pieces.append(piece)
    return b"".join(pieces)
