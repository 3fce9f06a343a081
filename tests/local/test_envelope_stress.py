"""Everything at once: threads, tenants, small limits, rotations and a key service with trouble."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter

import pytest
from tests.local._envelope import commitment_of, provider_of, settle

from keyhinge import ClosedError, Decrypt, Encrypt, UnavailableError
from keyhinge.testing._support import in_threads

THREADS = 8
ROUNDS = 100
LIMIT = 7


@pytest.fixture(autouse=True)
def _switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_all_together(open_keys, kms):
    """Every value opens to what it was made of; no data key encrypts more than it may."""
    keys = open_keys(maxMessages=LIMIT, maxKeys=3, partitionBy=["account"])
    made, lock = [], threading.Lock()
    ask = kms.ask
    chance = random.Random(7)

    def troubled(call):
        ask(call)
        if chance.random() < 0.05:
            raise UnavailableError("is away for a moment")

    kms.ask = troubled

    def encrypt(rng, context):
        value = keys.encrypt(repr(context).encode(), context=context)
        with lock:
            made.append((value, context))

    def encrypt_many(rng, context):
        items = [Encrypt(repr(context).encode(), context) for _ in range(rng.randint(1, 20))]
        outs = keys.encrypt_many(items)
        with lock:
            made.extend((out.value, context) for out in outs if out.error is None)

    def decrypt(rng, context):
        with lock:
            some = rng.sample(made, min(len(made), 10))
        for out, (_, each) in zip(
            keys.decrypt_many([Decrypt(*pair) for pair in some]), some, strict=True
        ):
            if out.error is None:
                assert out.value == repr(each).encode()
            else:
                assert type(out.error) is UnavailableError

    def rewrap(rng, context):
        with lock:
            some = rng.sample(made, min(len(made), 5))
        for out, (value, each) in zip(
            keys.rewrap_many([Decrypt(*pair) for pair in some]), some, strict=True
        ):
            if out.error is None:
                assert commitment_of(out.value) == commitment_of(value)
                assert keys.decrypt(out.value, context=each) == repr(each).encode()

    def rotate(rng, context):
        kms.rotate()
        keys.current_key()

    def work(number):
        rng = random.Random(number)
        for _ in range(ROUNDS):
            context = {"account": rng.choice("abcde"), "thread": str(number)}
            calls = [encrypt, encrypt, encrypt_many, decrypt, decrypt, rewrap, rotate]
            try:
                rng.choice(calls)(rng, context)
            except UnavailableError:
                continue

    assert in_threads(THREADS, work) == []
    settle()
    kms.ask = ask
    assert len(made) > 100
    assert max(Counter(commitment_of(value) for value, _ in made).values()) <= LIMIT
    assert max(len(cache.entries) for cache in provider_of(keys)._caches) <= 3
    outs = open_keys().decrypt_many([Decrypt(*pair) for pair in made])
    assert [out.value for out in outs] == [repr(context).encode() for _, context in made]


def test_closed_in_the_middle(open_keys, kms):
    """Each call ends, with its result or as closed; nothing is left behind."""
    for _ in range(10):
        keys = open_keys(maxMessages=3, partitionBy=["account"])
        provider = provider_of(keys)
        started = threading.Barrier(THREADS + 1)

        def work(number, keys=keys, started=started):
            started.wait(20)
            for n in range(1000):
                try:
                    context = {"account": str(n % 3)}
                    keys.decrypt(keys.encrypt(b"x", context=context), context=context)
                except ClosedError:
                    return
                except UnavailableError:  # a call in flight: "was closed meanwhile"
                    continue

        threads: list[BaseException] = []
        runner = threading.Thread(
            target=lambda work=work, found=threads: found.extend(in_threads(THREADS, work))
        )
        runner.start()
        started.wait(20)
        keys.close()
        runner.join(30)
        assert not runner.is_alive()
        assert threads == []
        settle()
        assert [len(cache.entries) for cache in provider._caches] == [0, 0, 0]
