"""A proxy of the tests' own in front of a real server: an agent, a witness, a source of faults.

It passes on what it is sent. A test may add headers (as Vault Agent adds the token), look at what
went by, or answer instead of the server where a real one can't be brought to.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_DROPPED = {"connection", "host", "content-length", "transfer-encoding", "keep-alive"}


class Seen(NamedTuple):
    """A request that went by."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON; None where there is none."""
        return json.loads(self.body) if self.body else None


Reply = tuple[int, dict[str, str], bytes]


class Relay:
    """Listens on a free port of 127.0.0.1 until it is closed.

    Attributes:
        url: Where it listens.
        headers: What it adds to each request, as in `{"X-Vault-Token": …}`.
        seen: The requests, in the order in which they came; header names in lower case.
        intercept: Called with each request. None passes it on; a reply (status, headers, body)
            is sent instead; "drop" cuts the connection without an answer.
        alter: Called with each request and the server's reply; gives the reply to send.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.headers: dict[str, str] = {}
        self.seen: list[Seen] = []
        self.intercept: Callable[[Seen], Reply | str | None] = lambda seen: None
        self.alter: Callable[[Seen, Reply], Reply] = lambda seen, reply: reply
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, path: str) -> int:
        """Count the requests whose path begins so, without the `/v1/`."""
        return sum(seen.path.startswith(f"/v1/{path}") for seen in self.seen)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pass_on(self, seen: Seen) -> Reply:
        """Ask the real server."""
        connection = http.client.HTTPConnection(self.target.netloc, timeout=30)
        try:
            kept = {name: value for name, value in seen.headers.items() if name not in _DROPPED}
            # With a body of b"" http.client sends no length for GET; None and b"" differ for PUT.
            connection.request(seen.method, seen.path, seen.body, {**kept, **self.headers})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _DROPPED}
        return answer.status, headers, content


def _handler(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def relay_it(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, self.rfile.read(length))
            relay.seen.append(seen)
            reply = relay.intercept(seen)
            if isinstance(reply, str):  # "drop"
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if reply is None:
                try:
                    reply = relay.pass_on(seen)
                except OSError:
                    reply = (502, {}, b'{"errors": ["the relay reaches no server"]}')
            self.answer(relay.alter(seen, reply))

        def answer(self, reply: Reply) -> None:
            status, headers, content = reply
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client gave up: that is what some tests try

        do_GET = do_POST = do_PUT = do_DELETE = do_LIST = relay_it

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    return Handler
