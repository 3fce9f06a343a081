"""Which data key a value is under, as the provider tells it."""

from __future__ import annotations

import pytest
from tests.local._envelope import CONTEXT, commitment_of

from keyhinge import EncryptedValue, InvalidCiphertextError


def test_a_data_key_is_told_by_its_commitment(open_keys, kms):
    """It stays when the data key is wrapped anew, and no call is made for it."""
    keys = open_keys()
    assert keys.has_data_keys()
    one, two = (keys.encrypt(b"x", context=CONTEXT) for _ in range(2))
    name = keys.data_key_of(one)
    assert name == keys.data_key_of(two) == commitment_of(one).hex()
    kms.rotate()
    again = keys.rewrap(one, context=CONTEXT)
    assert again.version != one.version
    kms.calls.clear()
    reader = open_keys()
    assert reader.data_key_of(again) == name
    assert not kms.calls


def test_each_key_manager_makes_its_own(open_keys):
    """Also one that was opened from another one: a leaked data key encrypts nothing there."""
    keys = open_keys()
    with keys.clone() as other:
        values = [each.encrypt(b"x", context=CONTEXT) for each in (keys, other)]
    assert keys.data_key_of(values[0]) != keys.data_key_of(values[1])


def test_sections_without(open_keys):
    keys = open_keys()
    assert not keys.has_data_keys("kms")
    assert keys.data_key_of(keys.encrypt(b"x", context=CONTEXT, section="kms")) == ""


@pytest.mark.parametrize("cut", [0, 1, 34, 65])
def test_what_is_no_value_has_none(open_keys, cut):
    keys = open_keys()
    value = keys.encrypt(b"x", context=CONTEXT)
    for raw in (value.ciphertext[:cut] or b"?", b"\x02" + value.ciphertext[1:]):
        with pytest.raises(InvalidCiphertextError):
            keys.data_key_of(EncryptedValue(value.section, value.key_id, value.version, raw))
