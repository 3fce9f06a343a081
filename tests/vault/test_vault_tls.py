"""TLS: who is trusted, client certificates, and files that change under a running application."""

from __future__ import annotations

import base64
import gc
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from keyhinge import Secret, UnavailableError
from keyhinge_vault._certificates import not_after, not_after_in
from keyhinge_vault._errors import ServiceError, operation_error
from keyhinge_vault._http import Connection
from keyhinge_vault._server import Server

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Tls

CLOSED = {"tls-alert", "connection"}
"""How a server that misses a client certificate looks: with TLS 1.3 it says so after the handshake,
and closes; whether its alert or the reset comes first is chance."""

Connect = Callable[..., Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make connections that are closed at the end."""
    made: list[Connection] = []

    def make(endpoint: str, client: tuple[Path, Path] | None = None, **options: Any) -> Connection:
        if client is not None:
            options.update(certificate=client[0], key=client[1])
        server = Server(section="vault", endpoint=endpoint, timeout=5.0, **options)
        made.append(Connection(server))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


def health(connection: Connection) -> int:
    return connection.request("GET", "sys/health").status


def kind(connection: Connection) -> str:
    with pytest.raises(ServiceError) as caught:
        health(connection)
    assert caught.value.__context__ is caught.value.__cause__ is None
    return caught.value.kind


def replace(path: Path, source: Path) -> None:
    """Put a file in another's place in one step, as agents and kubelets do."""
    new = path.with_suffix(".new")
    shutil.copyfile(source, new)
    new.replace(path)


class TestTrust:
    def test_known_authority(self, tls_bao: Bao, tls: Tls, connect: Connect):
        assert health(connect(tls_bao.url, tls.admin, ca=tls.ca_path)) == 200

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the names of files")
    def test_folder_of_authorities(self, tls_bao: Bao, tls: Tls, connect: Connect, tmp_path: Path):
        """OpenSSL finds certificates in a folder by a name that it makes of the subject."""
        pem = tls.ca_path.read_bytes()
        for name in _hashed_names(tls.ca_path):
            (tmp_path / name).write_bytes(pem)
        assert health(connect(tls_bao.url, tls.admin, ca=tmp_path)) == 200

    def test_strangers(
        self, tls_bao: Bao, tls: Tls, connect: Connect, make_tls: Callable[..., Tls]
    ):
        """Neither another authority nor the system's ones vouch for it."""
        assert kind(connect(tls_bao.url, tls.admin, ca=make_tls().ca_path)) == "tls-untrusted"
        assert kind(connect(tls_bao.url, tls.admin)) == "tls-untrusted"

    def test_another_name(self, tls: Tls, tls_bao: Bao, connect: Connect):
        """The certificate is for 127.0.0.1 and localhost, and this is the same server."""
        url = tls_bao.url.replace("127.0.0.1", "127.0.0.2")
        assert kind(connect(url, tls.admin, ca=tls.ca_path)) in {"tls-untrusted", "connection"}

    def test_name_of_the_subject_does_not_count(
        self, connect: Connect, make_tls: Callable[..., Tls], serve: Serve
    ):
        tls = make_tls()
        certificate = tls.authority.issue_cert("other.example", common_name="localhost")
        url = serve(certificate).replace("127.0.0.1", "localhost")
        assert kind(connect(url, ca=tls.ca_path)) == "tls-untrusted"

    def test_ended(self, connect: Connect, make_tls: Callable[..., Tls], serve: Serve):
        tls = make_tls()
        ended = datetime.now(timezone.utc) - timedelta(days=1)
        certificate = tls.authority.issue_cert("127.0.0.1", not_after=ended)
        assert kind(connect(serve(certificate), ca=tls.ca_path)) == "tls-untrusted"

    def test_intermediate_as_anchor(self, connect: Connect, serve: Serve, tmp_path: Path):
        """As the servers' own tools take it; and a self-signed certificate is its own."""
        root = trustme.CA()
        child = root.create_child_ca()
        child.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        url = serve(child.issue_cert("127.0.0.1"))
        assert health(connect(url, ca=tmp_path / "ca.pem")) == 200

    def test_old_protocol(self, connect: Connect, make_tls: Callable[..., Tls], serve: Serve):
        """Nothing below TLS 1.2 is spoken."""
        tls = make_tls()

        def old(context: ssl.SSLContext) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = ssl.TLSVersion.TLSv1_1

        url = serve(tls.authority.issue_cert("127.0.0.1"), old)
        assert kind(connect(url, ca=tls.ca_path)) in CLOSED

    def test_plain_http_at_a_tls_port(self, tls_bao: Bao, connect: Connect):
        """The server says 400 in plain text, which isn't its API."""
        assert kind(connect(tls_bao.url.replace("https", "http"))) == "answer"

    def test_tls_at_a_plain_port(self, bao: Bao, tls: Tls, connect: Connect):
        assert kind(connect(bao.url.replace("http", "https"), ca=tls.ca_path)) in CLOSED


class TestClientCertificate:
    def test_missing_or_strange(self, tls_bao: Bao, tls: Tls, connect: Connect):
        """Alert or reset: the same error to callers."""
        for client in (None, tls.client("stranger.example", other_ca=True)):
            connection = connect(tls_bao.url, client, ca=tls.ca_path)
            for _ in range(5):
                with pytest.raises(ServiceError) as caught:
                    health(connection)
                assert caught.value.kind in CLOSED
                error = operation_error(caught.value)
                assert type(error) is UnavailableError
                assert error.retryable
                assert "tlsCertificatePath" in str(error)

    @pytest.mark.parametrize("which", ["ca", "certificate", "key"])
    @pytest.mark.parametrize("content", [None, b"", b"rubbish", b"\0" * 100])
    def test_unusable_files(
        self, tls: Tls, connect: Connect, tmp_path: Path, which: str, content: bytes | None
    ):
        certificate, key = tls.client("client.example")
        files = {"ca": tls.ca_path, "certificate": certificate, "key": key}
        files[which] = tmp_path / "x.pem"
        if content is not None:
            files[which].write_bytes(content)
        assert kind(connect("https://127.0.0.1:1", **files)) == "tls-files"

    def test_encrypted_key(self, tls: Tls, connect: Connect, tmp_path: Path):
        """OpenSSL would ask for a passphrase on the terminal, and wait."""
        certificate, key = tls.client("client.example")
        plain = load_pem_private_key(key.read_bytes(), None)
        encrypted = plain.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
        )
        (tmp_path / "key.pem").write_bytes(encrypted)
        client = certificate, tmp_path / "key.pem"
        assert kind(connect("https://127.0.0.1:1", client, ca=tls.ca_path)) == "tls-files"

    def test_not_looked_at_without_tls(self, bao: Bao, connect: Connect):
        """A file of plain http's has such leftovers."""
        nowhere = Path("/nowhere")
        assert health(connect(bao.url, (nowhere, nowhere), ca=nowhere)) == 200


