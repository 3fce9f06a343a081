"""All providers together: real servers, and configurations that use them.

The servers are shared by the tests of one process. Keys, users and roles have names of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.services.moto import ACCESS_KEY, REGION, SECRET_KEY, Moto

from keyhinge_local import keyfile

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Tls, TokenReviewStub

Settings = dict[str, Any]


@pytest.fixture(autouse=True)
def _nothing_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of this machine's that a provider reads, and none of its AWS configuration."""
    ours = [name for name in os.environ if name.startswith("KEYHINGE_")]
    for name in [name for name in ours if not name.startswith("KEYHINGE_TEST")]:
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith(("AWS_", "VAULT_", "BAO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """KMS, as strict as AWS."""
    server = Moto(strict=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """OpenBao over plain http."""
    from tests.vault._openbao import Bao

    server = Bao(tmp_path_factory.mktemp("bao"))
    try:
        server.mount("transit")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The authority of `tls_bao`."""
    from tests.vault._openbao import Tls

    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls_bao(tmp_path_factory: pytest.TempPathFactory, tls: Tls) -> Iterator[Bao]:
    """OpenBao that wants client certificates."""
    from tests.vault._openbao import Bao

    server = Bao(tmp_path_factory.mktemp("tls-bao"), "inmem", tls=tls)
    try:
        server.mount("transit")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenReviewStub]:
    """A stub of Kubernetes' TokenReview."""
    from tests.vault._openbao import Tls, TokenReviewStub

    stub = TokenReviewStub(Tls(tmp_path_factory.mktemp("kubernetes")))
    try:
        yield stub
    finally:
        stub.close()


@pytest.fixture
def aws_section(moto: Moto) -> Settings:
    """An `aws` section under a new key."""
    client = moto.client()
    key = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    return {
        "region": REGION,
        "accessKey": ACCESS_KEY,
        "secretKey": SECRET_KEY,
        "endpoint": moto.url,
        "keyID": key,
    }


@pytest.fixture
def bao_section(bao: Bao) -> Callable[..., Settings]:
    """Make a section under a new key of OpenBao: `bao_section("vault", derived=True)`."""

    def make(kind: str, **options: Any) -> Settings:
        key = bao.key(**options)
        token = bao.token([bao.transit_policy(key)])
        return {"type": kind, "endpoint": bao.url, "keyID": key, "token": token}

    return make


@pytest.fixture
def local_section(tmp_path: Path) -> Settings:
    """A `local` section with a key file of its own."""
    keyfile.init(tmp_path / "local.key")
    return {"keyFile": str(tmp_path / "local.key")}


@pytest.fixture
def sections(
    aws_section: Settings, bao_section: Callable[..., Settings], local_section: Settings
) -> dict[str, Settings]:
    """One section of each provider, by name; `vault` has an ordinary key, `openbao` a derived."""
    return {
        "plaintext": {},
        "vault": bao_section("vault"),
        "aws": aws_section,
        "openbao": bao_section("openbao", derived=True),
        "local": local_section,
    }
