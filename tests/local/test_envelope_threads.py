"""Many threads that lack one data key make one call, and share what comes of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.local._envelope import CONTEXT, Gate, commitment_of, provider_of

from keyhinge import Encrypt, EncryptedValue, UnavailableError
from keyhinge.testing._support import in_threads

THREADS = 32


@pytest.fixture
def together(kms):
    """Run work in threads, of which one is held back at the key service until all have come."""

    def run(work, reached, gate, *, count=THREADS):
        done = threading.Thread(target=lambda: found.extend(in_threads(count, work)))
        found: list[BaseException] = []
        done.start()
        assert gate.entered.acquire(timeout=20)
        # All of them wait; now the leader may go on.
        while reached() < count:
            assert done.is_alive()
            threading.Event().wait(0.001)
        gate.opened.set()
        done.join(30)
        assert not done.is_alive()
        return found

    return run


def waiting(cache):
    """Count the threads that are at the key service or wait for one that is."""

    def count():
        futures = list(cache._flights._under_way.values())
        return bool(futures) + sum(len(future._condition._waiters) for future in futures)

    return count


def opening(keys):
    """See `waiting`."""
    return waiting(provider_of(keys)._opening.cache)


def sealing(keys):
    """See `waiting`."""
    return waiting(provider_of(keys)._sealing.cache)


def test_one_unwrap(open_keys, kms, together):
    value = open_keys().encrypt(b"x", context=CONTEXT)
    reader = open_keys()
    kms.calls.clear()
    opened = []

    def work(number):
        opened.append(reader.decrypt(value, context=CONTEXT))

    assert together(work, opening(reader), Gate(kms, "decrypt")) == []
    assert opened == [b"x"] * THREADS
    assert kms.calls == {"decrypt": 1}


def test_one_wrap(open_keys, kms, together):
    keys = open_keys()
    values = []

    def work(number):
        values.append(keys.encrypt(b"x", context=CONTEXT))

    assert together(work, sealing(keys), Gate(kms, "encrypt")) == []
    assert len(set(map(commitment_of, values))) == 1
    assert kms.calls == {"encrypt": 1, "decrypt": 1}


def test_one_wrap_for_batches(open_keys, kms, together):
    """Batches that need several data keys wait for those that others are making."""
    keys = open_keys(partitionBy=["account"])
    values: list[EncryptedValue] = []

    def work(number):
        items = [
            Encrypt(b"x", {"account": str(n)}) for n in (range(3) if number % 2 else (2, 1, 0))
        ]
        values.extend(out.value for out in keys.encrypt_many(items))

    gate = Gate(kms, "encrypt_many")
    assert together(work, sealing(keys), gate) == []
    assert len(set(map(commitment_of, values))) == 3
    assert kms.calls == {"encrypt_many": 1, "decrypt_many": 1}


def test_errors_are_shared(open_keys, kms, together):
    """One failed call fails all that waited, each with an error of its own; none calls again."""
    value = open_keys().encrypt(b"x", context=CONTEXT)
    reader = open_keys()
    kms.calls.clear()
    caught = []
    gate = Gate(kms, "decrypt")

    def fail():
        raise UnavailableError("is away")

    gate.after = fail

    def work(number):
        with pytest.raises(UnavailableError, match="kms: is away") as failure:
            reader.decrypt(value, context=CONTEXT)
        caught.append(failure.value)

    assert together(work, opening(reader), gate) == []
    assert kms.calls == {"decrypt": 1}
    assert len({id(failure) for failure in caught}) == THREADS
    assert {failure.section for failure in caught} == {"kms"}
    assert all(failure.__context__ is failure.__cause__ is None for failure in caught)
    # Nothing remembers that it failed.
    gate.after = lambda: None
    assert reader.decrypt(value, context=CONTEXT) == b"x"


@pytest.mark.parametrize("what", ["encrypt", "decrypt"])
def test_an_interrupted_leader(open_keys, kms, together, what):
    """The others don't wait for ever for a thread that was interrupted: one takes its place."""
    value = open_keys().encrypt(b"x", context=CONTEXT)
    keys = open_keys()
    kms.calls.clear()
    done = []

    def work(number):
        if what == "decrypt":
            done.append(keys.decrypt(value, context=CONTEXT))
        else:
            done.append(commitment_of(keys.encrypt(b"x", context=CONTEXT)))

    reached = (opening if what == "decrypt" else sealing)(keys)
    gate = Gate(kms, what)

    def interrupt():
        gate.after = lambda: None  # the first one alone
        raise KeyboardInterrupt

    gate.after = interrupt
    found = together(work, reached, gate)
    assert [type(each) for each in found] == [KeyboardInterrupt]
    assert len(done) == THREADS - 1
    assert len(set(done)) == 1
    assert kms.calls[what] == 2