class TestInsecure:
    def test_warns_once(
        self,
        tls_bao: Bao,
        tls: Tls,
        connect: Connect,
        caplog: pytest.LogCaptureFixture,
        make_tls: Callable[..., Tls],
    ):
        """By a log record, not by a Python warning for each request (which is an error here)."""
        ca = make_tls().ca_path
        connection = connect(tls_bao.url, tls.admin, ca=ca, insecure=True)
        with caplog.at_level(logging.WARNING):
            assert [health(connection) for _ in range(3)] == [200] * 3
        events = [record.__dict__.get("event") for record in caplog.records]
        assert events == ["keyhinge.vault.unverified_tls"]

    def test_not_for_others(self, tls_bao: Bao, tls: Tls, connect: Connect):
        """One section's carelessness isn't another's."""
        assert health(connect(tls_bao.url, tls.admin, insecure=True)) == 200
        assert kind(connect(tls_bao.url, tls.admin)) == "tls-untrusted"


class TestChangingFiles:
    def test_client_certificate(
        self, tls_bao: Bao, tls: Tls, connect: Connect, caplog: pytest.LogCaptureFixture
    ):
        """A refused one is replaced, certificate first and then its key, and it works."""
        certificate, key = tls.client("changing.example", other_ca=True)
        good, good_key = tls.client("good.example")
        connection = connect(tls_bao.url, (certificate, key), ca=tls.ca_path)
        assert kind(connection) in CLOSED
        replace(certificate, good)
        assert kind(connection) in CLOSED  # they don't belong together: the old ones go on
        replace(key, good_key)
        assert health(connection) == 200
        events = [record.__dict__.get("event") for record in caplog.records]
        assert events == ["keyhinge.vault.tls_files"]

    def test_good_session_goes_on(self, tls_bao: Bao, tls: Tls, connect: Connect):
        """A file that is gone or half written stops nobody who is connected."""
        certificate, key = tls.client("going.example")
        connection = connect(tls_bao.url, (certificate, key), ca=tls.ca_path)
        assert health(connection) == 200
        before = connection._live
        for content in (b"", certificate.read_bytes()[:200]):
            certificate.write_bytes(content)
            assert [health(connection) for _ in range(2)] == [200, 200]
        certificate.unlink()
        assert health(connection) == 200
        assert connection._live is before
        tls.client("going.example")
        assert health(connection) == 200
        assert connection._live is not before

    def test_same_files(self, tls_bao: Bao, tls: Tls, connect: Connect):
        connection = connect(tls_bao.url, tls.admin, ca=tls.ca_path)
        health(connection)
        before = connection._live
        health(connection)
        assert connection._live is before

    def test_old_session_goes(self, tls_bao: Bao, tls: Tls, connect: Connect):
        """With its sockets; no session is kept for each change of a file."""
        certificate, key = tls.client("leaving.example")
        connection = connect(tls_bao.url, (certificate, key), ca=tls.ca_path)
        health(connection)
        live = connection._live
        assert live is not None
        old = weakref.ref(live.session.session)
        del live
        tls.client("leaving.example")
        health(connection)
        gc.collect()
        assert old() is None

    def test_under_load(self, tls_bao: Bao, tls: Tls, connect: Connect):
        """Requests under way end well while the session changes under them."""
        certificate, key = tls.client("busy.example")
        spare = tls.client("spare.example")
        connection = connect(tls_bao.url, (certificate, key), ca=tls.ca_path)
        stop = threading.Event()
        found: set[int | str] = set()

        def work() -> None:
            while not stop.is_set():
                try:
                    found.add(health(connection))
                except ServiceError as error:
                    found.add(error.kind)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        sessions = set()
        for _ in range(5):
            time.sleep(0.1)
            for path, new in zip((certificate, key), spare, strict=True):
                replace(path, new)
            time.sleep(0.1)
            sessions.add(id(connection._live))
        stop.set()
        for thread in threads:
            thread.join()
        assert found == {200}
        assert len(sessions) > 1

    def test_server_with_another_authority(
        self, start_bao: Callable[..., Bao], make_tls: Callable[..., Tls], connect: Connect
    ):
        """Authority and server certificate are replaced; the client follows without a restart."""
        tls, other = make_tls(client_certificates=False), make_tls(client_certificates=False)
        bao = start_bao("inmem", tls=tls)
        connection = connect(bao.url, ca=tls.ca_path)
        assert health(connection) == 200
        old = connection.tls_report().server
        served = _served(bao)
        replace(tls.server_certificate, other.server_certificate)
        replace(tls.server_key, other.server_key)
        bao._running().send_signal(signal.SIGHUP)
        _wait_for_other_certificate(bao, served)
        assert kind(connect(bao.url, ca=tls.ca_path)) == "tls-untrusted"
        replace(tls.ca_path, other.ca_path)
        assert health(connection) == 200
        assert connection._peer == ssl.PEM_cert_to_DER_cert(_served(bao))
        assert old is not None


