"""One connection to a server: requests in, answers or typed failures out.

It adds no token of its own and tries nothing again. hvac builds the requests; what it doesn't
bound, check or keep from the environment is done here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from json import dumps, loads
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from keyhinge import ClosedError
from keyhinge_vault._endpoint import is_loopback
from keyhinge_vault._errors import ServiceError, classify
from keyhinge_vault._failures import kind_of_exception
from keyhinge_vault._names import check_path
from keyhinge_vault._redirect import REDIRECTS, redirect_target
from keyhinge_vault._server import CONNECT_SECONDS, Server
from keyhinge_vault._tls import Stamp, make_context, stamp_of

if TYPE_CHECKING:
    import requests

    from keyhinge_vault._adapter import PreparedAdapter

__all__ = ["Answer", "Connection"]

log = logging.getLogger("keyhinge.vault")

THREADS = 32
"""How many connections are kept open; more are made when they are needed, and not kept."""

_SMALL = 1 << 20
_LARGEST = 96 << 20
_inherited: list[object] = []
"""What a forked child has of its parent: never used there, and never closed."""


class Answer:
    """What the server answered. Its body may hold tokens and plaintexts: it isn't shown or copied.

    Attributes:
        status: The HTTP status.
        body: The whole answer; empty where there was none.
        date: The header `Date`, for the server's clock.
    """

    __slots__ = ("body", "date", "status")

    def __init__(self, status: int, body: dict[str, Any], date: str) -> None:
        self.status = status
        self.body = body
        self.date = date

    @property
    def data(self) -> dict[str, Any]:
        """The answer's `data`; empty where there is none."""
        return _mapping(self.body.get("data"))

    @property
    def auth(self) -> dict[str, Any]:
        """The answer's `auth`, of a login or renewal; empty where there is none."""
        return _mapping(self.body.get("auth"))

    @property
    def warnings(self) -> list[str]:
        """The answer's warnings."""
        return _texts(self.body.get("warnings"))

    @property
    def errors(self) -> list[str]:
        """The answer's errors, where a status of 400 or more was accepted."""
        return _texts(self.body.get("errors"))

    @property
    def request_id(self) -> str:
        """The server's id of the request."""
        return _request_id(self.body)

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Answer may hold tokens and plaintexts and can't be pickled or copied"
        raise TypeError(msg)


class _Asked(NamedTuple):
    """A request that is ready to be sent; not shown, since it holds a token."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    seconds: float

    def __repr__(self) -> str:
        return "<_Asked>"


class _Live(NamedTuple):
    """A session and what it was made of."""

    pid: int
    stamp: Stamp
    session: requests.Session
    adapter: PreparedAdapter


class Connection:
    """Sends requests to one server, from any thread.

    Nothing is connected, read or imported before the first request. In a forked child the
    sockets of the parent aren't touched. When a TLS file changes, a new session is made; if the
    new files can't be used (yet), the old session goes on.

    Args:
        server: Where, and how.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lock = threading.Lock()
        self._live: _Live | None = None
        self._refused: Stamp | None = None
        self._warned = False
        self._closed = False
        self._pid = os.getpid()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        token: str | None = None,
        namespace: str | None = None,
        accept: Collection[int] = (),
        timeout: float | None = None,
    ) -> Answer:
        """Send one request, once.

        Args:
            method: "GET", "POST", "PUT", "DELETE" or "LIST".
            path: The path below `/v1/`, made by `api_path`.
            json: The body.
            token: The token to send; None for none.
            namespace: The namespace; the server's own if None, "" for none.
            accept: Statuses of 400 and more that are answers too.
            timeout: Seconds; never more than the server's own.

        Returns:
            The answer: its status is below 300, or one of `accept`.

        Raises:
            ServiceError: Anything else. Nothing is chained to it.
            ClosedError: The connection was closed.
            ValueError: The path isn't one.
        """
        headers = {}
        if token:
            headers["X-Vault-Token"] = token
        if namespace is None:
            namespace = self.server.namespace
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        body = None if json is None else dumps(json).encode("ascii")
        if body is not None:
            headers["Content-Type"] = "application/json"
        seconds = self.server.timeout if timeout is None else min(timeout, self.server.timeout)
        asked = _Asked(method.upper(), check_path(path), headers, body, seconds)
        outcome = self._exchange(asked, accept)
        if isinstance(outcome, Answer):
            return outcome
        try:
            raise outcome
        finally:
            # The traceback keeps this frame.
            del outcome, asked, headers, body, json, token

    def close(self) -> None:
        """Close the session. May be called more than once; requests under way still end."""
        self._closed = True
        live, self._live = self._live, None
        if live is not None and live.pid == os.getpid():
            live.session.close()

    def __repr__(self) -> str:
        return f"<Connection of section {self.server.section}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Connection can't be pickled or copied"
        raise TypeError(msg)

    # One request

    def _exchange(self, asked: _Asked, accept: Collection[int]) -> Answer | ServiceError:
        live = self._session()
        if isinstance(live, ServiceError):
            return live
        from keyhinge_vault._bounded import Budget, spending

        size = min(_SMALL + 6 * len(asked.body or b""), _LARGEST)
        budget = Budget(asked.seconds, CONNECT_SECONDS, size)
        try:
            with spending(budget):
                status, content, found = _send(live, asked, f"v1/{asked.path}")
                if status in REDIRECTS:
                    location = found.get("Location", "")
                    target = redirect_target(
                        self.server, asked.method, asked.path, status, location
                    )
                    if target is None:
                        return ServiceError("redirect", status=status)
                    status, content, found = _send(live, asked, target)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not come out
            return ServiceError(kind_of_exception(error, budget.over), type=type(error).__name__)
        if status in REDIRECTS:
            return ServiceError("redirect", status=status)
        return _answer(status, content, found, accept)

    # The session

    def _session(self) -> _Live | ServiceError:
        live = self._live
        if live is not None and live.pid == os.getpid():
            stamp = stamp_of(self.server)
            if stamp in (live.stamp, self._refused):
                return live
        self._after_fork()
        with self._lock:
            return self._renewed()

    def _after_fork(self) -> None:
        pid = os.getpid()
        if self._pid != pid:
            # Another thread of the parent may have held the lock.
            _inherited.append(self._live)
            self._pid, self._lock, self._live = pid, threading.Lock(), None

    def _renewed(self) -> _Live | ServiceError:
        """Make a session of the files as they are now; the old one's if they can't be used."""
        if self._closed:
            msg = "the provider was closed"
            raise ClosedError(msg)
        old = self._live
        stamp = stamp_of(self.server)
        if old is not None and stamp in {old.stamp, self._refused}:
            return old
        self._warn()
        try:
            live = _open(self.server, stamp)
        except (OSError, ValueError) as error:
            problem = ServiceError("tls-files", type=type(error).__name__)
        else:
            self._live, self._refused = live, None
            if old is not None:
                self._log("tls_reloaded", logging.INFO, "the TLS files changed: connecting anew")
                old.session.close()
            return live
        if old is None:
            return problem
        self._refused = stamp
        self._log("tls_files", logging.WARNING, "the new TLS files can't be used (yet)")
        return old

    def _warn(self) -> None:
        if self._warned:
            return
        self._warned = True
        server = self.server
        if not server.is_tls and (server.proxy or not is_loopback(server.origin.host)):
            self._log(
                "plain_http",
                logging.WARNING,
                "endpoint is plain http: whoever is between reads tokens and plaintexts",
            )
        if server.insecure:
            self._log(
                "unverified_tls",
                logging.WARNING,
                "insecureSkipVerify is on: whoever is between can read tokens and plaintexts",
            )

    def _log(self, event: str, level: int, text: str) -> None:
        section = self.server.section
        extra = {"event": f"keyhinge.vault.{event}", "section": section}
        log.log(level, "section %s: %s", section, text, extra=extra)


