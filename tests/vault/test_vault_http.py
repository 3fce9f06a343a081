"""One request: what is sent, what comes back, and what never shows."""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from keyhinge import ClosedError, Secret
from keyhinge.testing._support import in_fork
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._http import Connection
from keyhinge_vault._server import Server

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay

TOKEN = "hvs.geheim-token-4711"
BODY = "geheim-body-4711"


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    """Make connections that are closed at the end."""
    made: list[Connection] = []

    def make(endpoint: str, **options: Any) -> Connection:
        connection = Connection(Server(section="vault", endpoint=endpoint, **options))
        made.append(connection)
        return connection

    yield make
    for connection in made:
        connection.close()


def failure(connection: Connection, method: str = "GET", path: str = "x", **options: Any) -> Any:
    with pytest.raises(ServiceError) as caught:
        connection.request(method, path, **options)
    return caught.value


def texts(error: BaseException) -> Iterator[str]:
    """Give all that hangs on an exception: its text, and the locals of our frames."""
    yield f"{error!r} {error} {vars(error)}"
    assert error.__cause__ is error.__context__ is None
    frame = error.__traceback__
    while frame is not None:
        if "keyhinge_vault" in frame.tb_frame.f_code.co_filename:
            yield " ".join(repr(value) for value in frame.tb_frame.f_locals.values())
            for value in frame.tb_frame.f_locals.values():
                yield repr(tuple(value)) if isinstance(value, tuple) else ""
                yield repr(getattr(value, "__dict__", ""))
        frame = frame.tb_next


class TestAnswer:
    def test_round_trip(self, bao: Bao, connect: Callable[..., Connection]):
        key, connection = bao.key(), connect(bao.url)
        answer = connection.request(
            "POST", f"transit/encrypt/{key}", json={"plaintext": "AAAA"}, token=bao.root_token
        )
        assert answer.status == 200
        assert answer.data["ciphertext"].startswith("vault:v1:")
        assert answer.request_id
        assert answer.date.endswith("GMT")
        assert (answer.auth, answer.errors) == ({}, [])

    def test_warnings(self, bao: Bao, connect: Callable[..., Connection]):
        """The server's word that it ignored something comes through."""
        body = {"plaintext": "AAAA", "no_such_field": 1}
        path = f"transit/encrypt/{bao.key()}"
        answer = connect(bao.url).request("POST", path, json=body, token=bao.root_token)
        assert "no_such_field" in " ".join(answer.warnings)

    def test_login(self, bao: Bao, connect: Callable[..., Connection]):
        user = bao.userpass()
        path = f"auth/{user['authMount']}/login/app"
        answer = connect(bao.url).request("POST", path, json={"password": user["password"]})
        assert answer.auth["client_token"]
        assert answer.auth["client_token"] not in repr(answer)
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(answer)

    def test_list_delete_and_nothing(self, bao: Bao, connect: Callable[..., Connection]):
        """Methods that aren't GET and POST, and answers without a body."""
        connection, mount = connect(bao.url), bao.mount()
        key = bao.key(mount=mount)
        found = connection.request("LIST", f"{mount}/keys", token=bao.root_token)
        assert found.data == {"keys": [key]}
        gone = connection.request("DELETE", f"sys/mounts/{mount}", token=bao.root_token)
        assert (gone.status, gone.body) == (204, {})

    def test_namespace(self, bao: Bao, connect: Callable[..., Connection]):
        """The server's own, another one, or none."""
        namespace, key = bao.namespace(), bao.name("key")
        bao.key(key, namespace=namespace)
        connection = connect(bao.url, namespace=namespace)
        path = f"transit/keys/{key}"
        assert connection.request("GET", path, token=bao.root_token).data["name"] == key
        assert (
            failure(connection, "GET", path, token=bao.root_token, namespace="").kind == "missing"
        )
        other = connect(bao.url)
        found = other.request("GET", path, token=bao.root_token, namespace=namespace)
        assert found.data["name"] == key

    def test_accepted_statuses(self, bao: Bao, connect: Callable[..., Connection]):
        answer = connect(bao.url).request("GET", "sys/mounts", token="x", accept={403})
        assert (answer.status, answer.errors) == (403, ["permission denied"])

    @pytest.mark.parametrize("path", ["../x", "transit/encrypt/../x", "a/%2e%2e", "a?b", "/a"])
    def test_no_path(self, bao: Bao, connect: Callable[..., Connection], path: str):
        """Whatever made it, it isn't sent, and the error's frames hold no secret."""
        with pytest.raises(ValueError, match="not a path") as caught:
            connect(bao.url).request("POST", path, json={"p": BODY}, token=TOKEN)
        found = " ".join(texts(caught.value))
        assert TOKEN not in found
        assert BODY not in found


