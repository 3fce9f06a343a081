"""Golden vectors of the provider `envelope`: given root key and nonce it writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyhinge import (
    Capabilities,
    Decrypt,
    Encrypt,
    EncryptedValue,
    KeyManager,
    Provider,
    Sealed,
    hookimpl,
    settings,
)

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text())[
    "envelope"
]


@settings
class NoSettings:
    """Settings of the key service: none."""


class Service(Provider):
    """The key service of a vector: it wraps one root key, into what the vector says."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)

    def __init__(self, vector: dict[str, Any]) -> None:
        self._root = bytes.fromhex(vector["K"])
        self._wrapped = EncryptedValue.from_bytes(bytes.fromhex(vector["wrapped_hex"]))
        entries = {key: vector["context"][key] for key in vector["partition"]}
        self._context = {"keyhinge": "envelope/1", **entries}

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        """Wrap it."""
        assert (plaintext, dict(context)) == (self._root, self._context)
        wrapped = self._wrapped
        return Sealed(wrapped.ciphertext, wrapped.key_id, wrapped.version)

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        """Unwrap it."""
        assert (value, dict(context)) == (self._wrapped, self._context)
        return self._root


class Module:
    """What an entry point would name."""

    keyhinge_api = 1
    keyhinge_settings = NoSettings

    def __init__(self, vector: dict[str, Any]) -> None:
        self._vector = vector

    @hookimpl
    def keyhinge_configure(self, settings, section):
        """Make the key service."""
        return Service(self._vector)


@pytest.fixture(params=VECTORS, ids=["whole", "partition"])
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each vector."""
    found: dict[str, Any] = request.param
    return found


@pytest.fixture
def open_keys(vector: dict[str, Any]) -> Iterator[Callable[[], KeyManager]]:
    """Open `envelope` over the vector's key service, which is the section `vault` there."""
    made: list[KeyManager] = []

    def make() -> KeyManager:
        block = {"over": "vault", "partitionBy": vector["partition"]}
        sections = {"envelope": block, "vault": {"type": "stub"}}
        config = {"keyManagement": {"provider": "envelope", **sections}}
        made.append(KeyManager.open(config, providers={"stub": Module(vector)}, environ={}))
        return made[-1]

    yield make
    for keys in made:
        keys.close()


@pytest.fixture
def _no_chance(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """32 random bytes are the vector's root key, 12 its nonce."""
    given = {32: bytes.fromhex(vector["K"]), 12: bytes.fromhex(vector["nonce"])}
    for name, module in list(sys.modules.items()):
        if name.startswith("keyhinge_local.envelope") and hasattr(module, "urandom"):
            monkeypatch.setattr(module, "urandom", lambda size: given[size])


def value_of(vector: dict[str, Any]) -> EncryptedValue:
    """The vector as a value, with the labels that its header says."""
    return EncryptedValue("envelope", "vault/monetr", "1", bytes.fromhex(vector["ciphertext_hex"]))


@pytest.mark.usefixtures("_no_chance")
def test_writes(vector: dict[str, Any], open_keys: Callable[[], KeyManager]) -> None:
    """Exactly the vector's bytes, for a single value and in a batch."""
    plaintext, context = bytes.fromhex(vector["plaintext_hex"]), vector["context"]
    assert open_keys().encrypt(plaintext, context=context) == value_of(vector)
    [out] = open_keys().encrypt_many([Encrypt(plaintext, context)])
    assert out.value == value_of(vector)
    reordered = dict(reversed(context.items()))
    assert open_keys().encrypt(plaintext, context=reordered) == value_of(vector)


def test_reads(vector: dict[str, Any], open_keys: Callable[[], KeyManager]) -> None:
    """The vector opens, single and in a batch, cold and warm."""
    plaintext, context = bytes.fromhex(vector["plaintext_hex"]), vector["context"]
    keys = open_keys()
    for _ in range(2):
        assert keys.decrypt(value_of(vector), context=context) == plaintext
    [out] = open_keys().decrypt_many([Decrypt(value_of(vector), context)])
    assert out.value == plaintext
