"""One connection to a server: requests in, answers or typed failures out.

It adds no token of its own and tries nothing again. hvac sends the requests; what it doesn't
bound, check or keep from the environment is done here and below.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Collection, Mapping
from datetime import datetime
from json import dumps
from typing import Any, NamedTuple, NoReturn

from keyhinge import ClosedError
from keyhinge_vault._answer import Answer, read_answer
from keyhinge_vault._certificates import not_after, not_after_in
from keyhinge_vault._endpoint import is_loopback
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._names import check_path
from keyhinge_vault._server import Server
from keyhinge_vault._tls import Stamp, stamp_of
from keyhinge_vault._transport import Asked, Session, open_session, send
from keyhinge_vault._wire import has_ciphertext

__all__ = ["Answer", "Connection", "TLSReport"]

log = logging.getLogger("keyhinge.vault")

_inherited: list[object] = []
"""What a forked child has of its parent: never used there, and never closed."""


class TLSReport(NamedTuple):
    """When certificates end; None where there is none, or where it can't be told.

    Attributes:
        server: The server's certificate, as it was when last connected to.
        client: The first certificate of `tlsCertificatePath`.
        ca: The last one to end in `tlsCAPath`, if that is a file.
    """

    server: datetime | None
    client: datetime | None
    ca: datetime | None


class _Live(NamedTuple):
    pid: int
    stamp: Stamp
    session: Session


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
        self._live: _Live | None = None
        self._refused: Stamp | None = None
        self._peer: bytes | None = None
        self._warned = False
        self._closed = False
        self._start_anew()

    def _start_anew(self) -> None:
        pid = os.getpid()
        self._lock = threading.Lock()
        self._open: list[Session] = []
        # Also where nobody calls `close`; it keeps the sessions, so that a child can't lose them.
        self._close = weakref.finalize(self, _close_all, self._open, pid)
        # Last: whoever sees it finds nothing of the parent's any more, a lock that is held least.
        self._pid = pid

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
        asked = outcome = None
        try:
            asked = self._asked(method, check_path(path), json, token, namespace, timeout)
            outcome = self._exchange(asked, accept)
            if isinstance(outcome, Answer):
                return outcome
            raise outcome
        finally:
            # The traceback keeps this frame.
            del outcome, asked, json, token

    def tls_report(self) -> TLSReport:
        """Tell when the certificates end that this connection depends on. Sends nothing."""
        server = self.server
        if not server.is_tls:
            return TLSReport(None, None, None)
        client = not_after_in(server.certificate)
        ca = not_after_in(server.ca)
        return TLSReport(
            server=None if self._peer is None else not_after(self._peer),
            client=client[0] if client else None,
            ca=max(ca) if ca else None,
        )

    def close(self) -> None:
        """Close the session. May be called more than once."""
        self._after_fork()
        with self._lock:
            self._closed = True
            self._live = None
            self._close()

    def __repr__(self) -> str:
        return f"<Connection of section {self.server.section}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Connection can't be pickled or copied"
        raise TypeError(msg)

    # One request

    def _asked(  # noqa: PLR0917
        self,
        method: str,
        path: str,
        json: Mapping[str, Any] | None,
        token: str | None,
        namespace: str | None,
        timeout: float | None,
    ) -> Asked:
        headers = {}
        if token:
            headers["X-Vault-Token"] = token
        if namespace is None:
            namespace = self.server.namespace
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        body = None
        if json is not None:
            headers["Content-Type"] = "application/json"
            body = dumps(json).encode("ascii")
        seconds = self.server.timeout if timeout is None else min(timeout, self.server.timeout)
        return Asked(method.upper(), path, headers, body, seconds)

    def _exchange(
        self, asked: Asked, accept: Collection[int]
    ) -> Answer | ServiceError | ClosedError:
        live = self._session()
        if not isinstance(live, _Live):
            return live
        received = send(live.session, self.server, asked)
        if isinstance(received, ServiceError):
            return received
        if received.peer is not None:
            self._peer = received.peer
        answer = read_answer(received.status, received.content, received.headers, accept)
        if isinstance(answer, ServiceError) and answer.kind == "ciphertext":
            # Where none was sent, no value is to blame, whatever the answer reads like.
            return answer if has_ciphertext(asked.path) else answer.copy("bad-request")
        return answer

    # The session

    def _session(self) -> _Live | ServiceError | ClosedError:
        live = self._live
        if live is not None and live.pid == os.getpid():
            stamp = stamp_of(self.server)
            if stamp in (live.stamp, self._refused):
                return live
        self._after_fork()
        with self._lock:
            return self._renewed()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            # Another thread of the parent may have held the lock, or one of the session's.
            _inherited.append(self._live)
            self._live = None
            self._start_anew()

    def _renewed(self) -> _Live | ServiceError | ClosedError:
        """Make a session of the files as they are now; keep the old one if they can't be used."""
        if self._closed:
            return ClosedError("the provider was closed")
        old = self._live
        stamp = stamp_of(self.server)
        if old is not None and stamp in (old.stamp, self._refused):
            return old
        self._warn()
        try:
            session = open_session(self.server)
        except (OSError, ValueError) as error:
            problem = ServiceError("tls-files", type=type(error).__name__)
        except ImportError as error:
            problem = ServiceError("library", type=type(error).__name__)
        else:
            # The old session isn't closed: requests under way end with it, and then it's gone.
            self._open[:] = [session]
            self._live, self._refused = _Live(self._pid, stamp, session), None
            if old is not None:
                self._log("tls_reloaded", logging.INFO, "the TLS files changed: connecting anew")
            return self._live
        if old is None:
            return problem
        self._refused = stamp
        self._log("tls_files", logging.WARNING, "the changed TLS files can't be used (yet)")
        return old

    def _warn(self) -> None:
        if self._warned:
            return
        self._warned = True
        server = self.server
        if not server.is_tls and (server.proxy or not is_loopback(server.origin.host)):
            text = "endpoint is plain http: whoever is between can read tokens and plaintexts"
            self._log("plain_http", logging.WARNING, text)
        if server.is_tls and server.insecure:
            text = "insecureSkipVerify is on: whoever is between can read tokens and plaintexts"
            self._log("unverified_tls", logging.WARNING, text)

    def _log(self, event: str, level: int, text: str) -> None:
        section = self.server.section
        extra = {"event": f"keyhinge.vault.{event}", "section": section}
        log.log(level, "section %s: %s", section, text, extra=extra)


def _close_all(sessions: list[Session], pid: int) -> None:
    if os.getpid() != pid:
        # Their sockets are the parent's too, and a lock in them may be held for ever.
        _inherited.append(list(sessions))
        return
    for session in sessions:
        session.close()
    sessions.clear()
