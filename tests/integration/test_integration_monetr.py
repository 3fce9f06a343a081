"""A table as monetr has it: every step of the way, a reader after its rules reads every row."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import sqlalchemy as sa
from tests.services.moto import Moto

from keyhinge import KeyManager
from keyhinge_store import MappedColumn, TableMapping, migrate, rewrap, status, verify

if TYPE_CHECKING:
    from tests.vault._openbao import Bao

Settings = dict[str, Any]

COUNT = 60
SCHEMA = """CREATE TABLE secrets (
    secret_id text NOT NULL, account_id text NOT NULL, kind text NOT NULL, key_id text,
    version text, secret text NOT NULL, updated_at text, created_at text,
    PRIMARY KEY (secret_id, account_id))"""
MAPPING = TableMapping(
    table="secrets",
    primary_key=("secret_id", "account_id"),
    encoding="monetr",
    columns={"ciphertext": "secret", "keyID": "key_id", "version": "version"},
    where={"kind": "plaid"},
)
# The last ones look like values of another kind, and aren't.
VALUES = [f"access-tökén-{number}" for number in range(COUNT - 3)]
VALUES += ["vault:v1:AAAA", "0011aabb", "kh1:plaintext:::UA=="]


@attrs.frozen
class Reader:
    """Reads a row as monetr does under one provider, with the bare clients."""

    provider: str
    transit: Callable[[str, str], bytes]
    kms: Callable[[str, bytes], bytes]

    def read(self, secret: str, key_id: str | None, version: str | None) -> str:
        assert version is None
        if self.provider == "plaintext":
            assert key_id is None
            return secret
        assert key_id is not None
        if self.provider == "aws":
            return self.kms(key_id, bytes.fromhex(secret)).decode()
        return self.transit(key_id, secret).decode()


@pytest.fixture
def sections(aws_section: Settings, bao_section: Callable[..., Settings]) -> dict[str, Settings]:
    """One section of each kind, and a second one of Transit."""
    return {
        "plaintext": {},
        "vault": bao_section("vault"),
        "aws": aws_section,
        "vault-two": bao_section("vault"),
    }


@pytest.fixture
def open_keys(sections: dict[str, Settings]) -> Iterator[Callable[..., KeyManager]]:
    """Opens KeyManagers: `open_keys("aws")`, `open_keys("aws", without=["vault-two"])`."""
    opened: list[KeyManager] = []

    def make(primary: str, without: tuple[str, ...] = ("vault-two",)) -> KeyManager:
        chosen = {name: block for name, block in sections.items() if name not in without}
        config = {"keyManagement": {"provider": primary, **chosen}}
        opened.append(KeyManager.open(config, environ={}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


@pytest.fixture
def read_as(bao: Bao, moto: Moto) -> Iterator[Callable[[str], Reader]]:
    """Gives monetr's reader: `read_as("aws")`."""
    client = moto.client()

    def transit(key: str, text: str) -> bytes:
        answer = bao.api("POST", f"transit/decrypt/{key}", {"ciphertext": text})
        return b64decode(answer["data"]["plaintext"])

    def kms(key: str, blob: bytes) -> bytes:
        plaintext: bytes = client.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"]
        return plaintext

    yield lambda provider: Reader(provider, transit, kms)
    client.close()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """monetr's table, with plaintexts, and a row of another kind that nobody may touch."""
    made = sa.create_engine(database_url)
    insert = sa.text(
        "INSERT INTO secrets (secret_id, account_id, kind, secret, updated_at) "
        "VALUES (:id, 'acct', :kind, :secret, 'then')"
    )
    with made.begin() as connection:
        connection.execute(sa.text(SCHEMA))
        for number, value in enumerate(VALUES):
            connection.execute(insert, {"id": f"s{number:03}", "kind": "plaid", "secret": value})
        connection.execute(insert, {"id": "x", "kind": "other", "secret": "untouched"})
    yield made
    made.dispose()


def read_all(engine: sa.Engine, reader: Reader) -> list[str]:
    wanted = "SELECT secret, key_id, version FROM secrets WHERE kind = 'plaid' ORDER BY secret_id"
    with engine.connect() as connection:
        return [reader.read(*row) for row in connection.execute(sa.text(wanted))]


