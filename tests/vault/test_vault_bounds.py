"""Answers without an end. The servers here are stubs for faults that no real server has."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge_vault._errors import ServiceError
from keyhinge_vault._http import Connection
from keyhinge_vault._server import Server

if TYPE_CHECKING:
    from tests.vault._openbao import Tls

TIMEOUT = 0.5
PATIENCE = 5.0
"""Seconds after which a test says that a bound doesn't hold; the time-out is a tenth of it."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Behave = Callable[[socket.socket], None]


class Stub:
    """A stub that isn't a server: what it does with a connection is a test's function."""

    def __init__(self, behave: Behave, context: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.port: int = self._listener.getsockname()[1]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._context is None:
                with connection:
                    self._behave(connection)
            else:
                with self._context.wrap_socket(connection, server_side=True) as wrapped:
                    self._connections.append(wrapped)
                    self._behave(wrapped)

    def close(self) -> None:
        for open_socket in (self._listener, *self._connections):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def ask() -> Iterator[Callable[..., ServiceError]]:
    """Ask a stub with the given behaviour; give the error, which comes in time."""
    closing: list[Any] = []

    def asking(behave: Behave, tls: Tls | None = None, json: Any = None) -> ServiceError:
        stub = Stub(behave, None if tls is None else tls.server_context())
        closing.append(stub)
        scheme = "http" if tls is None else "https"
        endpoint = f"{scheme}://127.0.0.1:{stub.port}"
        server = Server(
            section="vault", endpoint=endpoint, timeout=TIMEOUT, ca=tls.ca_path if tls else None
        )
        connection = Connection(server)
        closing.append(connection)
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            connection.request("POST", "x", json=json)
        assert time.monotonic() - started < PATIENCE
        assert caught.value.__context__ is caught.value.__cause__ is None
        return caught.value

    yield asking
    for thing in reversed(closing):
        thing.close()


def dripping(head: bytes, drop: bytes, pause: float = 0.1) -> Behave:
    """Send something, then a little again and again: each wait is shorter than the time-out."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(pause)

    return behave


def flooding(head: bytes, flood: bytes) -> Behave:
    return dripping(head, flood * (65536 // len(flood)), 0)


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


DRIPS = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "headers": (HEAD + b"X: ", b"y"),
    "header lines": (HEAD, b"X: y\r\n"),
    "body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "body without a length": (HEAD + b"\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's length": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


class TestTime:
    """The whole answer counts, not each wait."""

    @pytest.mark.parametrize("what", sorted(DRIPS))
    def test_dripping(self, ask: Callable[..., ServiceError], what: str):
        error = ask(dripping(*DRIPS[what]))
        assert error.kind == "timeout"
        assert error.retry

    @pytest.mark.parametrize("what", ["headers", "body", "body without a length", "chunks"])
    def test_dripping_over_tls(self, ask: Callable[..., ServiceError], tls: Tls, what: str):
        assert ask(dripping(*DRIPS[what]), tls).kind == "timeout"

    def test_silence(self, ask: Callable[..., ServiceError], tls: Tls):
        assert ask(silent).kind == "timeout"
        assert ask(silent, tls).kind == "timeout"

    def test_handshake_that_never_ends(self, tls: Tls):
        """What listens there doesn't speak TLS, nor anything."""
        stub = Stub(silent)
        endpoint = f"https://127.0.0.1:{stub.port}"
        server = Server(section="vault", endpoint=endpoint, timeout=TIMEOUT, ca=tls.ca_path)
        connection = Connection(server)
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            connection.request("GET", "x")
        assert time.monotonic() - started < PATIENCE
        assert caught.value.kind == "timeout"
        connection.close()
        stub.close()

    @pytest.mark.parametrize("secure", [False, True])
    def test_reading_nothing(self, ask: Callable[..., ServiceError], tls: Tls, secure: bool):
        """A server that takes a large request in sips, or not at all, holds nobody either."""

        def behave(connection: socket.socket) -> None:
            while connection.recv(4096):
                time.sleep(0.1)

        body = {"plaintext": "A" * (24 << 20)}
        assert ask(behave, tls if secure else None, body).kind == "timeout"

    def test_shorter_for_one_request(self, ask: Callable[..., ServiceError]):
        """Near the end of a call's patience less time is left than the settings allow."""
        stub = Stub(silent)
        server = Server(section="vault", endpoint=f"http://127.0.0.1:{stub.port}", timeout=60.0)
        connection = Connection(server)
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            connection.request("GET", "x", timeout=0.3)
        assert time.monotonic() - started < PATIENCE
        assert caught.value.kind == "timeout"
        connection.close()
        stub.close()


HUGE = str(1 << 50).encode()

FLOODS = {
    "body": (HEAD + b"Content-Length: " + HUGE + b"\r\n\r\n", b" "),
    "body without a length": (HEAD + b"\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"8\r\n        \r\n"),
    "one chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffff\r\n", b" "),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header": (HEAD + b"X: ", b"y"),
    "headers": (HEAD, b"X: y\r\n"),
}


class TestSize:
    """An answer may be a few times as large as its request, and a megabyte."""

    @pytest.mark.parametrize("what", sorted(FLOODS))
    def test_flood(self, ask: Callable[..., ServiceError], what: str):
        error = ask(flooding(*FLOODS[what]))
        # Python itself refuses a line without an end, and too many headers.
        kinds = {"answer"} if what in {"a header", "headers"} else {"answer-size"}
        assert error.kind in kinds
        assert not error.retry

    def test_flood_over_tls(self, ask: Callable[..., ServiceError], tls: Tls):
        assert ask(flooding(*FLOODS["body without a length"]), tls).kind == "answer-size"

    def test_announced_alone(self, ask: Callable[..., ServiceError]):
        """Python would make room for all that is announced."""

        def behave(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(HEAD + b"Content-Length: 9999999999999\r\n\r\n{")
            silent(connection)

        assert ask(behave).kind == "answer-size"

    @pytest.mark.parametrize("length", [b"-1", b"x", b"1, 2"])
    def test_no_length(self, ask: Callable[..., ServiceError], length: bytes):
        def behave(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(HEAD + b"Content-Length: " + length + b"\r\n\r\n[]")

        assert ask(behave).kind in {"answer", "connection", "client"}


class TestBroken:
    """Answers that end early, or never were any."""

    @pytest.mark.parametrize(
        ("text", "kinds"),
        [
            (b"", {"connection"}),
            (HEAD + b"Content-Length: 100\r\n\r\n{}", {"connection"}),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", {"connection"}),
            (
                HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                {"connection", "answer", "client"},
            ),
            (b"SSH-2.0-OpenSSH_9.2\r\n", {"answer"}),
            (b"\x15\x03\x01\x00\x02\x02\x16", {"answer"}),
        ],
    )
    def test_text(self, ask: Callable[..., ServiceError], text: bytes, kinds: set[str]):
        def behave(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(text)

        assert ask(behave).kind in kinds

    def test_reset(self, ask: Callable[..., ServiceError]):
        def behave(connection: socket.socket) -> None:
            connection.recv(10)
            linger = b"\1\0\0\0\0\0\0\0"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        error = ask(behave)
        assert (error.kind, error.retry) == ("connection", True)
        # That is how it looks when a server refuses a body that is too large for it.
        error = ask(behave, None, {"plaintext": "A" * (40 << 20)})
        assert (error.kind, error.retry) == ("too-large", False)
