"""Rewrapping replaces what a data key is wrapped in, once for all its values, and nothing else."""

from __future__ import annotations

import pytest
from tests.local._envelope import CONTEXT, parts_of, provider_of, with_parts

from keyhinge import (
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    UnavailableError,
)
from keyhinge.testing import FakeService
from keyhinge.testing._support import with_changes

CONTEXTS = [{"account": f"a{n % 4}", "secret": str(n)} for n in range(1000)]
ITEMS = [Encrypt(b"%d" % n, context) for n, context in enumerate(CONTEXTS)]


def encrypted(keys):
    """A thousand values, each with its context."""
    outs = keys.encrypt_many(ITEMS)
    return [Decrypt(out.value, item.context) for out, item in zip(outs, ITEMS, strict=True)]


def rewrapped(keys, items):
    """The same values, rewrapped."""
    outs = keys.rewrap_many(items)
    return [Decrypt(out.value, item.context) for out, item in zip(outs, items, strict=True)]


def expect_open(keys, items):
    """All of them open to what they were made of."""
    assert [out.value for out in keys.decrypt_many(items)] == [item.plaintext for item in ITEMS]


def test_a_thousand_values_of_one_data_key(open_keys, kms):
    """One rewrap and one proof; the values differ in the wrapped key alone."""
    keys = open_keys()
    before = encrypted(keys)
    kms.rotate()
    kms.calls.clear()
    after = rewrapped(keys, before)
    assert kms.calls == {"rewrap": 1, "decrypt": 1}
    assert len({parts_of(item.value).wrapped for item in after}) == 1
    for old, new in zip(before, after, strict=True):
        one, two = parts_of(old.value), parts_of(new.value)
        assert one._replace(wrapped=b"") == two._replace(wrapped=b"")
        assert one.wrapped != two.wrapped
        assert (old.value.version, new.value.version) == ("1", "2")
        assert old.value.key_id == new.value.key_id
    expect_open(keys, after)
    expect_open(keys, before)
    expect_open(open_keys(), after)
    # A reader needs one unwrap for all of them, as before.
    assert kms.calls == {"rewrap": 1, "decrypt": 2}


def test_one_by_one(open_keys, kms):
    """Also without a batch the key service is asked once."""
    keys = open_keys()
    before = encrypted(keys)[:50]
    kms.rotate()
    kms.calls.clear()
    values = [keys.rewrap(item.value, context=item.context) for item in before]
    assert kms.calls == {"rewrap": 1, "decrypt": 1}
    assert {value.version for value in values} == {"2"}
    assert len({parts_of(value).wrapped for value in values}) == 1


def test_each_data_key_once(open_keys, kms):
    """Four tenants: four data keys, in two calls together; every tenant's stays its own."""
    keys = open_keys(partitionBy=["account"])
    before = encrypted(keys)
    kms.rotate()
    kms.calls.clear()
    after = rewrapped(keys, before)
    assert kms.calls == {"rewrap_many": 1, "decrypt_many": 1}
    assert len({parts_of(item.value).wrapped for item in after}) == 4
    expect_open(open_keys(), after)
    with pytest.raises(InvalidCiphertextError):
        open_keys().decrypt(after[0].value, context=CONTEXTS[1])


def test_a_process_that_never_saw_them(open_keys, kms):
    """Opens the data key first: what doesn't open isn't worth a new wrapping."""
    before = encrypted(open_keys())
    kms.rotate()
    kms.calls.clear()
    after = rewrapped(open_keys(), before)
    assert sum(kms.calls.values()) == 3
    expect_open(open_keys(), after)


def test_bad_ones_fail_alone(open_keys, kms):
    """And make no call."""
    keys = open_keys()
    good = keys.encrypt(b"x", context=CONTEXT)
    parts = parts_of(good)
    bad = [
        with_parts(good, parts._replace(body=bytes(len(parts.body)))),
        with_parts(good, parts._replace(bitmap=b"\x80\0")),
        with_changes(good, version="9"),
        with_changes(good, ciphertext=b"x"),
    ]
    kms.calls.clear()
    items = [Decrypt(value, CONTEXT) for value in (bad[0], good, *bad[1:])]
    first, second, *others = keys.rewrap_many([*items, Decrypt(good, {})])
    assert kms.calls == {"rewrap": 1, "decrypt": 1}
    assert keys.decrypt(second.value, context=CONTEXT) == b"x"
    for out in (first, *others):
        assert isinstance(out.error, InvalidCiphertextError)


