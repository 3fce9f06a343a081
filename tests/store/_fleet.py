"""Processes that migrate an application's table, and whatever can happen to them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from tests.services.openbao import Bao
from tests.services.postgres import Postgres
from tests.store._migrating import Process

__all__ = ["Fleet", "Trouble"]

PROGRAM = """
import json, sys
from _application import MAPPINGS
from keyhinge import KeyManager, OperationError
from keyhinge_store import MigrationStoppedError, StoreError, Tables, migrate
from keyhinge_store._runs import _limits

config, url, options = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
_limits.LEASE_SECONDS = options.pop("lease")
print("ready", flush=True)
try:
    with KeyManager.open(config) as keys, Tables(url, keys, MAPPINGS) as tables:
        report = migrate(tables, **options).to_dict()
except (MigrationStoppedError, StoreError, OperationError) as error:
    retryable = bool(getattr(error, "retryable", False))
    report = {"error": repr(error), "retryable": retryable}
print(json.dumps(report), flush=True)
"""
SECTIONS = ("vault", "local")


class Fleet:
    """Keeps so many processes at work; when all is moved, they move it back.

    Args:
        configuration: Makes a configuration for a primary section.
        url: The database.
        size: How many.
        rate: Rows a second, for each column and all processes together.
    """

    def __init__(
        self,
        configuration: Callable[[str], dict[str, Any]],
        url: str,
        *,
        size: int,
        rate: float | None,
    ) -> None:
        self.configuration = configuration
        self.url = url
        self.rate = rate
        self.target = "local"
        self.turns = 1
        self.stopped: Counter[str] = Counter()
        self.size = size
        self.crew: list[Process] = []

    def begin(self) -> None:
        """Start all of them."""
        self.crew = self.more(self.size)

    def more(self, count: int) -> list[Process]:
        """Start processes, all at the same time."""
        options: dict[str, Any] = {"batch_size": 10, "lease": 5, "max_sweeps": 5}
        started = [
            Process(
                self.configuration(self.target),
                self.url,
                program=PROGRAM,
                rate=self.rate,
                **options,
            )
            for _ in range(count)
        ]
        for process in started:
            process.ready()
        return started

    def tend(self) -> None:
        """Replace those that had to stop. If one is done, so are all: turn round."""
        over = [process for process in self.crew if process.process.poll() is not None]
        done = [process for process in over if self.ended(process)]
        rest = [process for process in self.crew if process not in over]
        if done:
            for process in rest:
                self.ended(process)
            self.target = SECTIONS[self.turns % 2 == 0]
            self.turns += 1
            rest = []
        self.crew = rest + self.more(self.size - len(rest))

    def ended(self, process: Process) -> bool:
        """Tell whether one is done. If it had to stop, it must be because of our doing."""
        report = process.end()
        if "error" in report:
            assert report["retryable"], report
            self.stopped[report["error"].partition("(")[0]] += 1
            return False
        assert report["failed"] == 0, report
        assert report["settled"] or report["unsettled"], report
        return True

    def kill(self, victim: int) -> bool:
        """Kill one, and start another in its place; tell whether it was at work."""
        process = self.crew[victim]
        if process.process.poll() is not None or not process.kill():
            return False
        [self.crew[victim]] = self.more(1)
        return True

    def finish(self) -> None:
        """Let all of them come to their end."""
        for process in self.crew:
            self.ended(process)

    def abolish(self) -> None:
        """Kill all."""
        for process in self.crew:
            process.kill()


class Trouble:
    """Makes trouble of each kind, in an order of its own.

    Args:
        chance: Says when.
        server: Is restarted at once, and its connections are cut; None where there is none.
        bao: Is sealed and unsealed.
    """

    def __init__(self, chance: random.Random, server: Postgres | None, bao: Bao) -> None:
        self.chance = chance
        self.server = server
        self.bao = bao
        kinds = [self.seal] if server is None else [self.terminate, self.restart, self.seal]
        self.kinds = kinds
        self.made: Counter[str] = Counter()

    def make(self) -> None:
        """Make the next trouble."""
        kind = self.kinds[sum(self.made.values()) % len(self.kinds)]
        self.made[kind.__name__] += 1
        kind()

    def seal(self) -> None:
        """Seal the key service for a moment."""
        self.bao.seal()
        time.sleep(self.chance.uniform(0.1, 0.6))
        self.bao.unseal()

    def restart(self) -> None:
        """Restart the database."""
        assert self.server is not None
        self.server.restart()

    def terminate(self) -> None:
        """Cut all connections to the database, migrating processes' and the application's."""
        assert self.server is not None
        engine = sa.create_engine(self.server.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
