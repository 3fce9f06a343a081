"""`partitionBy`: data keys of their own for each tenant, and values that say so themselves."""

from __future__ import annotations

import itertools

import pytest
from tests.local._envelope import CONTEXT, commitment_of, parts_of

from keyhinge import NO_CONTEXT, Decrypt, Encrypt, InvalidContextError

SETTINGS = [[], ["account"], ["secret"], ["account", "secret"], ["secret", "account"]]
CHANGES = list(itertools.permutations(SETTINGS, 2))


def bitmap_of(value):
    """The entries that a value names, as a number."""
    return int.from_bytes(parts_of(value).bitmap, "big")


def test_each_tenant_has_data_keys_of_its_own(open_keys, kms):
    keys = open_keys(partitionBy=["account"])
    found: dict[str, set[bytes]] = {}
    for account, secret in itertools.product("abc", "123"):
        context = {"account": account, "secret": secret}
        value = keys.encrypt(b"x", context=context)
        assert bitmap_of(value) == 1
        found.setdefault(account, set()).add(commitment_of(value))
    assert [len(each) for each in found.values()] == [1, 1, 1]
    assert len(set.union(*found.values())) == 3
    assert kms.calls == {"encrypt": 3, "decrypt": 3}


def test_a_batch_makes_all_data_keys_together(open_keys, kms):
    """Two calls, whatever the number of tenants."""
    keys = open_keys(partitionBy=["account"])
    items = [Encrypt(b"%d" % n, {"account": f"a{n % 50}", "secret": str(n)}) for n in range(500)]
    values = [out.value for out in keys.encrypt_many(items)]
    assert len(set(map(commitment_of, values))) == 50
    assert kms.calls == {"encrypt_many": 1, "decrypt_many": 1}
    reader = open_keys(partitionBy=["account"])
    opened = reader.decrypt_many(
        [Decrypt(value, item.context) for value, item in zip(values, items, strict=True)]
    )
    assert [out.value for out in opened] == [b"%d" % n for n in range(500)]
    assert kms.calls == {"encrypt_many": 1, "decrypt_many": 2}


@pytest.mark.parametrize("context", [{}, {"secret": "1"}, {"Account": "a"}, {"account2": "a"}])
def test_a_context_that_lacks_the_key(open_keys, kms, context):
    """Nothing is encrypted under some other tenant's data key, or under everybody's."""
    keys = open_keys(partitionBy=["account"])
    with pytest.raises(InvalidContextError, match="the context lacks account, by which"):
        keys.encrypt(b"x", context=context)
    bad, good = keys.encrypt_many([Encrypt(b"x", context), Encrypt(b"y", CONTEXT)])
    assert isinstance(bad.error, InvalidContextError)
    assert keys.decrypt(good.value, context=CONTEXT) == b"y"
    with pytest.raises(InvalidContextError, match="the context lacks account, zone, by"):
        open_keys(partitionBy=["zone", "account"]).encrypt(b"x", context=context)


def test_trying_the_section_out(open_keys, kms):
    """What core encrypts to see that it works belongs to no tenant."""
    keys = open_keys(partitionBy=["account"])
    assert keys.check(purpose="migrate").ok
    assert keys.health().ok
    keys._try_primary()
    with pytest.raises(InvalidContextError, match="the context lacks account"):
        keys.encrypt(b"x", context=NO_CONTEXT)


@pytest.mark.parametrize(("before", "after"), CHANGES, ids=str)
def test_changing_the_setting_orphans_nothing(open_keys, before, after):
    """A value says by itself what it was made with."""
    old = open_keys(partitionBy=before).encrypt(b"x", context=CONTEXT)
    keys = open_keys(partitionBy=after)
    new = keys.encrypt(b"y", context=CONTEXT)
    for _ in range(2):
        assert keys.decrypt(old, context=CONTEXT) == b"x"
        assert keys.decrypt(new, context=CONTEXT) == b"y"
    again = keys.rewrap(old, context=CONTEXT)
    assert bitmap_of(again) == bitmap_of(old)  # rewrapping moves no value to another data key
    assert keys.decrypt(again, context=CONTEXT) == b"x"


