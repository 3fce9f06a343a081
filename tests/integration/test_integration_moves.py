"""1,000 secrets go from provider to provider, and each one is what it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from keyhinge import KeyManager
from keyhinge_store import NewSecret, SecretStore, migrate, rewrap, status, verify

WAY = ("plaintext", "vault", "aws", "openbao", "local")
COUNT = 1000
LIMIT = 4096  # of KMS

Secrets = dict[tuple[str, str], bytes]


@pytest.fixture
def managers(sections: dict[str, dict[str, Any]]) -> Iterator[dict[str, KeyManager]]:
    """A KeyManager for each section as primary, all with the whole file."""
    opened = {
        name: KeyManager.open({"keyManagement": {"provider": name, **sections}}, environ={})
        for name in sections
    }
    yield opened
    for keys in opened.values():
        keys.close()


@pytest.fixture
def store(database_url: str, managers: dict[str, KeyManager]) -> Iterator[SecretStore]:
    """A store whose primary section is `plaintext`."""
    opened = SecretStore(database_url, managers["plaintext"])
    opened.create_tables()
    yield opened
    opened.close()


def values() -> Iterator[bytes]:
    """Give secrets of all kinds: one byte, the most that KMS takes, text, binary, line ends."""
    chance = random.Random(3)
    special = (
        b"\0",
        b"x" * LIMIT,
        b"\xff" * LIMIT,
        "tökén 🔑".encode(),
        b"line\n",
        b"\r\n \t",
        b"kh1:",
    )
    yield from special
    for _ in range(COUNT - len(special)):
        yield chance.randbytes(chance.choice((1, 16, 40, 256, 1024, LIMIT)))


def fill(store: SecretStore) -> Secrets:
    """Store them."""
    written: Secrets = {}
    secrets = []
    for number, value in enumerate(values()):
        account, secret_id = f"acct_{number % 13}", f"sec_{number:04}"
        secrets.append(NewSecret(account, f"kind_{number % 3}", value, secret_id))
        written[account, secret_id] = value
    store.put_many(secrets)
    return written


def everything(store: SecretStore) -> Secrets:
    """Decrypt every secret; one that fails raises."""
    found = store.get_many(info.key for info in store.list())
    return {key: outcome.value for key, outcome in found.items()}


@pytest.mark.timeout(600)
def test_every_value_survives_the_whole_way(
    store: SecretStore, managers: dict[str, KeyManager]
) -> None:
    written = fill(store)
    assert len(written) == COUNT
    for name in WAY[1:]:
        dry = migrate(store, managers[name], dry_run=True) if name == "aws" else None
        report = migrate(store, managers[name])
        assert report.complete
        if dry is not None:  # it asks what the real run asks
            assert (dry.verified, dry.moved, dry.calls) == (COUNT, 0, report.calls)
        # KMS has one request for each value: those to encrypt and to verify, or to decrypt.
        requests = {"aws": 2 * COUNT, "openbao": COUNT}.get(name)
        assert report.price == (None if requests is None else requests * 0.03 / 10_000)
        assert (report.matched, report.moved, report.left, report.failed) == (COUNT, COUNT, 0, 0)
        assert {info.section for info in store.list()} == {name}
        assert everything(store) == written, name
    checked = verify(store, managers["local"])
    assert (checked.opened, checked.failed) == (COUNT, 0)


def rotate(name: str, section: dict[str, Any], bao: Any, moto: Any) -> None:
    """Rotate a section's key in its service."""
    if name == "aws":
        client = moto.client()
        client.rotate_key_on_demand(KeyId=section["keyID"])
        client.close()
    else:
        bao.api("POST", f"transit/keys/{section['keyID']}/rotate")


def test_rewrapping_in_each_service(
    store: SecretStore,
    managers: dict[str, KeyManager],
    sections: dict[str, dict[str, Any]],
    bao: Any,
    moto: Any,
) -> None:
    """After a rotation of its key all values are stale; rewrapped, none is."""
    store.put_many(NewSecret("acct", "kind", f"secret {n}", f"sec_{n}") for n in range(50))
    before = everything(store)
    for name in ("vault", "aws", "openbao"):
        migrate(store, managers[name])
        rotate(name, sections[name], bao, moto)
        assert status(store, managers[name]).stale == 50
        report = rewrap(store, managers[name])
        assert (report.moved, report.left, report.failed) == (50, 0, 0)
        found = status(store, managers[name])
        assert [(each.section, each.values, each.stale) for each in found.labels] == [
            (name, 50, False)
        ]
        assert everything(store) == before
