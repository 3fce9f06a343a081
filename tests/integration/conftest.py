"""All providers together: real servers, and configurations that use them.

The servers are shared by the tests of one process. Keys, users and roles have names of their own.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from tests.integration._monetr import Rules, fill
from tests.services.botocore_files import read_once
from tests.services.moto import ACCESS_KEY, REGION, SECRET_KEY, Moto

from keyhinge import KeyManager
from keyhinge_local import keyfile

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Tls, TokenReviewStub

Settings = dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def _files_read_once() -> Iterator[None]:
    """A provider for KMS is made in half the time."""
    with read_once():
        yield


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


@pytest.fixture
def monetr_sections(
    aws_section: Settings, bao_section: Callable[..., Settings]
) -> dict[str, Settings]:
    """A section of each kind that monetr knows, and a second one of Transit."""
    return {
        "plaintext": {},
        "vault": bao_section("vault"),
        "aws": aws_section,
        "vault-two": bao_section("vault"),
    }


@pytest.fixture
def monetr_keys(monetr_sections: dict[str, Settings]) -> Iterator[Callable[..., KeyManager]]:
    """Opens KeyManagers: `monetr_keys("aws")`, `monetr_keys("vault", without=())`."""
    opened: list[KeyManager] = []

    def make(primary: str, without: tuple[str, ...] = ("vault-two",)) -> KeyManager:
        chosen = {name: block for name, block in monetr_sections.items() if name not in without}
        config = {"keyManagement": {"provider": primary, **chosen}}
        opened.append(KeyManager.open(config, environ={}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


@pytest.fixture
def monetr_rules(
    bao: Bao, moto: Moto, monetr_sections: dict[str, Settings]
) -> Iterator[Callable[[str], Rules]]:
    """Gives monetr's rules under a provider: `monetr_rules("aws")`."""
    client = moto.client()
    name, arn = monetr_sections["vault"]["keyID"], monetr_sections["aws"]["keyID"]

    def from_transit(key: str, text: str) -> str:
        answer = bao.api("POST", f"transit/decrypt/{key}", {"ciphertext": text})
        return b64decode(answer["data"]["plaintext"]).decode()

    def to_transit(value: str) -> tuple[str, str | None]:
        body = {"plaintext": b64encode(value.encode()).decode()}
        answer = bao.api("POST", f"transit/encrypt/{name}", body)
        return answer["data"]["ciphertext"], name

    def from_kms(key: str, text: str) -> str:
        blob: bytes = client.decrypt(KeyId=key, CiphertextBlob=bytes.fromhex(text))["Plaintext"]
        return blob.decode()

    def to_kms(value: str) -> tuple[str, str | None]:
        blob: bytes = client.encrypt(KeyId=arn, Plaintext=value.encode())["CiphertextBlob"]
        return blob.hex(), arn

    made = {
        "plaintext": Rules("plaintext", lambda _, text: text, lambda value: (value, None)),
        "vault": Rules("vault", from_transit, to_transit),
        "aws": Rules("aws", from_kms, to_kms),
    }
    yield lambda provider: made[provider]
    client.close()


@pytest.fixture
def monetr(database_url: str) -> Iterator[sa.Engine]:
    """monetr's table in a database of its own, with plaintexts."""
    made = sa.create_engine(database_url)
    fill(made)
    yield made
    made.dispose()