def test_contexts_of_other_shapes(open_keys, kms):
    """A tenant's data key serves contexts whose other entries stand elsewhere."""
    keys = open_keys(partitionBy=["m"])
    shapes = [
        ({"m": "1"}, 0b1),
        ({"m": "1", "z": "1"}, 0b1),
        ({"a": "1", "m": "1"}, 0b10),
        ({"z": "1", "m": "1", "a": "1", "b": "1"}, 0b100),
        ({"M2": "1", "m": "1", "_".join("ab"): "1"}, 0b100),
    ]
    values = [keys.encrypt(b"x", context=context) for context, _ in shapes]
    assert [bitmap_of(value) for value in values] == [bits for _, bits in shapes]
    assert len(set(map(commitment_of, values))) == 1
    assert kms.calls["encrypt"] == 1
    for reader in (keys, open_keys()):
        for value, (context, _) in zip(values, shapes, strict=True):
            assert reader.decrypt(value, context=context) == b"x"
            assert reader.decrypt(value, context=dict(reversed(context.items()))) == b"x"


def test_the_order_of_keys_is_that_of_bytes(open_keys):
    """Capitals come before small letters, whatever the context's own order."""
    keys = open_keys(partitionBy=["Zone"])
    for context in ({"account": "1", "Zone": "z"}, {"Zone": "z", "account": "1"}):
        value = keys.encrypt(b"x", context=context)
        assert bitmap_of(value) == 1
        assert open_keys().decrypt(value, context=context) == b"x"


def test_sixteen_entries(open_keys):
    """The most that a context has; the last one's bit is the bitmap's highest."""
    context = {f"k{n:02}": str(n) for n in range(16)}
    keys = open_keys(partitionBy=["k15"])
    value = keys.encrypt(b"x", context=context)
    assert bitmap_of(value) == 1 << 15
    most = open_keys(partitionBy=sorted(context)[1:])
    other = most.encrypt(b"x", context=context)
    assert bitmap_of(other) == 0xFFFE
    for reader in (keys, most, open_keys()):
        assert reader.decrypt(value, context=context) == b"x"
        assert reader.decrypt(other, context=context) == b"x"


@pytest.mark.parametrize("of", [["k0"], ["k0", "k1"], ["k0", "k1", "k2"]], ids=len)
def test_the_largest_contexts(open_keys, of):
    """4,096 bytes in all, the partition's entries among them."""
    context = {f"k{n}": "\u00e9" * 511 for n in range(4)}
    size = sum(len(key) + len(text.encode()) for key, text in context.items())
    assert size == 4096
    keys = open_keys(partitionBy=of)
    value = keys.encrypt(b"x", context=context)
    for reader in (keys, open_keys()):
        assert reader.decrypt(value, context=context) == b"x"


def test_a_partition_that_is_too_large(open_keys, kms):
    """The wrap context has an entry of its own: the last 18 bytes aren't for partitions."""
    context = {f"k{n}": "x" * 1022 for n in range(4)}
    keys = open_keys(partitionBy=sorted(context))
    with pytest.raises(InvalidContextError, match="larger than"):
        keys.encrypt(b"x", context=context)
    [out] = keys.encrypt_many([Encrypt(b"x", context)])
    assert isinstance(out.error, InvalidContextError)
    smaller = {**context, "k3": "x" * 1004}
    assert keys.decrypt(keys.encrypt(b"x", context=smaller), context=smaller) == b"x"
    assert kms.calls["encrypt"] == 1


def test_more_contexts_than_are_remembered(open_keys):
    """What is remembered of contexts is bounded, and forgetting it changes nothing."""
    keys = open_keys(partitionBy=["account"])
    contexts = [{"account": "a", "secret": str(n)} for n in range(9000)]
    values = [out.value for out in keys.encrypt_many([Encrypt(b"x", c) for c in contexts])]
    assert len(set(map(commitment_of, values))) == 1
    opened = keys.decrypt_many([Decrypt(v, c) for v, c in zip(values, contexts, strict=True)])
    assert all(out.value == b"x" for out in opened)
    partitioning = keys._section(None).encrypt.__self__._partition.__self__
    assert len(partitioning._known) <= 4096
    assert len(partitioning._named) <= 4096
