"""After a fork parent and child never encrypt under one data key."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.local._envelope import CONTEXT, Gate, commitment_of, provider_of

from keyhinge import EncryptedValue, start_anew_after_fork
from keyhinge._context import check_context
from keyhinge.testing._support import in_fork

FROZEN = check_context(CONTEXT)


def encrypted_in_child(keys):
    """What a forked child encrypts with the parent's KeyManager."""
    raw = in_fork(lambda: keys.encrypt(b"child", context=CONTEXT).to_bytes())
    assert not raw.startswith(b"raised"), raw
    return EncryptedValue.from_bytes(raw)


def test_commitments_differ(open_keys):
    """In the child, in another child, and in the parent afterwards."""
    keys = open_keys()
    before = keys.encrypt(b"x", context=CONTEXT)
    one, two = encrypted_in_child(keys), encrypted_in_child(keys)
    after = keys.encrypt(b"x", context=CONTEXT)
    assert commitment_of(before) == commitment_of(after)
    assert len({commitment_of(value) for value in (before, one, two)}) == 3
    for value in (one, two):
        assert keys.decrypt(value, context=CONTEXT) == b"child"


def test_a_child_of_a_child(open_keys):
    keys = open_keys()
    before = keys.encrypt(b"x", context=CONTEXT)

    def child():
        mine = keys.encrypt(b"x", context=CONTEXT)
        return commitment_of(mine) + commitment_of(encrypted_in_child(keys))

    both = in_fork(child)
    assert len({both[:32], both[32:], commitment_of(before)}) == 3


def test_the_child_goes_on(open_keys):
    """It opens the parent's values, and the parent its."""
    keys = open_keys()
    before = keys.encrypt(b"x", context=CONTEXT)
    assert in_fork(lambda: keys.decrypt(before, context=CONTEXT)) == b"x"


def test_the_provider_itself(open_keys):
    """Not only because core configures sections anew: the provider drops its keys by itself."""
    keys = open_keys()
    provider = provider_of(keys)
    before = provider.keyhinge_encrypt(b"x", FROZEN)
    mine = in_fork(lambda: provider.keyhinge_encrypt(b"x", FROZEN).ciphertext)
    assert len(mine) == len(before.ciphertext)
    assert mine[3:35] != before.ciphertext[3:35]


def test_nothing_is_left_in_the_child(open_keys):
    """Neither keys that encrypt nor keys that decrypt, nor new wrappings."""
    keys = open_keys()
    value = keys.encrypt(b"x", context=CONTEXT)
    keys.rewrap(value, context=CONTEXT)
    caches = provider_of(keys)._caches
    assert [len(cache.entries) for cache in caches] == [1, 2, 1]
    assert in_fork(lambda: bytes(len(cache.entries) for cache in caches)) == bytes(3)
    assert [len(cache.entries) for cache in caches] == [1, 2, 1]


@pytest.mark.parametrize("through", ["manager", "provider"])
def test_while_another_thread_is_inside_a_call(open_keys, kms, through):
    """No lock that it held, and nothing that it was about to bring, is the child's."""
    keys = open_keys()
    provider = provider_of(keys)
    gate = Gate(kms, "encrypt")
    made = []
    thread = threading.Thread(target=lambda: made.append(keys.encrypt(b"x", context=CONTEXT)))
    thread.start()
    assert gate.entered.acquire(timeout=20)

    def child():
        kms.ask = lambda call: None
        if through == "manager":
            return keys.encrypt(b"child", context=CONTEXT).ciphertext
        return provider.keyhinge_encrypt(b"child", FROZEN).ciphertext

    theirs = in_fork(child, timeout=30)
    assert not theirs.startswith(b"raised"), theirs
    gate.opened.set()
    thread.join(20)
    [value] = made
    assert theirs[3:35] != commitment_of(value)
    assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) == commitment_of(value)


def test_while_a_lock_is_held(open_keys):
    """Every lock is the child's own: one that was held when it was forked would never be free."""
    keys = open_keys(maxMessages=3)
    provider = provider_of(keys)
    keys.encrypt(b"x", context=CONTEXT)
    locks: list[Any] = [provider._renewal._lock]
    for cache in provider._caches:
        locks += [cache._lock, cache._flights._lock]
    for lock in locks:
        lock.acquire()
    try:

        def child():
            made = [provider.keyhinge_encrypt(b"x", FROZEN) for _ in range(9)]
            return b"%d" % len({sealed.ciphertext[3:35] for sealed in made})

        assert in_fork(child, timeout=20) == b"3"
    finally:
        for lock in locks:
            lock.release()


def test_while_a_renewal_is_under_way(open_keys, kms, clock):
    """The child has no such thread, and starts its own when it needs one."""
    keys = open_keys(clock=clock, maxAge="100s")
    provider = provider_of(keys)
    before = keys.encrypt(b"x", context=CONTEXT)
    gate = Gate(kms, "encrypt")
    clock.now += 95
    keys.encrypt(b"x", context=CONTEXT)  # finds it due
    assert gate.entered.acquire(timeout=20)

    def child():
        kms.ask = gate._ask
        first = provider.keyhinge_encrypt(b"x", FROZEN).ciphertext[3:35]
        clock.now += 95
        provider.keyhinge_encrypt(b"x", FROZEN)
        for thread in threading.enumerate():
            if thread.name == "keyhinge-envelope":
                thread.join(20)
        return first + provider.keyhinge_encrypt(b"x", FROZEN).ciphertext[3:35]

    both = in_fork(child, timeout=30)
    gate.opened.set()
    assert len({both[:32], both[32:], commitment_of(before)}) == 3


def test_a_parent_that_closes(open_keys):
    """What the parent closes after the fork is still open in the child, and the reverse."""
    keys = open_keys()
    keys.encrypt(b"x", context=CONTEXT)

    def child():
        keys.close()
        return b"closed"

    assert in_fork(child) == b"closed"
    keys.encrypt(b"x", context=CONTEXT)


def test_something_else_that_fails(open_keys):
    """What can't start anew itself leaves no data key in the child."""

    class Broken:
        def after_fork(self):
            raise ValueError

    keys = open_keys()
    keys.encrypt(b"x", context=CONTEXT)
    broken = [Broken() for _ in range(50)]
    for each in broken:
        start_anew_after_fork(each)
    caches = provider_of(keys)._caches
    assert in_fork(lambda: bytes(len(cache.entries) for cache in caches)) == bytes(3)