def test_a_newer_version_still(open_keys, kms, clock):
    """What was rewrapped is remembered for a minute, or until somebody asks for the current key."""
    keys = open_keys(clock=clock)
    value = keys.encrypt(b"x", context=CONTEXT)
    kms.rotate()
    assert keys.rewrap(value, context=CONTEXT).version == "2"
    kms.rotate()
    assert keys.rewrap(value, context=CONTEXT).version == "2"
    assert keys.current_key().version == "3"
    assert keys.rewrap(value, context=CONTEXT).version == "3"
    kms.rotate()
    assert keys.rewrap(value, context=CONTEXT).version == "3"
    clock.now += 61
    assert keys.rewrap(value, context=CONTEXT).version == "4"


def test_again_and_again(open_keys, kms):
    """The old versions may go: nothing of them is left in the values."""
    keys = open_keys()
    items = encrypted(keys)
    for version in ("2", "3", "4"):
        kms.rotate()
        assert keys.current_key().version == version
        items = rewrapped(keys, items)
        assert {item.value.version for item in items} == {version}
    kms._keys = {"4": kms._keys["4"]}
    expect_open(open_keys(), items)


def test_it_revokes_nothing(open_keys, kms):
    """The data key stays: who has it can open what is made under it. Documented, and so."""
    keys = open_keys()
    value = keys.encrypt(b"x", context=CONTEXT)
    again = keys.rewrap(value, context=CONTEXT)
    assert parts_of(value).commitment == parts_of(again).commitment


class TestMovingToAnotherSection:
    """`over` names another section now, and `alsoUnwrap` the former one."""

    @pytest.fixture
    def spare(self):
        """Where to."""
        return FakeService()

    def test_moves(self, open_keys, kms, spare):
        before = encrypted(open_keys(partitionBy=["account"]))
        moved = open_keys({"spare": spare, "kms": kms}, alsoUnwrap=["kms"])
        expect_open(moved, before)
        new = moved.encrypt(b"x", context=CONTEXT)
        assert new.key_id == f"spare/{spare.current_key.key_id}"
        assert moved.current_key().key_id == new.key_id
        kms.calls.clear()
        spare.calls.clear()
        after = rewrapped(moved, before)
        assert {item.value.key_id for item in after} == {new.key_id}
        assert {EncryptedValue.from_bytes(parts_of(i.value).wrapped).section for i in after} == {
            "spare"
        }
        # Four data keys, not a thousand values.
        assert sum(kms.calls.values()) <= 4
        assert sum(spare.calls.values()) <= 5
        # The former section may go.
        alone = open_keys({"spare": spare})
        expect_open(alone, after)
        with pytest.raises(InvalidCiphertextError):
            alone.decrypt(before[0].value, context=before[0].context)

    def test_both_kinds_in_one_batch(self, open_keys, kms, spare):
        old = open_keys().encrypt(b"old", context=CONTEXT)
        moved = open_keys({"spare": spare, "kms": kms}, alsoUnwrap=["kms"])
        new = moved.encrypt(b"new", context=CONTEXT)
        outs = moved.rewrap_many([Decrypt(old, CONTEXT), Decrypt(new, CONTEXT)])
        assert [moved.decrypt(out.value, context=CONTEXT) for out in outs] == [b"old", b"new"]
        assert len({out.value.key_id for out in outs}) == 1

    @pytest.mark.parametrize("away", ["kms", "spare"])
    def test_while_one_is_away(self, open_keys, kms, spare, away):
        """An outage of either is an outage; the values stay as they are."""
        old = open_keys().encrypt(b"old", context=CONTEXT)
        moved = open_keys({"spare": spare, "kms": kms}, alsoUnwrap=["kms"])
        service = {"kms": kms, "spare": spare}[away]
        service.fail()
        with pytest.raises(UnavailableError):
            moved.rewrap(old, context=CONTEXT)
        service.recover()
        assert moved.decrypt(moved.rewrap(old, context=CONTEXT), context=CONTEXT) == b"old"

    def test_the_former_key_is_lost(self, open_keys, kms, spare):
        """Says so, and not that the value was changed."""
        old = open_keys().encrypt(b"old", context=CONTEXT)
        kms.lose_key()
        moved = open_keys({"spare": spare, "kms": kms}, alsoUnwrap=["kms"])
        with pytest.raises(KeyUnavailableError):
            moved.rewrap(old, context=CONTEXT)


def test_counters(open_keys):
    """A new wrapping is a wrap and an unwrap."""
    keys = open_keys()
    value = keys.encrypt(b"x", context=CONTEXT)
    keys.rewrap_many([Decrypt(value, CONTEXT)] * 10)
    found = provider_of(keys).counters.as_dict()
    assert (found["wraps"], found["unwraps"]) == (2, 2)
