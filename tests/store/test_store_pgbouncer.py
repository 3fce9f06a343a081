"""A migration through PgBouncer, which gives each transaction any of a few connections."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.services.pgbouncer import Bouncer, binary, bouncer_before
from tests.store._migrating import Process, Writer, audit

from keyhinge_store import SecretStore, migrate, runs, status, verify

pytestmark = [
    pytest.mark.skipif(
        binary() is None, reason="needs the program pgbouncer, which PyPI doesn't have"
    ),
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

CONNECTIONS, ROWS = 3, 1500


@pytest.fixture
def bouncer(database_url: str) -> Iterator[Bouncer]:
    """A pooler with fewer connections than there are clients."""
    # Not pytest's own folder: it is closed to others, and root's pooler runs as another user.
    with tempfile.TemporaryDirectory(prefix="keyhinge-bouncer-") as folder:
        Path(folder).chmod(0o755)
        with bouncer_before(database_url, Path(folder), connections=CONNECTIONS) as bouncer:
            yield bouncer


def test_two_processes_and_writers_share_three_connections(
    bouncer: Bouncer, database: Any, configuration: Any, open_keys: Any, fill: Any, everything: Any
) -> None:
    """Killed, and with the pooler itself restarted: nothing is lost, and the counts add up."""
    with ExitStack() as stack:
        # Each with a name of its own, or the pooler leaves a connection the name that it had last.
        url = sa.make_url(bouncer.url).update_query_dict({"application_name": "application"})
        old = stack.enter_context(SecretStore(url, open_keys("one")))
        new = stack.enter_context(SecretStore(url, open_keys("two")))
        old.create_tables()
        untouched = fill(old, ROWS)
        audit(database)
        writers = [Writer(n, (old, new)[n % 2], pairs=True) for n in range(3)]
        for writer in writers:
            writer.seed(40)
        for writer in writers:
            writer.start()

        def start() -> Process:
            options: dict[str, Any] = {"batch_size": 20, "lease": 5, "rate": 400}
            process = Process(configuration("two"), bouncer.url, **options)
            stack.callback(process.kill)
            process.ready()
            return process

        crew = [start(), start()]
        chance = random.Random(3)
        time.sleep(1)
        assert 1 <= bouncer.connections() <= CONNECTIONS
        assert crew[0].kill()
        crew[0] = start()
        time.sleep(chance.uniform(0, 0.5))
        bouncer.kill()
        bouncer.start()
        # Old replicas write under the old section all the time, so there may be no end till then.
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join()
        reports = [process.end() for process in crew]

        assert [writer.error for writer in writers] == [None] * 3
        assert all(report["settled"] or report["unsettled"] for report in reports)
        final = migrate(new)
        assert (final.complete, final.failed) == (True, 0)
        found = everything(new)
        assert {k: v for k, v in found.items() if k[0].startswith("acct_")} == untouched
        for writer in writers:
            mine = {key[1]: value for key, value in found.items() if key[0] == writer.account}
            assert mine == writer.last
        assert len(found) == ROWS + sum(len(writer.last) for writer in writers)
        [(seen,)] = database.execute("SELECT count(*) FROM audit")
        assert sum(each.moved for each in runs(new)) == seen + final.moved
        assert verify(new).failed == 0
        assert not status(new).stale


def test_nothing_of_a_session_reaches_the_next_transaction(
    bouncer: Bouncer, database: Any, open_keys: Any, fill: Any
) -> None:
    """Another client's settings, which a pooler leaves on a connection, don't get in the way.

    And ours get in nobody's way.
    """
    with SecretStore(bouncer.url, open_keys("one")) as store:
        store.create_tables()
        fill(store, 300)
        client = sa.create_engine(bouncer.url, connect_args={"prepare_threshold": None})
        spoiled = (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET statement_timeout = '50s'",
        )
        ended = threading.Event()

        def spoil() -> None:
            while not ended.is_set():
                with client.begin() as connection:
                    for statement in spoiled:
                        connection.exec_driver_sql(statement)

        thread = threading.Thread(target=spoil)
        thread.start()
        try:
            report = migrate(store, open_keys("two"), batch_size=10)
        finally:
            ended.set()
            thread.join()
        assert (report.moved, report.complete, report.busy) == (300, True, 0)
        with client.connect() as connection:
            shown = {
                connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                for name in ("lock_timeout", "idle_in_transaction_session_timeout")
                for _ in range(2 * CONNECTIONS)
            }
            assert shown == {"0"}
        client.dispose()
