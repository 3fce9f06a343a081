"""Golden vectors of the `local` provider: what this release writes, every later one reads.

Both were made by implementations that share no code with this one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keyhinge import EncryptedValue, Sealed
from keyhinge_local import LocalProvider, _sealing
from keyhinge_local._keyring import FileSource, Keyring
from keyhinge_local._sealing import Sealer

VECTOR = json.loads(Path(__file__).with_name("vectors.json").read_text())["local"]
KEY_FILE = """{"format": "keyhinge-local/1", "id": "set1", "active": 1, "versions": [
    {"version": 1, "created": "2026-01-31T12:00:00Z", "fingerprint": "4383588a",
     "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}"""
CONTEXT = {"table": "secrets", "account_id": "acct_1", "secret_id": "sec_\u00fc"}
VALUE = (
    "kh1:local:set1:1.4383588a:ARgXFhUUExIREA8ODQwLCgkIBwYFBAMCAUcQS7cjYCicHwqysoei3DVaFFmcbchYB3M="
)


@pytest.fixture
def sealer() -> Sealer:
    """The vector's key."""
    return Sealer(VECTOR["key_id"], VECTOR["version"], bytes.fromhex(VECTOR["K"]))


def test_opens(sealer: Sealer) -> None:
    """The vector's ciphertext opens."""
    opened = sealer.open(bytes.fromhex(VECTOR["ciphertext_hex"]), VECTOR["context"])
    assert opened == bytes.fromhex(VECTOR["plaintext_hex"])


def test_seals(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the vector's nonce, exactly the vector's ciphertext comes out."""

    def nonce(size: int) -> bytes:
        assert size == 24
        return bytes.fromhex(VECTOR["nonce"])

    monkeypatch.setattr(_sealing, "urandom", nonce)
    sealed = sealer.seal(bytes.fromhex(VECTOR["plaintext_hex"]), VECTOR["context"])
    ciphertext = bytes.fromhex(VECTOR["ciphertext_hex"])
    assert sealed == Sealed(ciphertext, VECTOR["key_id"], VECTOR["version"])


def test_key_file_and_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file and a value of this release, in both directions, through the provider."""
    path = tmp_path / "a.key"
    path.write_text(KEY_FILE)
    path.chmod(0o600)
    provider = LocalProvider(Keyring(FileSource(path, allow_group_read=False)))
    value = EncryptedValue.from_text(VALUE)
    plaintext = "p\u00e4ssword".encode()
    assert provider.keyhinge_decrypt(value, CONTEXT) == plaintext
    monkeypatch.setattr(_sealing, "urandom", lambda size: bytes(range(size, 0, -1)))
    sealed = provider.keyhinge_encrypt(plaintext, CONTEXT)
    assert EncryptedValue("local", *sealed[1:], sealed[0]).to_text() == VALUE