class TestRubbish:
    """Whatever answers there, it isn't taken for the server. (The relay stands in for it.)"""

    @pytest.mark.parametrize(
        ("status", "content", "kind"),
        [
            (200, b"<html>Log in</html>", "answer"),
            (200, b"[1]", "answer"),
            (200, b"null", "answer"),
            (200, b"\xff\xfe", "answer"),
            (200, b"[" * 100_000, "answer"),
            (200, b'{"a": ' * 50_000, "answer"),
            (200, b"1" * 10_000, "answer"),
            (204, b"", ""),
            (200, b'{"data": [], "warnings": {"a": 1}, "auth": 7, "request_id": []}', ""),
            (304, b"", "answer"),
            (403, b"<html>", "answer"),
            (404, b"not found", "answer"),
            (404, b'{"errors": "x"}', "missing"),
            (502, b"<html>", "unavailable"),
            (503, b"", "unavailable"),
            (429, b"slow down", "throttled"),
        ],
    )
    def test_bodies(
        self,
        bao: Bao,
        relay_to: Callable[[str], Relay],
        connect: Callable[..., Connection],
        status: int,
        content: bytes,
        kind: str,
    ):
        relay = relay_to(bao.url)
        relay.intercept = lambda seen: (status, {}, content)
        connection = connect(relay.url)
        if kind:
            assert failure(connection).kind == kind
        else:
            answer = connection.request("GET", "x")
            assert (answer.data, answer.auth, answer.warnings, answer.request_id) == (
                {},
                {},
                [],
                "",
            )

    def test_nothing_is_unpacked(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Callable[..., Connection]
    ):
        """What is packed may be a bomb; nobody asked for it either."""
        relay = relay_to(bao.url)
        packed = gzip.compress(b'{"a": "' + b" " * (1 << 24) + b'"}')
        relay.intercept = lambda seen: (200, {"Content-Encoding": "gzip"}, packed)
        assert failure(connect(relay.url)).kind == "answer"
        assert relay.seen[0].headers["accept-encoding"] == "identity"

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7.0),
            ("0", 0.0),
            ("-1", None),
            ("1e9", None),
            ("9" * 30, None),
            ("\u0662", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("", None),
        ],
    )
    def test_retry_after(
        self,
        bao: Bao,
        relay_to: Callable[[str], Relay],
        connect: Callable[..., Connection],
        value: str,
        seconds: float | None,
    ):
        relay = relay_to(bao.url)
        name = value.encode().decode("latin-1")
        relay.intercept = lambda seen: (429, {"Retry-After": name}, b"{}")
        assert failure(connect(relay.url)).retry_after == seconds

    def test_request_id_is_one(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Callable[..., Connection]
    ):
        """An id that could be anything else isn't kept."""
        relay = relay_to(bao.url)
        for found, kept in ((f"{TOKEN} !", ""), ("a" * 65, ""), ("7b1c-4d", "7b1c-4d")):
            text = json.dumps({"request_id": found, "errors": []}).encode()
            relay.intercept = lambda seen, text=text: (403, {}, text)  # type: ignore[misc]
            assert failure(connect(relay.url)).failure.request_id == kept

    def test_cookies_are_not_kept(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Callable[..., Connection]
    ):
        relay = relay_to(bao.url)
        relay.intercept = lambda seen: (200, {"Set-Cookie": "a=b"}, b"{}")
        connection = connect(relay.url)
        connection.request("GET", "x")
        connection.request("GET", "x")
        assert "cookie" not in relay.seen[1].headers