def _open(server: Server, stamp: Stamp) -> _Live:
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
    proxy = server.proxy.reveal() if server.proxy is not None else ""
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    # All of it is given: whatever is None, hvac takes from the environment.
    client = hvac.Client(
        url=server.endpoint,
        token="",
        cert=(),  # type: ignore[arg-type]
        verify=True,
        timeout=server.timeout,  # type: ignore[arg-type]
        proxies=session.proxies,
        allow_redirects=False,
        session=session,
        adapter=PreparedAdapter,
        namespace="",
    )
    adapter: Any = client.adapter
    return _Live(os.getpid(), stamp, session, adapter)


def _send(live: _Live, asked: _Asked, url: str) -> tuple[int, bytes, Mapping[str, str]]:
    """Send a request and read the answer to its end."""
    response: Any = live.adapter.request(
        asked.method,
        url,
        headers=asked.headers,
        raise_exception=False,
        data=asked.body,
        timeout=asked.seconds,
    )
    try:
        content = response.raw.read(decode_content=False)
    finally:
        response.close()
    return response.status_code, content, response.headers


# Reading answers


def _answer(
    status: int, content: bytes, headers: Mapping[str, str], accept: Collection[int]
) -> Answer | ServiceError:
    body: Any = None
    with suppress(ValueError, RecursionError):
        body = loads(content) if content else {}
    genuine = isinstance(body, dict)
    if not genuine:
        body = {}
    if status < 300 or status in accept:
        if not genuine:
            return ServiceError("answer", status=status)
        return Answer(status, body, headers.get("Date", ""))
    if not genuine and status in {400, 401, 403, 404, 405}:
        kind = "answer"  # a web server, or a proxy before the real one
    else:
        kind = classify(status, _texts(body.get("errors")))
    wait = headers.get("Retry-After", "")
    return ServiceError(
        kind,
        status=status,
        request_id=_request_id(body),
        retry_after=float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 8 else None,
    )


def _mapping(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _texts(found: Any) -> list[str]:
    if not isinstance(found, list):
        return []
    return [text for text in found if isinstance(text, str)]


def _request_id(body: Mapping[str, Any]) -> str:
    found = body.get("request_id")
    plain = isinstance(found, str) and len(found) <= 64 and found.replace("-", "").isalnum()
    return found if plain and isinstance(found, str) else ""
