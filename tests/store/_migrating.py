"""A program that takes part in a migration, and an application that writes meanwhile."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keyhinge_store import NewSecret, SecretStore

PROGRAM = """
import json, sys
from keyhinge import KeyManager
from keyhinge_store import MigrationStoppedError, SecretStore, migrate
from keyhinge_store._runs import _limits

config, url, options = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
_limits.LEASE_SECONDS = options.pop("lease", 30.0)
with KeyManager.open(config) as keys, SecretStore(url, keys) as store:
    print("ready", flush=True)
    report = migrate(store, **options)
    print(json.dumps(report.to_dict()), flush=True)
"""


class Process:
    """A process that migrates, and what it reported."""

    def __init__(
        self, config: dict[str, Any], url: str, *, program: str = PROGRAM, **options: Any
    ) -> None:
        named = sa.make_url(url)
        if named.get_backend_name() == "postgresql":
            # Its statements can be told from the application's by this name.
            named = named.update_query_dict({"application_name": "migrator"})
        arguments = [json.dumps(config), named.render_as_string(hide_password=False)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, *arguments, json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )

    def ready(self) -> None:
        """Wait until it is about to begin."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.end()

    def kill(self) -> bool:
        """Kill it at once; tell whether it was still at work."""
        self.process.kill()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait()
        return self.process.returncode == -9

    def end(self) -> dict[str, Any]:
        """Wait for its report."""
        out, err = self.process.communicate(timeout=110)
        assert self.process.returncode == 0, err
        lines = [line for line in out.splitlines() if line != "ready"]
        report: dict[str, Any] = json.loads(lines[-1])
        return report


class Writer(threading.Thread):
    """An application: inserts, updates, deletes, and changes kinds of secrets of its own.

    It remembers what it wrote last. With `pairs` it also writes two rows in one transaction, in
    the reverse order of their keys, which is how deadlocks are made. What the database does
    to all its connections, like a restart, it tries again; anything else is an error.
    """

    def __init__(self, number: int, store: SecretStore, *, pairs: bool) -> None:
        super().__init__(daemon=True)
        self.account = f"writer_{number}"
        self.store = store
        self.pairs = pairs
        self.random = random.Random(number)
        self.last: dict[str, bytes] = {}
        self.error: BaseException | None = None
        self.writes = 0
        self.interrupted = 0
        self.ended = threading.Event()

    def seed(self, count: int) -> None:
        self.store.put_many(
            NewSecret(self.account, "seed", f"seed-{n}", f"s{n:03}") for n in range(count)
        )
        self.last = {f"s{n:03}": f"seed-{n}".encode() for n in range(count)}

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                self.write()
                self.writes += 1
                time.sleep(self.random.uniform(0, 0.004))
        except BaseException as error:
            self.error = error

    def write(self) -> None:
        choice = self.random.random()
        ids = sorted(self.last)
        if choice < 0.2:
            self.put({f"n{self.writes:05}": self.value()})
        elif choice < 0.3 and len(ids) > 5:
            self.delete(self.random.choice(ids))
        elif choice < 0.6 and self.pairs:
            first, second = sorted(self.random.sample(ids, 2))
            self.put({second: self.value(), first: self.value()})
        else:
            self.put({self.random.choice(ids): self.value()})

    def value(self) -> bytes:
        return f"{self.writes}-{self.random.random()}".encode()

    def put(self, values: dict[str, bytes]) -> None:
        def work() -> None:
            with self.store.engine.begin() as connection:
                for secret_id, value in values.items():
                    self.store.put(
                        account_id=self.account,
                        kind=self.random.choice(["one", "two", "three"]),
                        value=value,
                        secret_id=secret_id,
                        connection=connection,
                    )

        self.until_done(work)
        self.last.update(values)

    def delete(self, secret_id: str) -> None:
        def work() -> None:
            with self.store.engine.begin() as connection:
                table = self.store.layout.table
                connection.execute(
                    table.delete().where(
                        table.c.account_id == self.account, table.c.secret_id == secret_id
                    )
                )

        self.until_done(work)
        del self.last[secret_id]

    def until_done(self, work: Any) -> None:
        """Repeat what may be repeated: all writes of this class come to the same if done twice."""
        end = time.monotonic() + 60
        while True:
            try:
                work()
                return
            except Exception as error:
                lost = isinstance(error, sa.exc.OperationalError) and not is_deadlock(error)
                lost = lost or getattr(error, "retryable", False) is True
                if not lost or time.monotonic() > end:
                    raise
                self.interrupted += 1
                time.sleep(0.05)


def is_deadlock(error: sa.exc.OperationalError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "40P01"


def audit(database: Any) -> None:
    """Let the database write down each row that a migrating process moved."""
    database.execute("CREATE TABLE audit (account_id text, secret_id text)")
    database.execute(
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO audit VALUES (new.account_id, new.secret_id); RETURN NULL; END $$"
    )
    database.execute(
        "CREATE TRIGGER audit AFTER UPDATE ON secrets FOR EACH ROW "
        "WHEN (current_setting('application_name') = 'migrator') EXECUTE FUNCTION audit()"
    )