def test_the_whole_way(engine: sa.Engine, open_keys, read_as) -> None:
    """plaintext → vault → aws → plaintext, and each time again, which finds nothing to do."""
    column = MappedColumn(engine, open_keys("plaintext"), MAPPING)
    assert read_all(engine, read_as("plaintext")) == VALUES

    for target in ("vault", "aws", "plaintext"):
        keys = open_keys(target)
        report = migrate(column, keys, allow_plaintext=True, batch_size=25)
        assert (report.moved, report.failed, report.complete) == (COUNT, 0, True)
        assert read_all(engine, read_as(target)) == VALUES
        assert (verify(column, keys).opened, verify(column, keys).failed) == (COUNT, 0)
        assert {(each.section, each.values) for each in status(column, keys).labels} == {
            (target, COUNT)
        }
        again = migrate(column, keys, allow_plaintext=True)
        assert (again.matched, again.already, again.complete) == (0, COUNT, True)

    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT DISTINCT updated_at FROM secrets")).all()
        other = connection.execute(sa.text("SELECT secret FROM secrets WHERE kind = 'other'"))
        assert other.scalars().all() == ["untouched"]
    assert rows == [("then",)]


def test_the_application_reads_and_writes(engine: sa.Engine, open_keys, read_as) -> None:
    """What our helper writes monetr reads, and the other way round."""
    for target in ("plaintext", "vault", "aws"):
        column = MappedColumn(engine, open_keys(target), MAPPING)
        cells = column.encrypt("a tökén", {})
        assert read_as(target).read(cells["secret"], cells["key_id"], cells["version"]) == "a tökén"
        assert column.decrypt(cells) == "a tökén".encode()


def test_between_two_sections_of_transit(engine: sa.Engine, open_keys, read_as) -> None:
    """No row says which of them it is of: they are tried, and each is moved once."""
    column = MappedColumn(engine, open_keys("plaintext"), MAPPING)
    migrate(column, open_keys("vault"))
    keys = open_keys("vault-two", without=())

    report = migrate(column, keys, source=["vault"], max_sweeps=3)
    assert (report.moved, report.failed) == (COUNT, 0)
    assert read_all(engine, read_as("vault")) == VALUES
    assert verify(column, keys).opened == COUNT
    again = migrate(column, keys, source=["vault"], max_sweeps=3)
    assert (again.moved, again.failed, again.complete) == (0, 0, True)
    assert verify(column, open_keys("vault")).failed == COUNT


def test_rewrap(engine: sa.Engine, open_keys, read_as, bao: Bao, sections) -> None:
    column = MappedColumn(engine, open_keys("plaintext"), MAPPING)
    migrate(column, open_keys("vault"))
    bao.api("POST", f"transit/keys/{sections['vault']['keyID']}/rotate")

    report = rewrap(column, open_keys("vault"))

    assert (report.moved, report.complete) == (COUNT, True)
    with engine.connect() as connection:
        texts = connection.execute(sa.text("SELECT secret FROM secrets WHERE kind = 'plaid'"))
        assert all(text.startswith("vault:v2:") for text in texts.scalars())
    assert read_all(engine, read_as("vault")) == VALUES
    assert rewrap(column, open_keys("vault")).matched == 0


def test_what_monetr_has_no_shape_for(engine: sa.Engine, local_section: Settings) -> None:
    config = {"keyManagement": {"provider": "local", "plaintext": {}, "local": local_section}}
    with KeyManager.open(config, environ={}) as keys:
        column = MappedColumn(engine, keys, MAPPING)
        with pytest.raises(Exception, match="monetr's table can't hold"):
            migrate(column)


def test_binary_plaintext_stays(engine: sa.Engine, open_keys, bao: Bao, sections) -> None:
    """What isn't text can't go back to a column of text; that row fails, the others go."""
    column = MappedColumn(engine, open_keys("plaintext"), MAPPING)
    keys = open_keys("vault")
    migrate(column, keys)
    key = sections["vault"]["keyID"]
    answer = bao.api("POST", f"transit/encrypt/{key}", {"plaintext": "/w=="})
    change = sa.text("UPDATE secrets SET secret = :text WHERE secret_id = 's001'")
    with engine.begin() as connection:
        connection.execute(change, {"text": answer["data"]["ciphertext"]})

    report = migrate(column, open_keys("plaintext"), allow_plaintext=True)

    assert (report.moved, report.failed) == (COUNT - 1, 1)
    assert report.failures[0].key == {"secret_id": "s001", "account_id": "acct"}
