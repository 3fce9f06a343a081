"""Connections whose answers are bounded in time and in size, whatever the server sends.

A read time-out alone bounds each wait: a server that sends one byte every few seconds, in its
headers too, holds a caller for hours, and nothing bounds the size. So the sockets themselves look
at the budget of the request that their thread is making.

This module imports requests and urllib3; it is imported at the first operation.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BoundedAdapter", "BoundedTLSSocket", "Budget", "spending"]

_local = threading.local()


class Budget:
    """What is left for one request.

    The operating system's resolver isn't bounded by it; it has time-outs of its own.

    Args:
        seconds: For all of it, connecting included.
        connect_seconds: For connecting, to one address and with the TLS handshake.
        size: Bytes of the answer, headers included.
    """

    __slots__ = ("connect_seconds", "deadline", "over", "peer", "sent", "size")

    def __init__(self, seconds: float, connect_seconds: float, size: int) -> None:
        self.deadline = time.monotonic() + seconds
        self.connect_seconds = connect_seconds
        self.size = size
        self.over = ""
        """What there was too much of: "time" or "size"."""
        self.peer: bytes | None = None
        """The server's certificate, if this request made a TLS connection."""
        self.sent = False
        """Whether anything was sent; if not, there was no connection."""

    def seconds(self) -> float:
        """Give the seconds that are left.

        Raises:
            TimeoutError: There are none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            self.over = "time"
            msg = "no answer in time"
            raise TimeoutError(msg)
        return left

    def connecting(self) -> float:
        """Give the seconds that connecting may take."""
        return min(self.connect_seconds, self.seconds())

    def took(self, size: int) -> None:
        """Count what was received.

        Raises:
            OSError: It was too much.
        """
        self.expect(size)
        self.size -= size

    def expect(self, size: int) -> None:
        """Look whether so much may be received.

        Raises:
            OSError: It would be too much.
        """
        if size > self.size:
            self.over = "size"
            msg = "the answer is too large"
            raise OSError(msg)


class spending:  # noqa: N801 - a context manager, and cheaper than a generator
    """While it is entered, this thread's sockets spend from the budget."""

    __slots__ = ("_budget",)

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __enter__(self) -> Budget:
        _local.budget = self._budget
        return self._budget

    def __exit__(self, *_: object) -> None:
        _local.budget = None


def _budget() -> Budget | None:
    return getattr(_local, "budget", None)


class BoundedSocket(socket.socket):
    """A socket that spends from its thread's budget."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, for as long as there is time."""
        budget = _budget()
        if budget is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(budget.seconds())
        size = super().recv_into(*args, **kwargs)
        budget.took(size)
        return size

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """Send it all, for as long as there is time; Python counts the time-out for all of it."""
        budget = _budget()
        if budget is not None:
            budget.sent = True
            self.settimeout(budget.seconds())
        super().sendall(*args, **kwargs)


class BoundedTLSSocket(ssl.SSLSocket):
    """The same over TLS; a context makes it if it is its `sslsocket_class`."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; Python counts the time-out for all of it."""
        budget = _budget()
        if budget is not None:
            self.settimeout(budget.connecting())
        super().do_handshake(block)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, for as long as there is time."""
        budget = _budget()
        if budget is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(budget.seconds())
        size = super().recv_into(*args, **kwargs)
        budget.took(size)
        return size

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send a part; `sendall` calls this as often as it takes."""
        budget = _budget()
        if budget is not None:
            budget.sent = True
            self.settimeout(budget.seconds())
        return super().send(*args, **kwargs)


def _connect(host: str, port: int, options: Any) -> BoundedSocket:
    """Connect to the first address that takes it."""
    budget = _budget()
    failure: OSError | None = None
    for family, kind, protocol, _, address in _addresses(host, port):
        sock = BoundedSocket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(5.0 if budget is None else budget.connecting())
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure or OSError("the host has no address")


def _addresses(host: str, port: int) -> Iterator[Any]:
    yield from socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)


class _PlainConnection(HTTPConnection):
    debuglevel = 0  # or a program that sets http.client's would print our tokens

    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port, self.socket_options)


class _TLSConnection(HTTPSConnection):
    debuglevel = 0

    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port, self.socket_options)

    def _tunnel(self) -> None:
        sock = self.sock
        try:
            super()._tunnel()
        except BaseException:
            # Python 3.10 leaves a proxy's refusal open, and with it the socket.
            if sock is not None and (descriptor := sock.detach()) >= 0:
                socket.close(descriptor)
            raise

    def connect(self) -> None:
        super().connect()
        # urllib3 would warn at each request where certificates aren't verified; we did once.
        self.is_verified = True
        budget = _budget()
        if budget is not None and isinstance(self.sock, ssl.SSLSocket):
            budget.peer = self.sock.getpeercert(binary_form=True)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class BoundedAdapter(HTTPAdapter):
    """The transport of a requests session, with our sockets and one TLS context.

    Args:
        context: The TLS context; its `sslsocket_class` is set here.
        threads: How many connections are kept.
    """

    def __init__(self, context: ssl.SSLContext, threads: int) -> None:
        context.sslsocket_class = BoundedTLSSocket
        self._context = context
        super().__init__(pool_connections=8, pool_maxsize=threads, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        _use_ours(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        _use_ours(manager)
        return manager

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave the connection as it is: the context says it all."""

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        """Choose a pool by the host alone: the context is the same for all of them."""
        parameters, _ = super().build_connection_pool_key_attributes(request, True, None)
        return parameters, {}


def _use_ours(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TLSPool}
