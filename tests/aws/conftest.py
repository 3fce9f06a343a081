"""A real moto server, keys on it, and configured providers for the tests of keyhinge-aws."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.services.botocore_files import read_once
from tests.services.moto import ACCESS_KEY, REGION, SECRET_KEY, Moto

from keyhinge_aws import AwsProvider, AwsSettings, keyhinge_configure


class FakeSection:
    """A section as core describes it to `keyhinge_configure`."""

    name = "aws"
    path = "keyManagement.aws"
    base_dir = Path()

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = {} if environ is None else environ

    def over(self, name: str, *, also: Any = (), wraps_keys: bool = False) -> NoReturn:
        raise AssertionError("aws composes nothing")


class Stub:
    """A server that answers as a test wants it, for what moto never does.

    `answer` gets the action and the request's fields, and gives status and body: a mapping is
    sent as JSON, bytes as they are. `length` overrides the Content-Length.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, Any]], tuple[int, Any]] = lambda *_: (200, {})
        self.headers: dict[str, str] = {}
        self.length: int | None = None
        self.date = ""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
                fields = json.loads(raw) if action else {"raw": raw.decode()}
                stub.requests.append((action, fields, dict(self.headers)))
                status, answer = stub.answer(action, fields)
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, text in stub.headers.items():
                    self.send_header(name, text)
                length = len(body) if stub.length is None else stub.length
                self.send_header("Content-Length", str(length))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return stub.date or super().date_time_string(timestamp)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def actions(self) -> list[str]:
        """List what was asked for so far."""
        return [action for action, _, _ in self.requests]

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server that answers as the test wants it."""
    server = Stub()
    yield server
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def _files_read_once() -> Iterator[None]:
    """A provider is made in half the time."""
    with read_once():
        yield


@pytest.fixture(autouse=True)
def _no_aws_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's AWS configuration, and no instance metadata."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """The server that this worker's tests share; don't stop it."""
    server = Moto()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def strict_moto() -> Iterator[Moto]:
    """A server that answers as KMS does where moto alone doesn't; shared, don't stop it."""
    server = Moto(strict=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_moto() -> Iterator[Moto]:
    """A server for this test alone."""
    server = Moto()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def kms_client(moto: Moto) -> Iterator[Any]:
    """A bare boto3 client."""
    client = moto.client()
    yield client
    client.close()


@pytest.fixture
def make_key(kms_client: Any) -> Callable[..., str]:
    """Make a key; give its ARN."""

    def make(**parameters: Any) -> str:
        arn: str = kms_client.create_key(**parameters)["KeyMetadata"]["Arn"]
        return arn

    return make


@pytest.fixture
def key_arn(make_key: Callable[..., str]) -> str:
    """The ARN of a new key."""
    return make_key()


@pytest.fixture
def base_settings(moto: Moto) -> dict[str, Any]:
    """Settings for the shared server, without a key."""
    return {
        "region": REGION,
        "accessKey": ACCESS_KEY,
        "secretKey": SECRET_KEY,
        "endpoint": moto.url,
    }


@pytest.fixture
def configure(base_settings: dict[str, Any]) -> Iterator[Callable[..., AwsProvider]]:
    """Configure a provider as core does, for the shared server; closed afterwards.

    A setting of None takes the fixture's own one away.
    """
    from keyhinge import Secret

    made: list[AwsProvider] = []

    def make(environ: Mapping[str, str] | None = None, **values: Any) -> AwsProvider:
        given = {**base_settings, **values}
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("accessKey", "secretKey", "sessionToken"):
            if isinstance(given.get(name), str):
                given[name] = Secret(given[name])
        provider = keyhinge_configure(AwsSettings(**given), FakeSection(environ))
        made.append(provider)
        return provider

    yield make
    for provider in made:
        provider.keyhinge_close()


@pytest.fixture
def provider(configure: Callable[..., AwsProvider], key_arn: str) -> AwsProvider:
    """A provider under a new key, named by its ARN."""
    return configure(keyID=key_arn)
