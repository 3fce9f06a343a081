"""Throughput and latency of one pair of calls with several threads."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks._rivals import Pair

CALLS = 24_000  # of each kind in a round, by all threads together
ROUNDS = 15


class Threaded(NamedTuple):
    """Calls per second, and the microseconds that one in two and one in a hundred exceed."""

    throughput: float
    p50: float
    p99: float


def measure(pairs: dict[str, Pair], threads: Sequence[int]) -> dict[str, dict[int, Threaded]]:
    """Measure each pair with each number of threads, in turns."""
    best: dict[tuple[str, int], float] = {}
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for name, pair in pairs.items():
            for count in threads:
                case = (name, count)
                best[case] = max(best.get(case, 0.0), throughput(pair, count))
                times.setdefault(case, []).extend(latencies(pair, count))
    return {
        name: {count: _summary(best[name, count], times[name, count]) for count in threads}
        for name in pairs
    }


def throughput(pair: Pair, threads: int) -> float:
    """Return calls per second of all threads together."""
    calls = CALLS // threads

    def work(_number: int) -> None:
        for _ in range(calls):
            pair.encrypt()
            pair.decrypt()

    return 2 * calls * threads / _run(threads, work)


def latencies(pair: Pair, threads: int) -> list[float]:
    """Return the microseconds that each call took, waiting for other threads included."""
    calls = CALLS // threads
    times: list[list[float]] = [[] for _ in range(threads)]

    def work(number: int) -> None:
        mine = times[number]
        for _ in range(calls):
            for call in pair:
                began = time.perf_counter()
                call()
                mine.append((time.perf_counter() - began) * 1e6)

    _run(threads, work)
    return [took for each in times for took in each]


def _run(threads: int, work: Callable[[int], None]) -> float:
    """Run `work` in so many threads, begun together; return the seconds from first to last.

    The threads look at the clock themselves: this one would wait for its turn first.
    """
    barrier = threading.Barrier(threads)
    began, ended = [0.0] * threads, [0.0] * threads

    def body(number: int) -> None:
        barrier.wait()
        began[number] = time.perf_counter()
        work(number)
        ended[number] = time.perf_counter()

    all_ = [threading.Thread(target=body, args=(number,)) for number in range(threads)]
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join()
    return max(ended) - min(began)


def _summary(throughput: float, times: list[float]) -> Threaded:
    hundredths = statistics.quantiles(times, n=100)
    return Threaded(throughput, hundredths[49], hundredths[98])
