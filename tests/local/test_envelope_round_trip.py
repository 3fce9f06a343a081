"""What `envelope` asks the key service, when all is well, and what it counts."""

from __future__ import annotations

import random

import pytest
from tests.local._envelope import CONTEXT, commitment_of, provider_of

from keyhinge import Decrypt, Encrypt, InvalidCiphertextError, KeyRef
from keyhinge.testing import FakeService
from keyhinge.testing._support import with_changes


def test_two_calls_serve_all_values(open_keys, kms):
    """A wrap, and an unwrap that proves it; nothing more, whatever the number of values."""
    keys = open_keys()
    values = [keys.encrypt(b"%d" % n, context=CONTEXT) for n in range(50)]
    values += [out.value for out in keys.encrypt_many([Encrypt(b"50", CONTEXT)] * 50)]
    for n, value in enumerate(values):
        assert keys.decrypt(value, context=CONTEXT) == b"%d" % min(n, 50)
    assert [out.value for out in keys.decrypt_many([Decrypt(v, CONTEXT) for v in values])]
    assert kms.calls == {"encrypt": 1, "decrypt": 1}
    assert len({commitment_of(value) for value in values}) == 1


def test_a_reader_unwraps_once(open_keys, kms):
    """Another process unwraps a data key once, for single calls and for batches."""
    values = [open_keys().encrypt(b"x", context=CONTEXT) for _ in range(3)] * 10
    kms.calls.clear()
    reader = open_keys()
    for out in reader.decrypt_many([Decrypt(value, CONTEXT) for value in values]):
        assert out.value == b"x"
    assert kms.calls == {"decrypt_many": 1}
    for value in values:
        assert reader.decrypt(value, context=CONTEXT) == b"x"
    assert kms.calls == {"decrypt_many": 1}


def test_labels(open_keys, kms):
    """The key id says which section and key wrap; the version is that one's."""
    kms.rotate()
    keys = open_keys()
    value = keys.encrypt(b"x", context=CONTEXT)
    inner = kms.current_key
    assert inner.version == "2"
    assert (value.section, value.key_id, value.version) == ("envelope", f"kms/{inner.key_id}", "2")
    assert keys.current_key() == KeyRef(value.key_id, value.version)


def test_a_new_version_is_used_once_it_is_told(open_keys, kms):
    """Whoever asks for the current key makes data keys under an older one encrypt no more."""
    keys = open_keys()
    old = keys.encrypt(b"x", context=CONTEXT)
    kms.rotate()
    assert keys.encrypt(b"x", context=CONTEXT).version == "1"
    assert keys.current_key().version == "2"
    new = keys.encrypt(b"x", context=CONTEXT)
    assert new.version == "2"
    assert commitment_of(new) != commitment_of(old)
    assert keys.decrypt(old, context=CONTEXT) == b"x"


def test_counters(open_keys):
    """Hits and misses count values and waits; wraps and unwraps what goes to the service."""
    keys = open_keys()
    counters = provider_of(keys).counters
    value = keys.encrypt(b"x", context=CONTEXT)
    assert counters.as_dict() == {"hits": 0, "misses": 1, "wraps": 1, "unwraps": 1}
    keys.encrypt(b"x", context=CONTEXT)
    keys.decrypt(value, context=CONTEXT)
    assert counters.as_dict() == {"hits": 2, "misses": 1, "wraps": 1, "unwraps": 1}
    keys.decrypt_many([Decrypt(value, CONTEXT)] * 5)
    assert counters.as_dict() == {"hits": 7, "misses": 1, "wraps": 1, "unwraps": 1}


def test_counters_of_batches(open_keys):
    """A batch's first value under a new data key is a miss, the others are hits."""
    keys = open_keys(partitionBy=["account"])
    counters = provider_of(keys).counters
    items = [Encrypt(b"x", {"account": str(n % 2)}) for n in range(10)]
    keys.encrypt_many(items)
    assert counters.as_dict() == {"hits": 8, "misses": 2, "wraps": 2, "unwraps": 2}
    keys.encrypt_many(items)
    assert counters.as_dict() == {"hits": 18, "misses": 2, "wraps": 2, "unwraps": 2}
    values = [out.value for out in keys.encrypt_many(items)]
    reader = open_keys()
    reader.decrypt_many(
        [Decrypt(value, item.context) for value, item in zip(values, items, strict=True)]
    )
    found = provider_of(reader).counters.as_dict()
    assert found == {"hits": 8, "misses": 2, "wraps": 0, "unwraps": 2}


