"""How much faster two processes move the secrets of one PostgreSQL database than one does.

    python benchmarks/migration_processes.py [--rows 100000] [--rounds 3] [--processes 2]

Local keys, so that nothing is waited for but the processors and the database; each process is
started and has read its keys before the time begins. The database server needs a processor, too:
where there are two in all, two processes can't be twice as fast.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.migration import fill, open_keys, with_server

from keyhinge_local import keyfile
from keyhinge_store import SecretStore

WORKER = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from benchmarks.migration import open_keys
from keyhinge_store import SecretStore, migrate
with open_keys(Path({folder!r}), {target!r}) as keys, SecretStore({url!r}, keys) as store:
    store.run(lambda connection: None)
    print("ready", flush=True)
    sys.stdin.readline()
    print(migrate(store).moved, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyhinge-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for key in ("one", "two"):
            keyfile.init(folder / f"{key}.key")
        with_server(folder, lambda url: bench(folder, url, given))


def bench(folder: Path, url: str, given: argparse.Namespace) -> None:
    """Move everything there and back, by one process and by several in turns."""
    with open_keys(folder, "one") as keys, SecretStore(url, keys) as store:
        store.create_tables()
        fill(store, given.rows, 64)
    best = dict.fromkeys((1, given.processes), 0.0)
    target = "two"
    for _ in range(given.rounds):
        for processes in best:
            best[processes] = max(best[processes], move(folder, url, target, processes, given.rows))
            target = "one" if target == "two" else "two"
    for processes, speed in best.items():
        print(f"{processes} processes {speed:9,.0f} rows/s")
    ratio = best[given.processes] / best[1]
    print(f"ratio {ratio:.2f} (two processes: at least 1.6), with {os.cpu_count()} processors")


def move(folder: Path, url: str, target: str, processes: int, rows: int) -> float:
    """Let so many processes move all rows; give rows per second."""
    here = str(Path(__file__).parent.parent)
    code = WORKER.format(here=here, folder=str(folder), target=target, url=url)
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    for each in crew:
        assert each.stdout is not None
        each.stdout.readline()
    started = time.perf_counter()
    for each in crew:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    moved = sum(int(each.communicate()[0]) for each in crew)
    seconds = time.perf_counter() - started
    if moved != rows:
        sys.exit(f"{moved} rows were moved, not {rows}")
    return rows / seconds


if __name__ == "__main__":
    main()
