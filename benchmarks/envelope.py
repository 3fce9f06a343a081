"""Envelope encryption through KeyManager, against AES-GCM alone and what others offer.

    python benchmarks/envelope.py [--rounds 60] [--write]

All cases run in turns within one process, and the best time of each is kept: other programs can
only make it slower. One thread's times are what it had of a processor, not what it waited for
one; with several threads it is time on the wall. The key services are all in this process and
answer at once, so what is compared is what each library does by itself. Of ours the calls are
counted, and there may be none while anything is measured. `--write` puts tables and plot into
docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import _threads
from benchmarks._envelope_report import (
    LARGE,
    OURS,
    OURS_LOCAL,
    OURS_NEW,
    Found,
    Times,
    report,
    write,
)
from benchmarks._in_process import Service, ServiceModule
from benchmarks._page import Bar
from benchmarks._rivals import LIMIT, Pair, limit, rivals

from keyhinge import Decrypt, Encrypt, KeyManager
from keyhinge_local import keyfile

SIZES = {"64 B": 64, "1 KiB": 1 << 10, LARGE: 1 << 16}
SAMPLE = 0.005  # seconds that one sample of a case takes, about
CONTEXT = {"account": "acct_1", "secret": "sec_1"}
NEW = 8192  # contexts, more than core remembers
BATCH = 1000
THREADS = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="put the figures into the page")
    arguments = parser.parse_args()
    service = Service()
    with ExitStack() as stack:
        keys = stack.enter_context(over_service(service))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = stack.enter_context(over_local(folder))
        for each in (keys, local):
            each.decrypt(each.encrypt(b"warm", context=CONTEXT), context=CONTEXT)
        before = service.calls
        times = measure(cases(keys, local), arguments.rounds)
        batched = batches(keys, arguments.rounds)
        pairs = {LIMIT: limit(os.urandom(1024)), OURS: ours(keys, os.urandom(1024))}
        threaded = _threads.measure(pairs, THREADS)
        found = Found(times, batched, threaded, service.calls - before)
    print(report(found))
    if arguments.write:
        write(found)
    if found.calls:
        sys.exit(f"warm, and yet the key service was called {found.calls} times")


def over_service(service: Service) -> KeyManager:
    """Open `envelope` over a key service in this process."""
    return open_keys("service", {}, service)


def over_local(folder: Path) -> KeyManager:
    """Open `envelope` over a new key file."""
    keyfile.init(folder / "a.key")
    return open_keys("local", {"keyFile": str(folder / "a.key")}, Service())


def open_keys(inner: str, block: dict[str, str], service: Service) -> KeyManager:
    """Open `envelope` over a section; no data key wears out while it is measured."""
    envelope = {"over": inner, "maxMessages": 1 << 32}
    config = {"keyManagement": {"provider": "envelope", "envelope": envelope, inner: block}}
    return KeyManager.open(config, providers={"service": ServiceModule(service)}, environ={})


def cases(keys: KeyManager, local: KeyManager) -> dict[tuple[str, str], Pair]:
    """Return what is measured, by size and name."""
    found: dict[tuple[str, str], Pair] = {}
    for size, length in SIZES.items():
        plaintext = os.urandom(length)
        found |= {(size, name): pair for name, pair in rivals(plaintext, CONTEXT)}
        found[size, OURS] = ours(keys, plaintext)
        found[size, OURS_LOCAL] = ours(local, plaintext)
        if size != LARGE:
            found[size, OURS_NEW] = each_new(keys, plaintext)
    return found


def ours(keys: KeyManager, plaintext: bytes) -> Pair:
    """Give KeyManager's two calls."""
    value = keys.encrypt(plaintext, context=CONTEXT)
    return Pair(
        lambda: keys.encrypt(plaintext, context=CONTEXT),
        lambda: keys.decrypt(value, context=CONTEXT),
    )


def each_new(keys: KeyManager, plaintext: bytes) -> Pair:
    """Give the same two calls with a context that wasn't there lately, as of rows of a table."""
    contexts = [{"account": f"acct_{n // 10}", "secret": f"sec_{n}"} for n in range(NEW)]
    values = [(keys.encrypt(plaintext, context=context), context) for context in contexts]
    context_of, value_of = itertools.cycle(contexts), itertools.cycle(values)

    def decrypt() -> bytes:
        value, context = next(value_of)
        return keys.decrypt(value, context=context)

    return Pair(lambda: keys.encrypt(plaintext, context=next(context_of)), decrypt)


def measure(found: dict[tuple[str, str], Pair], rounds: int) -> Times:
    """Return the best times of each case in microseconds, measured in turns."""
    calls = {case: [(call, repeats(call)) for call in pair] for case, pair in found.items()}
    best = {case: [float("inf")] * 2 for case in found}
    nothing = float("inf")  # what calling a function takes by itself
    for _ in range(rounds):
        nothing = min(nothing, sample(lambda: None, 50_000))
        for case, pair in calls.items():
            for which, (call, number) in enumerate(pair):
                best[case][which] = min(best[case][which], sample(call, number))
    return {
        (size, name): Bar(
            name, encrypt - nothing, decrypt - nothing, name in (OURS, OURS_LOCAL, OURS_NEW)
        )
        for (size, name), (encrypt, decrypt) in best.items()
    }


def repeats(call: Callable[[], object]) -> int:
    """Find out how often to call, so that a sample takes long enough to be measured."""
    return max(1, int(SAMPLE / min(sample(call, 20) for _ in range(5)) * 1e6))


def sample(call: Callable[[], object], number: int) -> float:
    """Return microseconds of this thread per call."""
    return timeit.timeit(call, timer=time.thread_time, number=number) / number * 1e6


def batches(keys: KeyManager, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the microseconds per value, one by one and in a batch of 1,000."""
    plaintext = os.urandom(1024)
    contexts = [{"account": f"acct_{n // 10}", "secret": f"sec_{n}"} for n in range(BATCH)]
    sealing = [Encrypt(plaintext, context) for context in contexts]
    sealed = [outcome.value for outcome in keys.encrypt_many(sealing)]
    opening = [Decrypt(*each) for each in zip(sealed, contexts, strict=True)]
    calls: dict[str, tuple[Callable[[], object], ...]] = {
        "encrypt": (
            lambda: [keys.encrypt(item.plaintext, context=item.context) for item in sealing],
            lambda: keys.encrypt_many(sealing),
        ),
        "decrypt": (
            lambda: [keys.decrypt(item.value, context=item.context) for item in opening],
            lambda: keys.decrypt_many(opening),
        ),
    }
    best = {name: [float("inf"), float("inf")] for name in calls}
    for _ in range(rounds):
        for name, pair in calls.items():
            for which, call in enumerate(pair):
                best[name][which] = min(best[name][which], sample(call, 3) / BATCH)
    return {name: (one, many) for name, (one, many) in best.items()}


if __name__ == "__main__":
    main()