def test_check_tells_the_counters(open_keys):
    """`check` names the wrapping section, the longest time a revoked key works, and the counts."""
    keys = open_keys(maxAge="15m")
    keys.encrypt(b"x", context=CONTEXT)
    found = {finding.code: finding for finding in keys.check().findings}
    assert "'kms'" in found["wrapping"].message
    assert "15m" in found["wrapping"].message
    assert found["wrapping"].data == {"over": "kms", "max_age": 900.0}
    assert found["data-keys"].data["wraps"] == 1
    assert "wraps 1, unwraps 1" in found["data-keys"].message


@pytest.mark.parametrize("size", [0, 1, 16 * 1024 - 1, 16 * 1024, 300_000, 4 * 1024 * 1024])
def test_sizes(open_keys, size):
    """Whatever path a size takes; single and in a batch."""
    keys = open_keys()
    plaintext = b"\xa5" * size
    value = keys.encrypt(plaintext, context=CONTEXT)
    [out] = keys.encrypt_many([Encrypt(plaintext, CONTEXT)])
    for made in (value, out.value):
        assert keys.decrypt(made, context=CONTEXT) == plaintext
        assert keys.decrypt_many([Decrypt(made, CONTEXT)])[0].value == plaintext


def test_every_value_has_a_nonce_of_its_own(open_keys):
    """Also within a batch."""
    keys = open_keys()
    values = [keys.encrypt(b"x", context=CONTEXT) for _ in range(100)]
    values += [out.value for out in keys.encrypt_many([Encrypt(b"x", CONTEXT)] * 100)]
    assert len({value.ciphertext[-29:-17] for value in values}) == 200


def test_two_managers_share_no_data_key(open_keys):
    """A data key encrypts only where it was made."""
    first, second = open_keys(), open_keys()
    one, other = (keys.encrypt(b"x", context=CONTEXT) for keys in (first, second))
    assert commitment_of(one) != commitment_of(other)
    assert second.decrypt(one, context=CONTEXT) == b"x"
    third = second.encrypt(b"x", context=CONTEXT)
    assert commitment_of(third) == commitment_of(other)


def test_an_unwrapped_key_never_encrypts(open_keys):
    """A reader that then writes makes a data key of its own."""
    old = open_keys().encrypt(b"x", context=CONTEXT)
    reader = open_keys()
    assert reader.decrypt(old, context=CONTEXT) == b"x"
    assert commitment_of(reader.encrypt(b"x", context=CONTEXT)) != commitment_of(old)


def test_another_service_does_not_open_it(open_keys):
    """A data key of another service's is none here."""
    value = open_keys({"kms": FakeService()}).encrypt(b"x", context=CONTEXT)
    with pytest.raises(Exception, match="another key"):
        open_keys().decrypt(value, context=CONTEXT)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_batch_of_all_sorts(open_keys, warm):
    """Whatever stands beside an item: each gets what it would get alone."""
    whole, again, parted = open_keys(), open_keys(), open_keys(partitionBy=["account"])
    items = []
    for n in range(60):
        context = {"account": f"a{n % 3}", "secret": str(n)}
        value = (whole, again, parted)[n // 3 % 3].encrypt(b"%d" % n, context=context)
        if n % 7 == 3:
            value = with_changes(
                value, ciphertext=value.ciphertext[:-1] + bytes([value.ciphertext[-1] ^ 1])
            )
        if n % 11 == 5:
            context = {**context, "account": "b"}
        if n % 13 == 6:
            value = with_changes(value, version="9")
        items.append(Decrypt(value, context))
    random.Random(1).shuffle(items)
    reader = open_keys()
    if warm:
        reader.decrypt_many(items)
    outs = reader.decrypt_many(items)
    for out, item in zip(outs, items, strict=True):
        if out.error is None:
            assert out.value == b"%d" % int(item.context["secret"])
            assert open_keys().decrypt(item.value, context=item.context) == out.value
        else:
            assert type(out.error) is InvalidCiphertextError
            with pytest.raises(InvalidCiphertextError):
                open_keys().decrypt(item.value, context=item.context)
    bad = {n for n in range(60) if n % 7 == 3 or n % 11 == 5 or n % 13 == 6}
    assert {int(i.context["secret"]) for i, o in zip(items, outs, strict=True) if o.error} == bad
