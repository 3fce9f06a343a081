"""Real OpenBao servers for the tests of keyhinge-vault.

`bao` is shared by the tests of one process: every helper of it makes new names, so tests don't
meet. Whoever breaks a server takes one of their own with `start_bao`.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

if TYPE_CHECKING:
    from tests.vault import _openbao
    from tests.vault._openbao import Bao, Relay, Tls, TokenReviewStub

    from keyhinge_vault._provider import VaultProvider
    from keyhinge_vault._session import Session
else:
    # There's no package `tests` at run time that could be relied on (import mode importlib, and
    # others install packages of that name), so the helpers are loaded under a name of their own.
    _folder = Path(__file__).parent / "_openbao"
    _spec = importlib.util.spec_from_file_location(
        "keyhinge_vault_tests", _folder / "__init__.py", submodule_search_locations=[str(_folder)]
    )
    _openbao = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _openbao
    _spec.loader.exec_module(_openbao)


class FakeSection:
    """A section as core describes it to `keyhinge_configure`."""

    name = "vault"
    path = "keyManagement.vault"

    def __init__(self, base_dir: Path, environ: Mapping[str, str] | None = None) -> None:
        self.base_dir = base_dir
        self.environ: Mapping[str, str] = environ or {}

    def over(self, name: str, *, also: Any = ()) -> NoReturn:
        raise AssertionError("vault composes nothing")


@pytest.fixture
def section(tmp_path: Path) -> FakeSection:
    """A section whose files are in the test's folder."""
    return FakeSection(tmp_path)


@pytest.fixture
def make_section(tmp_path: Path) -> Callable[..., FakeSection]:
    """Make a section with an environment of its own."""

    def make(**environ: str) -> FakeSection:
        return FakeSection(tmp_path, environ)

    return make


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Open a session from the configuration's keys: `open_session(url, {"token": …})`."""
    from keyhinge import Secret
    from keyhinge_vault._auth import Credentials
    from keyhinge_vault._http import Connection
    from keyhinge_vault._server import Server
    from keyhinge_vault._session import Session
    from keyhinge_vault._settings import VaultSettings

    opened: list[Session] = []

    def make(
        url: str,
        keys: Mapping[str, Any],
        *,
        environ: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Session:
        values: dict[str, Any] = {"keyID": "app", "endpoint": url, "timeout": 5.0, **keys}
        for name in ("token", "password", "secretID"):
            path = values.pop(f"{name}File", None)
            if path is not None:
                values[name] = Secret.from_file(path)
            elif isinstance(values.get(name), str):
                values[name] = Secret(values[name])
        for name in ("tlsCAPath", "tlsCertificatePath", "tlsKeyPath"):
            if name in values:
                values[name] = Path(values[name])
        settings = VaultSettings(**values)
        server = Server.of(settings, cast("Any", FakeSection(tmp_path, environ)))
        session = Session(Connection(server), Credentials(settings, server), **more)
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()
    # The next test is to find neither threads nor words of this one's.
    for thread in threading.enumerate():
        if thread.name == "keyhinge-vault-renewal":
            thread.join(10)


@pytest.fixture
def open_provider(tmp_path: Path) -> Iterator[Callable[..., VaultProvider]]:
    """Open a provider from the configuration's keys: `open_provider(url, {"keyID": …})`."""
    from keyhinge import Secret
    from keyhinge_vault._provider import configure
    from keyhinge_vault._settings import VaultSettings

    opened: list[VaultProvider] = []

    def make(url: str, keys: Mapping[str, Any]) -> VaultProvider:
        values: dict[str, Any] = {"endpoint": url, "timeout": 5.0, "retryFor": 5.0, **keys}
        for name in ("token", "password", "secretID"):
            if isinstance(values.get(name), str):
                values[name] = Secret(values[name])
        provider = configure(VaultSettings(**values), cast("Any", FakeSection(tmp_path)))
        opened.append(provider)
        return provider

    yield make
    for provider in opened:
        provider.keyhinge_close()


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """A dev server that all tests of this process share: don't break it."""
    server = _openbao.Bao(tmp_path_factory.mktemp("bao"))
    try:
        server.mount("transit")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The authority of `tls_bao`."""
    return _openbao.Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls_bao(tmp_path_factory: pytest.TempPathFactory, tls: Tls) -> Iterator[Bao]:
    """A shared server that wants client certificates: don't break it."""
    server = _openbao.Bao(tmp_path_factory.mktemp("tls-bao"), "inmem", tls=tls)
    try:
        server.mount("transit")
        yield server
    finally:
        server.stop()


@pytest.fixture
def make_tls(tmp_path: Path) -> Callable[..., Tls]:
    """Make an authority of this test's own, as in `make_tls(client_certificates=False)`."""

    def make(**options: Any) -> Tls:
        return _openbao.Tls(tmp_path / _openbao.Bao.name("tls"), **options)

    return make


@pytest.fixture
def start_bao(tmp_path: Path) -> Iterator[Callable[..., Bao]]:
    """Start a server of this test's own: `start_bao("inmem" | "raft" | "dev", tls=…)`."""
    started: list[Bao] = []

    def start(kind: Any = "inmem", **options: Any) -> Bao:
        server = _openbao.Bao(tmp_path / _openbao.Bao.name("bao"), kind, **options)
        started.append(server)
        server.mount("transit")
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def own_bao(start_bao: Callable[..., Bao]) -> Bao:
    """A server for this test alone, which keeps all that it has when it is killed."""
    return start_bao("raft")


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenReviewStub]:
    """A stub of Kubernetes' TokenReview; see `Bao.kubernetes`."""
    stub = _openbao.TokenReviewStub(_openbao.Tls(tmp_path_factory.mktemp("kubernetes")))
    try:
        yield stub
    finally:
        stub.close()


@pytest.fixture
def relay_to() -> Iterator[Callable[[str], Relay]]:
    """Put a proxy of our own before a server: `relay_to(bao.url)`."""
    made: list[Relay] = []

    def make(url: str) -> Relay:
        relay = _openbao.Relay(url)
        made.append(relay)
        return relay

    yield make
    for relay in made:
        relay.close()
