"""`envelope` over real key services: how little it asks them, and what it does without them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.local._envelope import Timed

from keyhinge import Decrypt, Encrypt, EncryptedValue, KeyManager, KeyRef, UnavailableError

if TYPE_CHECKING:
    from tests.vault._openbao import Bao

Settings = dict[str, Any]
CONTEXT = {"account": "acct_1", "secret": "sec_1"}


@pytest.fixture
def open_keys() -> Iterator[Callable[..., KeyManager]]:
    """Open `envelope` over a section: `open_keys(section, maxAge="15m", clock=…)`."""
    opened: list[KeyManager] = []

    def make(
        below: Settings, *, clock: Callable[[], float] = time.monotonic, **settings: Any
    ) -> KeyManager:
        sections = {"envelope": {"over": "below", **settings}, "below": below}
        config = {"keyManagement": {"provider": "envelope", **sections}}
        providers = {"envelope": Timed(clock)}
        opened.append(KeyManager.open(config, providers=providers, environ={}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


def calls(bao: Bao, section: Settings) -> dict[str, int]:
    """How often a Transit key was asked for each operation."""
    return {
        verb: bao.count(f"transit/{verb}/{section['keyID']}")
        for verb in ("encrypt", "decrypt", "rewrap")
    }


@pytest.mark.parametrize(("many", "options"), [(100_000, {}), (5_000, {"derived": True})], ids=str)
def test_a_hundred_thousand_values(
    bao: Bao,
    bao_section: Callable[..., Settings],
    open_keys: Callable[..., KeyManager],
    many: int,
    options: Settings,
) -> None:
    """A handful of calls write them, and another one reads them all."""
    section = bao_section("vault", **options)
    contexts = [{"account": f"acct_{n}"} for n in range(1000)] * (many // 1000)
    items = [Encrypt(b"%d" % n, context) for n, context in enumerate(contexts)]
    batches = range(0, many, 5000)
    keys = open_keys(section)
    outs = [out for at in batches for out in keys.encrypt_many(items[at : at + 5000])]
    values = [Decrypt(out.value, item.context) for out, item in zip(outs, items, strict=True)]
    # One wraps and one proves it; Transit's provider tries a key out before its first use.
    asked = calls(bao, section)
    assert asked["encrypt"] <= 3
    assert sum(asked.values()) <= 6
    reader = open_keys(section)
    opened = [out for at in batches for out in reader.decrypt_many(values[at : at + 5000])]
    assert [out.value for out in opened] == [item.plaintext for item in items]
    assert calls(bao, section)["decrypt"] <= asked["decrypt"] + 3


def test_rotation_and_rewrap(
    bao: Bao, bao_section: Callable[..., Settings], open_keys: Callable[..., KeyManager]
) -> None:
    """After a rotation a thousand values are rewrapped as one, and the old version may go."""
    section = bao_section("vault")
    keys = open_keys(section)
    values = [out.value for out in keys.encrypt_many([Encrypt(b"x", CONTEXT)] * 1000)]
    assert {value.version for value in values} == {"1"}
    bao.api("POST", f"transit/keys/{section['keyID']}/rotate")
    assert keys.current_key() == KeyRef(f"below/{section['keyID']}", "2")
    before = calls(bao, section)
    outs = keys.rewrap_many([Decrypt(value, CONTEXT) for value in values])
    assert {out.value.version for out in outs} == {"2"}
    asked = calls(bao, section)
    assert sum(asked.values()) - sum(before.values()) <= 5
    bao.api("POST", f"transit/keys/{section['keyID']}/config", {"min_decryption_version": 2})
    reader = open_keys(section)
    opened = reader.decrypt_many([Decrypt(out.value, CONTEXT) for out in outs])
    assert [out.value for out in opened] == [b"x"] * 1000


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def own_bao(tmp_path: Path) -> Iterator[Bao]:
    """A server for this test alone, which keeps all that it has when it is killed."""
    from tests.vault._openbao import Bao

    server = Bao(tmp_path / "bao", "raft")
    try:
        yield server
    finally:
        server.stop()


def test_sealed_killed_and_back(own_bao: Bao, open_keys: Callable[..., KeyManager]) -> None:
    """Cached data keys outlive it for as long as their age; then it recovers by itself."""
    key = own_bao.key()
    token = own_bao.token([own_bao.transit_policy(key)])
    server = {"type": "openbao", "endpoint": own_bao.url, "retryFor": 0}
    section = {**server, "keyID": key, "token": token}
    clock = Clock()
    keys = open_keys(section, clock=clock, maxAge="1h")
    value = keys.encrypt(b"x", context=CONTEXT)
    for break_, mend in ((own_bao.seal, own_bao.unseal), (own_bao.kill, own_bao.start)):
        break_()
        clock.now += 1800
        assert keys.decrypt(value, context=CONTEXT) == b"x"
        again = keys.encrypt(b"y", context=CONTEXT)
        clock.now += 1800
        for call in (
            lambda: keys.decrypt(value, context=CONTEXT),
            lambda: keys.encrypt(b"x", context=CONTEXT),
        ):
            with pytest.raises(UnavailableError):
                call()
        mend()
        assert keys.decrypt(value, context=CONTEXT) == b"x"
        assert keys.decrypt(again, context=CONTEXT) == b"y"
        new = keys.encrypt(b"z", context=CONTEXT)
        assert new.ciphertext[3:35] != again.ciphertext[3:35]
        assert open_keys(section).decrypt(new, context=CONTEXT) == b"z"


def test_over_kms(aws_section: Settings, open_keys: Callable[..., KeyManager], moto: Any) -> None:
    """More than KMS takes itself, and its ARN and context as they are there."""
    keys = open_keys({"type": "aws", **aws_section})
    value = keys.encrypt(bytes(1_000_000), context=CONTEXT)
    assert value.key_id == f"below/{aws_section['keyID']}"
    assert keys.decrypt(value, context=CONTEXT) == bytes(1_000_000)
    wrapped = EncryptedValue.from_bytes(
        value.ciphertext[37 : 37 + int.from_bytes(value.ciphertext[35:37], "big")]
    )
    client = moto.client()
    opened = client.decrypt(
        KeyId=aws_section["keyID"],
        CiphertextBlob=wrapped.ciphertext,
        EncryptionContext={"keyhinge": "envelope/1"},
    )
    client.close()
    assert len(opened["Plaintext"]) == 32