class TestEnvironment:
    """Nothing is taken from it here."""

    def test_it_is_not_looked_at(
        self,
        bao: Bao,
        relay_to: Callable[[str], Relay],
        connect: Callable[..., Connection],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ):
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
        (tmp_path / ".vault-token").write_text(TOKEN)
        for name, value in {
            "HOME": str(tmp_path),
            "NETRC": str(tmp_path / ".netrc"),
            "http_proxy": "http://127.0.0.1:1",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "ALL_PROXY": "http://127.0.0.1:1",
            "VAULT_ADDR": "http://127.0.0.1:1",
            "VAULT_TOKEN": TOKEN,
            "VAULT_NAMESPACE": "nowhere",
            "VAULT_CACERT": "/nowhere",
            "VAULT_CLIENT_CERT": "/nowhere",
            "VAULT_CLIENT_KEY": "/nowhere",
            "REQUESTS_CA_BUNDLE": "/nowhere",
        }.items():
            monkeypatch.setenv(name, value)
        relay = relay_to(bao.url)
        connect(relay.url).request("GET", "sys/health")
        assert set(relay.seen[0].headers) == {
            "host",
            "user-agent",
            "accept-encoding",
            "x-vault-request",
        }

    def test_variables_that_hvac_reads_at_its_import(self, bao: Bao):
        """It takes a client certificate from the environment when it is given none."""
        program = (
            "import sys\n"
            "from keyhinge_vault._http import Connection\n"
            "from keyhinge_vault._server import Server\n"
            "assert not {'hvac', 'requests', 'urllib3'} & set(sys.modules)\n"
            "connection = Connection(Server(section='vault', endpoint=sys.argv[1]))\n"
            "connection.tls_report()\n"
            "assert not {'hvac', 'requests', 'urllib3'} & set(sys.modules)\n"
            "print(connection.request('GET', 'sys/health').status)\n"
            "connection.close()\n"
        )
        missing = {"VAULT_CLIENT_CERT": "/none", "VAULT_CLIENT_KEY": "/none", "VAULT_CACERT": "/x"}
        found = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, bao.url],
            env={**os.environ, **missing},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (found.stdout, found.stderr) == ("200\n", "")


class TestProxy:
    """Only the configuration's; the relay is one for plain http."""

    def test_it_is_used(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Callable[..., Connection]
    ):
        relay = relay_to(bao.url)
        proxy = Secret(relay.url.replace("http://", "http://user:geheim@"))
        connection = connect(bao.url, proxy=proxy)
        assert connection.request("GET", "sys/health").status == 200
        assert relay.seen[0].path == f"{bao.url}/v1/sys/health"
        assert "proxy-authorization" in relay.seen[0].headers

    def test_it_is_down(self, bao: Bao, connect: Callable[..., Connection]):
        error = failure(connect(bao.url, proxy=Secret("http://user:geheim@127.0.0.1:1")))
        assert error.kind == "proxy"
        assert "geheim" not in " ".join(texts(error))


class TestNothingShows:
    def test_no_debugging_output(
        self,
        bao: Bao,
        connect: Callable[..., Connection],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ):
        """http.client prints whole requests where somebody switched that on for the process."""
        import urllib3.connection

        monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 9)
        monkeypatch.setattr(urllib3.connection.HTTPConnection, "debuglevel", 9)
        monkeypatch.setattr(http.client.HTTPResponse, "debuglevel", 9, raising=False)
        connection = connect(bao.url)
        with caplog.at_level(logging.DEBUG):
            failure(connection, "POST", "transit/encrypt/x", json={"plaintext": BODY}, token=TOKEN)
        shown = "".join(capfd.readouterr()) + caplog.text
        assert TOKEN not in shown
        assert BODY not in shown
        assert "send:" not in shown

    @pytest.mark.parametrize(
        ("token", "kind"),
        [(TOKEN, "denied"), (TOKEN + "\r\nX: y", "client"), (TOKEN + "\u0161", "client")],
    )
    def test_error(self, bao: Bao, connect: Callable[..., Connection], token: str, kind: str):
        """Not in the error, its chain, or the frames that its traceback keeps."""
        error = failure(
            connect(bao.url), "POST", "transit/encrypt/x", json={"plaintext": BODY}, token=token
        )
        assert error.kind == kind
        found = " ".join(texts(error))
        assert TOKEN not in found
        assert BODY not in found

    def test_no_connection(self, connect: Callable[..., Connection]):
        error = failure(connect("http://127.0.0.1:1"), json={"plaintext": BODY}, token=TOKEN)
        assert error.kind == "connection"
        found = " ".join(texts(error))
        assert TOKEN not in found
        assert BODY not in found

    def test_no_such_host(self, connect: Callable[..., Connection]):
        assert failure(connect("http://keyhinge.invalid:8200", timeout=60.0)).kind == "name"

    def test_dropped(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Callable[..., Connection]
    ):
        """The server goes away in the middle."""
        relay = relay_to(bao.url)
        relay.intercept = lambda seen: "drop"
        error = failure(connect(relay.url), "POST", json={"p": BODY}, token=TOKEN)
        assert (error.kind, error.retry) == ("connection", True)
        assert TOKEN not in " ".join(texts(error))


