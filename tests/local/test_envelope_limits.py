"""How long a data key encrypts: so many values, and so much time."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from tests.local._envelope import CONTEXT, commitment_of, provider_of, settle

from keyhinge import Decrypt, Encrypt, EncryptedValue
from keyhinge.testing._support import in_threads

TENANTS = [{"account": name} for name in "abc"]


def values_per_key(values):
    """How many values are under each data key, in the order of their first value."""
    return list(Counter(map(commitment_of, values)).values())


class TestMessages:
    @pytest.mark.parametrize("most", [1, 2, 3, 5])
    def test_few(self, open_keys, most):
        """Exactly so many, one by one and in a batch."""
        keys = open_keys(maxMessages=most)
        values = [keys.encrypt(b"x", context=CONTEXT) for _ in range(3 * most)]
        assert values_per_key(values) == [most] * 3
        outs = open_keys(maxMessages=most).encrypt_many([Encrypt(b"x", CONTEXT)] * (3 * most))
        assert values_per_key([out.value for out in outs]) == [most] * 3

    def test_never_more_than_the_limit(self, open_keys, kms):
        """Nor many fewer: the next key is made in the background before this one is used up."""
        keys = open_keys(maxMessages=100)
        values = []
        for _ in range(950):
            values.append(keys.encrypt(b"x", context=CONTEXT))
            settle()
        counted = values_per_key(values)
        assert max(counted) <= 100
        assert min(counted[:-1]) >= 90
        assert provider_of(keys).counters.misses.value == 1
        assert kms.calls == {"encrypt": len(counted), "decrypt": len(counted)}

    def test_partitions_count_apart(self, open_keys):
        keys = open_keys(maxMessages=4, partitionBy=["account"])
        items = [Encrypt(b"x", context) for context in TENANTS] * 4
        assert values_per_key([out.value for out in keys.encrypt_many(items)]) == [4, 4, 4]
        again = [out.value for out in keys.encrypt_many(items)]
        assert values_per_key(again) == [4, 4, 4]

    @pytest.mark.parametrize("most", [1, 7, 100])
    def test_threads(self, open_keys, most):
        """Eight threads together never get more out of a data key than one would."""
        keys = open_keys(maxMessages=most)
        values: list[EncryptedValue] = []

        def work(number):
            values.extend(keys.encrypt(b"x", context=CONTEXT) for _ in range(40))
            values.extend(out.value for out in keys.encrypt_many([Encrypt(b"x", CONTEXT)] * 30))

        assert in_threads(8, work) == []
        assert len(values) == 560
        assert max(values_per_key(values)) <= most
        for out in keys.decrypt_many([Decrypt(value, CONTEXT) for value in values]):
            assert out.value == b"x"

    def test_batch_and_background(self, open_keys):
        """One batch that is larger than the limit."""
        keys = open_keys(maxMessages=1000)
        outs = keys.encrypt_many([Encrypt(b"x", CONTEXT)] * 5000)
        counted = values_per_key([out.value for out in outs])
        assert sum(counted) == 5000
        assert max(counted) <= 1000
        assert len(counted) <= 6


class TestAge:
    def test_young_keys_are_not_renewed(self, open_keys, kms, clock):
        keys = open_keys(clock=clock, maxAge="100s")
        value = keys.encrypt(b"x", context=CONTEXT)
        clock.now += 74.9
        assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) == commitment_of(value)
        keys.decrypt(value, context=CONTEXT)
        settle()
        assert kms.calls == {"encrypt": 1, "decrypt": 1}

    def test_renewed_early_in_the_background(self, open_keys, kms, clock):
        """The caller who finds a key due goes on with it, and nobody waits."""
        keys = open_keys(clock=clock, maxAge="100s")
        counters = provider_of(keys).counters
        old = keys.encrypt(b"x", context=CONTEXT)
        clock.now += 91  # beyond the latest moment for a renewal, before the end
        assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) == commitment_of(old)
        settle()
        assert kms.calls == {"encrypt": 2, "decrypt": 2}
        new = keys.encrypt(b"x", context=CONTEXT)
        assert commitment_of(new) != commitment_of(old)
        clock.now += 74  # the new one counts from its own beginning
        assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) == commitment_of(new)
        assert counters.misses.value == 1

    def test_opened_keys_are_renewed_too(self, open_keys, kms, clock):
        value = open_keys().encrypt(b"x", context=CONTEXT)
        reader = open_keys(clock=clock, maxAge="100s")
        kms.calls.clear()
        reader.decrypt(value, context=CONTEXT)
        clock.now += 91
        reader.decrypt(value, context=CONTEXT)
        settle()
        assert kms.calls == {"decrypt": 2}
        clock.now += 74
        reader.decrypt_many([Decrypt(value, CONTEXT)] * 3)
        assert kms.calls == {"decrypt": 2}
        assert provider_of(reader).counters.misses.value == 1

    def test_too_old_is_waited_for(self, open_keys, kms, clock):
        """Nobody was there to have it renewed: then the caller waits."""
        keys = open_keys(clock=clock, maxAge="100s")
        old = keys.encrypt(b"x", context=CONTEXT)
        clock.now += 100
        new = keys.encrypt(b"x", context=CONTEXT)
        assert commitment_of(new) != commitment_of(old)
        assert kms.calls == {"encrypt": 2, "decrypt": 2}
        keys.decrypt(old, context=CONTEXT)
        assert kms.calls == {"encrypt": 2, "decrypt": 3}

    def test_a_revoked_key_works_until_the_age_ends(self, open_keys, kms, clock):
        """`maxAge` is the longest time that a revoked key still works; not a moment more."""
        keys = open_keys(clock=clock, maxAge="100s")
        value = keys.encrypt(b"x", context=CONTEXT)
        kms.deny()
        for _ in range(999):
            clock.now += 0.1
            assert keys.decrypt(value, context=CONTEXT) == b"x"
            keys.encrypt(b"x", context=CONTEXT)
            settle()
        clock.now += 0.11
        for call in (
            lambda: keys.decrypt(value, context=CONTEXT),
            lambda: keys.encrypt(b"x", context=CONTEXT),
        ):
            with pytest.raises(Exception, match="deny"):
                call()

    def test_making_one_takes_time(self, open_keys, kms, clock):
        """An age counts from before the key service was asked."""
        keys = open_keys(clock=clock, maxAge="100s")
        ask = kms.ask

        def slow(call):
            clock.now += 30
            ask(call)

        kms.ask = slow
        old = keys.encrypt(b"x", context=CONTEXT)  # 30 s to wrap it, 30 s to prove it
        kms.ask = ask
        clock.now += 40
        assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) != commitment_of(old)

    def test_a_batch_that_takes_long(self, open_keys, kms, clock):
        """Where data keys are made in the middle of a batch, the others grow old meanwhile."""
        keys = open_keys(clock=clock, maxAge="100s", maxMessages=10, partitionBy=["account"])
        first, second, third = TENANTS
        old = [commitment_of(keys.encrypt(b"x", context=context)) for context in (first, third)]
        ask = kms.ask

        def slow(call):
            clock.now += 60
            ask(call)

        kms.ask = slow
        contexts = [first, *[second] * 25, first, third]
        outs = keys.encrypt_many([Encrypt(b"x", context) for context in contexts])
        made = [commitment_of(out.value) for out in outs]
        assert made[0] == old[0]
        assert not {*old} & {*made[-2:]}

    def test_what_ends_the_thread_in_the_background(self, open_keys, kms, clock, monkeypatch):
        """The next key that is due is renewed by another one: not all that is raised is an
        `Exception`."""
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        keys = open_keys(clock=clock, maxAge="100s", partitionBy=["account"])
        ask = kms.ask

        def end(call):
            raise SystemExit

        old = [keys.encrypt(b"x", context=context) for context in TENANTS]
        clock.now += 91
        kms.ask = end
        keys.encrypt(b"x", context=TENANTS[0])
        settle()
        kms.ask = ask
        keys.encrypt(b"x", context=TENANTS[1])
        settle()
        new = keys.encrypt(b"x", context=TENANTS[1])
        assert commitment_of(new) != commitment_of(old[1])
