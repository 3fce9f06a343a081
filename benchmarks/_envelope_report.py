"""What benchmarks/envelope.py found, as tables and as a picture for the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks._page import Bar, draw, machine, replace_part, short, table
from benchmarks._rivals import AWS_CACHE, LIMIT, TINK_KMS
from benchmarks._threads import Threaded

PAGE = Path(__file__).parent.parent / "docs/explanation/performance.md"
PROGRAM = "benchmarks/envelope.py"
OURS = "Keyhinge, envelope"
OURS_LOCAL = "Keyhinge, envelope over local"
OURS_NEW = "Keyhinge, each context new"
MIDDLE, LARGE = "1 KiB", "64 KiB"
ONE_THREAD = 0.9  # of one thread's throughput, the least for many

Times = Mapping[tuple[str, str], Bar]


class Found(NamedTuple):
    """All that was measured.

    Attributes:
        times: Microseconds, by size and name.
        batches: Microseconds per value, one by one and in a batch, by operation.
        threads: By name and number of threads.
        calls: To the key service while all that was measured.
    """

    times: Times
    batches: Mapping[str, tuple[float, float]]
    threads: Mapping[str, Mapping[int, Threaded]]
    calls: int


def report(found: Found) -> str:
    """Write all tables in Markdown."""
    packages = ("cryptography", "tink", "aws-encryption-sdk")
    tables = [_speeds(found.times), _targets(found), _threads(found.threads)]
    return "\n\n".join([f"Measured with {machine(*packages)}.", *tables])


def write(found: Found) -> None:
    """Put the tables into the page, and the picture beside it."""
    bars = [bar for (size, _), bar in found.times.items() if size == MIDDLE]
    bars.sort(key=lambda bar: bar.encrypt + bar.decrypt)
    title = f"Microseconds for {MIDDLE}, key services in the same process"
    PAGE.with_name("envelope.svg").write_text(draw(title, bars), encoding="utf-8")
    replace_part(PAGE, PROGRAM, f"![{title}](envelope.svg)\n\n{report(found)}")


def _speeds(times: Times) -> str:
    sizes = list(dict.fromkeys(size for size, _ in times))
    names = list(dict.fromkeys(name for _, name in times))
    head = ["µs to encrypt / decrypt (× AES-GCM)", *sizes]
    return table(head, [[name, *(_speed(times, size, name) for size in sizes)] for name in names])


def _speed(times: Times, size: str, name: str) -> str:
    bar, limit = times.get((size, name)), times[size, LIMIT]
    if bar is None:
        return ""
    text = f"{short(bar.encrypt)} / {short(bar.decrypt)}"
    if bar is limit:
        return text
    ratios = (bar.encrypt / limit.encrypt, bar.decrypt / limit.decrypt)
    return f"{text}<br>({' / '.join(map(short, ratios))})"


def _targets(found: Found) -> str:
    rows = []
    for what, reached, target in [*_ratios(found.times), *_others(found)]:
        rows.append([what, short(reached), f"≥ {target:g}", _yes(reached >= target)])
    rows.append(["calls to the key service", str(found.calls), "0", _yes(found.calls == 0)])
    return table(["target", "reached", "wanted", "met"], rows)


def _ratios(times: Times) -> Iterator[tuple[str, float, float]]:
    wanted = (
        (MIDDLE, LIMIT, "AES-GCM's time for {size} in ours", (0.5, 0.45)),
        (LARGE, LIMIT, "AES-GCM's time for {size} in ours", (0.85, 0.85)),
        (MIDDLE, TINK_KMS, "{size}, times as fast as tink's KmsEnvelopeAead", (5.0, 5.0)),
        (MIDDLE, AWS_CACHE, "{size}, times as fast as the AWS SDK with its cache", (40.0, 40.0)),
    )
    for size, other, text, targets in wanted:
        mine, theirs = times[size, OURS], times[size, other]
        what = text.format(size=size)
        yield f"{what}, encrypt", theirs.encrypt / mine.encrypt, targets[0]
        yield f"{what}, decrypt", theirs.decrypt / mine.decrypt, targets[1]


def _others(found: Found) -> Iterator[tuple[str, float, float]]:
    for name, (one, many) in found.batches.items():
        yield f"{name}_many, per value, times as fast as one by one", one / many, 1.0
    mine = found.threads[OURS]
    for count, threaded in mine.items():
        if count > 1:
            ratio = threaded.throughput / mine[1].throughput
            yield f"{count} threads, throughput against one", ratio, ONE_THREAD


def _threads(found: Mapping[str, Mapping[int, Threaded]]) -> str:
    rows = []
    for name, counts in found.items():
        for count, (throughput, p50, p99) in counts.items():
            ratio = throughput / counts[1].throughput
            figures = [f"{throughput:,.0f}", f"{ratio:.2f}", short(p50), short(p99)]
            rows.append([name, str(count), *figures])
    head = ["1 KiB, encrypt and decrypt in turns", "threads", "calls/s", "× one thread"]
    return table([*head, "p50 µs", "p99 µs"], rows)


def _yes(met: bool) -> str:
    return "yes" if met else "no"
