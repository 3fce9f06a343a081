"""A key service that is away: what is cached goes on until its age ends; then it's unavailable."""

from __future__ import annotations

import logging

import pytest
from tests.local._envelope import CONTEXT, commitment_of, settle

from keyhinge import Decrypt, Encrypt, ThrottledError, UnavailableError

OTHER = {"account": "acct_2", "secret": "sec_2"}


def test_cached_keys_work_until_their_age_ends(open_keys, kms, clock):
    keys = open_keys(clock=clock, maxAge="100s")
    value = keys.encrypt(b"x", context=CONTEXT)
    kms.fail()
    for _ in range(99):
        clock.now += 1
        assert keys.decrypt(value, context=CONTEXT) == b"x"
        assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) == commitment_of(value)
        settle()
    clock.now += 1
    for call in (
        lambda: keys.decrypt(value, context=CONTEXT),
        lambda: keys.encrypt(b"x", context=CONTEXT),
    ):
        with pytest.raises(UnavailableError) as caught:
            call()
        assert caught.value.retryable
        assert caught.value.section == "kms"
    outs = [
        *keys.decrypt_many([Decrypt(value, CONTEXT)] * 2),
        *keys.encrypt_many([Encrypt(b"x", CONTEXT)] * 2),
        *keys.rewrap_many([Decrypt(value, CONTEXT)] * 2),
    ]
    assert {type(out.error) for out in outs} == {UnavailableError}
    # It recovers by itself.
    kms.recover()
    assert keys.decrypt(value, context=CONTEXT) == b"x"
    assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) != commitment_of(value)


def test_a_renewal_after_the_outage(open_keys, kms, clock, caplog):
    """A key whose renewal failed is renewed as soon as that works again; nobody waits for it."""
    keys = open_keys(clock=clock, maxAge="100s")
    value = keys.encrypt(b"x", context=CONTEXT)
    kms.fail()
    clock.now += 91
    with caplog.at_level(logging.WARNING, "keyhinge"):
        keys.encrypt(b"x", context=CONTEXT)
        settle()
    [record] = caplog.records
    assert record.event == "keyhinge.data_key_not_renewed"
    assert record.getMessage() == (
        "a data key couldn't be renewed (UnavailableError); it is used for another 9 s at most"
    )
    calls = kms.calls["encrypt"]
    keys.encrypt(b"x", context=CONTEXT)  # not at every call: the service has trouble enough
    settle()
    assert kms.calls["encrypt"] == calls
    kms.recover()
    clock.now += 3
    assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) == commitment_of(value)
    settle()
    assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) != commitment_of(value)


def test_other_data_keys_are_not_to_be_had(open_keys, kms):
    """What isn't cached fails at once; what is goes on beside it, also within one batch."""
    keys = open_keys(partitionBy=["account"])
    mine = keys.encrypt(b"mine", context=CONTEXT)
    theirs = open_keys(partitionBy=["account"]).encrypt(b"theirs", context=OTHER)
    kms.fail()
    good, bad = keys.decrypt_many([Decrypt(mine, CONTEXT), Decrypt(theirs, OTHER)])
    assert good.value == b"mine"
    assert isinstance(bad.error, UnavailableError)
    good, bad = keys.encrypt_many([Encrypt(b"x", CONTEXT), Encrypt(b"x", OTHER)])
    assert keys.decrypt(good.value, context=CONTEXT) == b"x"
    assert isinstance(bad.error, UnavailableError)


def test_a_used_up_data_key_is_not_used_on(open_keys, kms):
    """An outage extends no limit."""
    keys = open_keys(maxMessages=5)
    for _ in range(5):
        keys.encrypt(b"x", context=CONTEXT)
    kms.fail()
    with pytest.raises(UnavailableError):
        keys.encrypt(b"x", context=CONTEXT)
    kms.recover()
    items = [Encrypt(b"x", CONTEXT)] * 3
    assert all(out.error is None for out in keys.encrypt_many(items))
    kms.fail()
    one, two, *bad = keys.encrypt_many(items)  # two are left
    assert keys.decrypt(one.value, context=CONTEXT) == b"x"
    assert two.error is None
    assert [type(out.error) for out in bad] == [UnavailableError]


@pytest.mark.parametrize("failing", ["encrypt", "decrypt"])
def test_while_a_data_key_is_made(open_keys, kms, failing):
    """Neither the wrap nor its proof may fail; no value leaves, and the next call tries again."""
    keys = open_keys()
    ask = kms.ask

    def ask_or_fail(call):
        ask(call)
        if call == failing:
            raise UnavailableError("is away")

    kms.ask = ask_or_fail
    for _ in range(2):
        with pytest.raises(UnavailableError):
            keys.encrypt(b"x", context=CONTEXT)
    kms.ask = ask
    value = keys.encrypt(b"x", context=CONTEXT)
    assert open_keys().decrypt(value, context=CONTEXT) == b"x"


def test_throttling(open_keys, kms):
    """Goes to the caller as what it is, and is over when it is over."""
    value = open_keys().encrypt(b"x", context=CONTEXT)
    keys = open_keys()
    kms.throttle(1)
    with pytest.raises(ThrottledError) as caught:
        keys.decrypt(value, context=CONTEXT)
    assert caught.value.retryable
    assert keys.decrypt(value, context=CONTEXT) == b"x"


def test_starting_without_the_service(open_keys, kms):
    """A section opens without it."""
    kms.fail()
    keys = open_keys()
    with pytest.raises(UnavailableError):
        keys.encrypt(b"x", context=CONTEXT)
    assert not keys.check().ok
    kms.recover()
    assert keys.check().ok