def test_different_data_keys_do_not_wait_for_each_other(open_keys, kms):
    """While one unwrap hangs, another one gets through."""
    writer = open_keys(partitionBy=["account"])
    slow, fast = ({"account": name} for name in ("slow", "fast"))
    values = [writer.encrypt(b"x", context=context) for context in (slow, fast)]
    reader = open_keys()
    gate = Gate(kms, "decrypt")
    opened = []
    thread = threading.Thread(target=lambda: opened.append(reader.decrypt(values[0], context=slow)))
    thread.start()
    assert gate.entered.acquire(timeout=20)
    kms.ask = gate._ask
    assert reader.decrypt(values[1], context=fast) == b"x"
    assert opened == []
    gate.opened.set()
    thread.join(20)
    assert opened == [b"x"]


def test_a_thread_that_never_comes_back(open_keys, kms, monkeypatch):
    """Whoever waits for another thread's call waits for a bounded time."""
    from keyhinge_local.envelope import _flights

    monkeypatch.setattr(_flights, "WAIT_SECONDS", 0.05)
    value = open_keys().encrypt(b"x", context=CONTEXT)
    reader = open_keys()
    gate = Gate(kms, "decrypt")
    thread = threading.Thread(target=lambda: reader.decrypt(value, context=CONTEXT))
    thread.start()
    assert gate.entered.acquire(timeout=20)
    with pytest.raises(UnavailableError, match="another thread's call"):
        reader.decrypt(value, context=CONTEXT)
    # The next one doesn't wait for it any more.
    kms.ask = gate._ask
    assert reader.decrypt(value, context=CONTEXT) == b"x"
    gate.opened.set()
    thread.join(20)
    assert reader.decrypt(value, context=CONTEXT) == b"x"


def test_what_was_given_up_comes_back(open_keys, kms, monkeypatch):
    """A call that was given up, and ends after all, doesn't end another's that is under way."""
    from keyhinge_local.envelope import _flights

    value = open_keys().encrypt(b"x", context=CONTEXT)
    reader = open_keys()
    opened = []

    def start():
        gate = Gate(kms, "decrypt")
        thread = threading.Thread(
            target=lambda: opened.append(reader.decrypt(value, context=CONTEXT))
        )
        thread.start()
        assert gate.entered.acquire(timeout=20)
        kms.ask = gate._ask
        return gate, thread

    first, one = start()
    with monkeypatch.context() as patch:
        patch.setattr(_flights, "WAIT_SECONDS", 0.05)
        with pytest.raises(UnavailableError):
            reader.decrypt(value, context=CONTEXT)
    second, two = start()
    first.opened.set()
    one.join(20)
    assert len(provider_of(reader)._opening.cache._flights._under_way) == 1
    second.opened.set()
    two.join(20)
    assert opened == [b"x", b"x"]


def test_a_batch_waits_once(monkeypatch):
    """Not for each of its keys in turn, when none of them comes back."""
    from concurrent import futures

    from keyhinge_local.envelope import _flights

    now, waited = [0.0], []

    class Never(futures.Future[Any]):
        def result(self, timeout=None):
            waited.append(timeout)
            now[0] += timeout
            raise futures.TimeoutError

    monkeypatch.setattr(_flights, "monotonic", lambda: now[0])
    flights: _flights.Flights[None, Any] = _flights.Flights(lambda wanted: {}, lambda key: None)
    names = [bytes([n]) for n in range(9)]
    flights._under_way = {name: Never() for name in names}
    found = flights.run(dict.fromkeys(names, None))
    assert {type(outcome) for outcome in found.values()} == {UnavailableError}
    assert sum(waited) == _flights.WAIT_SECONDS
    assert flights._under_way == {}