class TestReport:
    """When the certificates end."""

    def test_all(self, tls_bao: Bao, tls: Tls, connect: Connect):
        end = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
        client = tls.client("ending.example", expires=end)
        connection = connect(tls_bao.url, client, ca=tls.ca_path)
        before = connection.tls_report()
        assert (before.server, before.client) == (None, end)
        assert before.ca is not None
        health(connection)
        report = connection.tls_report()
        assert report.server == not_after_in(tls.server_certificate)[0]
        assert (report.client, report.ca) == (before.client, before.ca)

    def test_plain(self, bao: Bao, connect: Connect):
        connection = connect(bao.url)
        health(connection)
        assert connection.tls_report() == (None, None, None)

    def test_nothing_readable(self, connect: Connect):
        nowhere = Path("/nowhere")
        connection = connect("https://127.0.0.1:1", (nowhere, nowhere), ca=nowhere)
        assert connection.tls_report() == (None, None, None)

    @pytest.mark.parametrize("year", [1980, 2049, 2051, 2999])
    def test_forms_of_time(self, year: int):
        """Two digits of the year until 2049, four from 2050."""
        end = datetime(year, 12, 31, 23, 59, 58, tzinfo=timezone.utc)
        begin = datetime(1975, 1, 1, tzinfo=timezone.utc)
        issued = trustme.CA().issue_cert("x", not_before=begin, not_after=end)
        der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
        assert not_after(der) == end

    def test_cut_or_changed(self):
        """Anything else is None, and no exception."""
        issued = trustme.CA().issue_cert("x")
        der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
        for length in range(0, len(der), 7):
            assert not_after(der[:length]) is None
        for position in range(200):
            changed = bytearray(der)
            changed[position] ^= 0xFF
            not_after(bytes(changed))

    def test_several_in_a_file(self, tmp_path: Path):
        pems = [trustme.CA().cert_pem.bytes() for _ in range(2)]
        rubbish = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"
        (tmp_path / "all.pem").write_bytes(pems[0] + rubbish + b"text\n" + pems[1])
        assert len(not_after_in(tmp_path / "all.pem")) == 2


