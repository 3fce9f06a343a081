"""The provider `envelope` and a ciphertext that two AES-GCM keys open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.local._two_keys import two_keys
from tests.vectors import _envelope_decoder as decoder

from keyhinge import EncryptedValue, InvalidCiphertextError, KeyManager
from keyhinge_local import LocalProvider
from keyhinge_local._keyring import FileSource, Keyring

CONTEXT = {"account": "acct_1", "secret": "sec_1"}
WRAP_CONTEXT = {"keyhinge": "envelope/1"}


@pytest.fixture
def local(key_path: Path) -> Iterator[LocalProvider]:
    """What wraps data keys, for whoever can call it: the attacker may."""
    provider = LocalProvider(Keyring(FileSource(key_path, allow_group_read=False)))
    yield provider
    provider.keyhinge_close()


@pytest.fixture
def keys(key_path: Path) -> Iterator[KeyManager]:
    """`envelope` over the same key file."""
    blocks = {"envelope": {"over": "local"}, "local": {"keyFile": str(key_path)}}
    config = {"keyManagement": {"provider": "envelope", **blocks}}
    with KeyManager.open(config, environ={}) as keys:
        yield keys


@pytest.mark.parametrize("committed", [0, 1])
@pytest.mark.parametrize("first", ["right", "wrong", "wrong twice"])
def test_refused(keys: KeyManager, local: LocalProvider, committed: int, first: str) -> None:
    """It opens under the key that the header commits to; never under the other one.

    Whichever of the two comes first: what was opened before changes nothing.
    """
    roots = [os.urandom(32), os.urandom(32)]
    derived = [decoder.derive(root, WRAP_CONTEXT) for root in roots]
    nonce, header = os.urandom(12), b"\x01\0\0" + derived[committed][1]
    aad = header + decoder.encode_context(CONTEXT)
    body = two_keys(derived[0][0], derived[1][0], nonce, aad)
    plaintexts = [AESGCM(key).decrypt(nonce, body, aad) for key, _ in derived]
    values = [enveloped(local, header, root, nonce + body) for root in roots]

    def right() -> None:
        assert keys.decrypt(values[committed], context=CONTEXT) == plaintexts[committed]

    def wrong() -> None:
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(values[1 - committed], context=CONTEXT)

    for call in {"right": (right, wrong), "wrong": (wrong, right)}.get(first, (wrong, wrong)):
        call()
    right()
    wrong()


def enveloped(local: LocalProvider, header: bytes, root: bytes, rest: bytes) -> EncryptedValue:
    """The value that `envelope` would have made with this root key."""
    sealed = local.keyhinge_encrypt(root, WRAP_CONTEXT)
    wrapped = EncryptedValue("local", sealed.key_id, sealed.version, sealed.ciphertext).to_bytes()
    body = header + len(wrapped).to_bytes(2, "big") + wrapped + rest
    return EncryptedValue("envelope", f"local/{sealed.key_id}", sealed.version, body)