class TestWarning:
    """Plain http to another machine is said once."""

    def test_off_loopback(
        self, connect: Callable[..., Connection], caplog: pytest.LogCaptureFixture
    ):
        connection = connect("http://keyhinge.invalid:8200", timeout=60.0)
        failure(connection)
        failure(connection)
        events = [record.__dict__.get("event") for record in caplog.records]
        assert events.count("keyhinge.vault.plain_http") == 1

    def test_on_loopback(
        self, bao: Bao, connect: Callable[..., Connection], caplog: pytest.LogCaptureFixture
    ):
        connect(bao.url).request("GET", "sys/health")
        assert not [r for r in caplog.records if r.name.startswith("keyhinge")]


class TestLife:
    def test_threads(self, bao: Bao, connect: Callable[..., Connection]):
        """32 threads share one session, made once."""
        connection, key = connect(bao.url), bao.key()
        barrier = threading.Barrier(32)

        def work(number: int) -> Any:
            barrier.wait()
            body = {"plaintext": "AAAA", "reference": str(number)}
            path = f"transit/encrypt/{key}"
            found = connection.request("POST", path, json=body, token=bao.root_token)
            return found.data["ciphertext"], connection._live

        with ThreadPoolExecutor(32) as pool:
            found = list(pool.map(work, range(32)))
        assert len({ciphertext for ciphertext, _ in found}) == 32
        assert len({id(live) for _, live in found}) == 1

    def test_fork(self, bao: Bao, connect: Callable[..., Connection]):
        """A child connects for itself and leaves the parent's connection alone."""
        connection = connect(bao.url)
        connection.request("GET", "sys/health")
        before = connection._live

        def work() -> bytes:
            status = connection.request("GET", "sys/health").status
            other = connection._live is not before
            connection.close()
            gc.collect()
            return f"{status} {other}".encode()

        assert in_fork(work) == b"200 True"
        assert connection.request("GET", "sys/health").status == 200
        assert connection._live is before

    def test_fork_while_the_lock_is_held(self, bao: Bao, connect: Callable[..., Connection]):
        """Another thread of the parent may hold it for ever, as a child sees it."""
        connection = connect(bao.url)
        with connection._lock:
            found = in_fork(lambda: str(connection.request("GET", "sys/health").status).encode())
        assert found == b"200"

    def test_child_that_only_lets_go(self, bao: Bao):
        """A child that drops the connection closes nothing of its parent's."""
        held = [Connection(Server(section="vault", endpoint=bao.url))]
        held[0].request("GET", "sys/health")
        used = held[0]._live

        def work() -> bytes:
            nonlocal used
            used = None
            held.clear()
            gc.collect()
            return b"done"

        assert in_fork(work) == b"done"
        assert held[0].request("GET", "sys/health").status == 200
        held[0].close()

    def test_close(self, bao: Bao, connect: Callable[..., Connection]):
        connection = connect(bao.url)
        connection.request("GET", "sys/health")
        connection.close()
        connection.close()
        with pytest.raises(ClosedError) as caught:
            connection.request("POST", "x", json={"p": BODY}, token=TOKEN)
        found = " ".join(texts(caught.value))
        assert TOKEN not in found
        assert BODY not in found

    def test_never_opened(self, connect: Callable[..., Connection]):
        connect("http://127.0.0.1:1").close()

    def test_forgotten(self, bao: Bao):
        """Nobody calls close, and no socket is left open (its warning would be an error)."""
        connection = Connection(Server(section="vault", endpoint=bao.url))
        connection.request("GET", "sys/health")
        del connection
        gc.collect()

    def test_bare_repr_and_no_pickle(self, connect: Callable[..., Connection]):
        connection = connect("http://127.0.0.1:1")
        assert repr(connection) == "<Connection of section vault>"
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(cast("Any", connection))