class TestProxy:
    """An HTTP proxy passes TLS on; this one is a stub of the little that CONNECT is."""

    def test_tunnel(self, tls_bao: Bao, tls: Tls, connect: Connect, tunnel: Tunnel):
        proxy = Secret(f"http://user:geheim@127.0.0.1:{tunnel.port}")
        connection = connect(tls_bao.url, tls.admin, ca=tls.ca_path, proxy=proxy)
        assert health(connection) == 200
        head = tunnel.seen[0]
        assert head.startswith(f"CONNECT 127.0.0.1:{tls_bao.port} ")
        assert base64.b64encode(b"user:geheim").decode() in head

    def test_refused(self, tls: Tls, connect: Connect, tunnel: Tunnel):
        proxy = Secret(f"http://127.0.0.1:{tunnel.port}")
        connection = connect("https://127.0.0.1:1", ca=tls.ca_path, proxy=proxy)
        assert kind(connection) == "proxy"

    def test_proxy_without_an_end(self, tls: Tls, connect: Connect, tunnel: Tunnel):
        """Its answer is bounded, too."""
        tunnel.flood = True
        proxy = Secret(f"http://127.0.0.1:{tunnel.port}")
        connection = connect("https://127.0.0.1:1", ca=tls.ca_path, proxy=proxy)
        assert kind(connection) in {"answer-size", "answer", "proxy", "connection"}


# Stubs, for certificates that no real server is given


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer `{}` to everything, with a certificate; not a server of secrets at all."""
    closing: list[Callable[[], None]] = []

    def make(
        certificate: trustme.LeafCert, change: Callable[[ssl.SSLContext], None] = lambda _: None
    ) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        change(context)
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(5)
                with (
                    connection,
                    suppress(OSError),
                    context.wrap_socket(connection, server_side=True) as wrapped,
                ):
                    wrapped.recv(65536)
                    wrapped.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=run)
        thread.start()

        def close() -> None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(10)

        closing.append(close)
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    yield make
    for close in closing:
        close()


class Tunnel:
    """A stub of an HTTP proxy: CONNECT, and nothing else."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.flood = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            head = client.recv(65536).decode("latin-1")
            self.seen.append(head)
            if self.flood:
                client.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    client.sendall(b"X: y\r\n" * 10_000)
            host, port = head.split()[1].split(":")
            try:
                target = socket.create_connection((host, int(port)), 5)
            except OSError:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                client.close()
                return
            self._open.append(target)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._start(self._pump, target, client)
            self._pump(client, target)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    made = Tunnel()
    yield made
    made.close()


def _served(bao: Bao) -> str:
    """Give the certificate that a server shows now."""
    return ssl.get_server_certificate(("127.0.0.1", bao.port), timeout=5)


def _wait_for_other_certificate(bao: Bao, old: str) -> None:
    """Wait until the server really shows another certificate: it takes its time."""
    end = time.monotonic() + 10
    while _served(bao) == old:
        assert time.monotonic() < end, "the server didn't take the new certificate"
        time.sleep(0.05)


def _hashed_names(path: Path) -> list[str]:
    found = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    return [f"{found.stdout.strip()}.0"]
