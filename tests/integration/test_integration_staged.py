"""monetr's own table: prepared while monetr runs, and swapped at once; nothing is ever lost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration._monetr import COUNT, MAPPING, VALUES, Monetr, Rules, read_all

from keyhinge_store import (
    MappedColumn,
    MigrationStoppedError,
    migrate,
    migrate_staged,
    runs,
    status,
    verify,
)

Settings = dict[str, Any]

ROUND = (("plaintext", "vault"), ("vault", "aws"), ("aws", "plaintext"))


def test_the_whole_way(monetr: sa.Engine, monetr_keys, monetr_rules) -> None:
    """plaintext → vault → aws → plaintext; the table changes by the swap alone."""
    column = MappedColumn(monetr, monetr_keys("plaintext"), MAPPING)
    for before, target in ROUND:
        # The configuration is monetr's own: its provider changes after the swap.
        keys = monetr_keys(before)
        report = migrate_staged(column, keys, target=target, allow_plaintext=True, batch_size=25)
        assert (report.state, report.matched, report.ready) == ("prepared", COUNT, COUNT)
        assert (report.made, report.complete) == (COUNT, True)
        assert read_all(monetr, monetr_rules(before)) == VALUES

        report = migrate_staged(column, keys, swap=True, allow_plaintext=True)
        assert (report.state, report.swapped, report.made) == ("swapped", COUNT, 0)
        assert (report.dropped, report.complete) == (COUNT, True)
        assert read_all(monetr, monetr_rules(target)) == VALUES
        assert staged_rows(monetr) == (0, 0)

        after = monetr_keys(target)
        assert verify(column, after).opened == COUNT
        assert {(each.section, each.values) for each in status(column, after).labels} == {
            (target, COUNT)
        }
        last = next(each for each in runs(column) if each.operation != "verify")
        assert last.run_id == report.run_id
        assert migrate_staged(column, after, allow_plaintext=True).matched == 0
        assert migrate(column, after, allow_plaintext=True).matched == 0
    with monetr.connect() as connection:
        other = connection.execute(sa.text("SELECT secret FROM secrets WHERE kind = 'other'"))
        assert other.scalars().all() == ["untouched"]
        stamps = connection.execute(sa.text("SELECT DISTINCT updated_at FROM secrets"))
        assert stamps.scalars().all() == ["then"]


@contextmanager
def at_work(url: str, rules: Rules, last: dict[str, str]) -> Iterator[Monetr]:
    """Let monetr run; its errors are raised at the end."""
    running = Monetr(url, rules, last)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def busy(running: Monetr, more: int) -> None:
    """Wait until monetr has read and written so many times more, or has ended."""
    reads, writes = running.reads + more, running.writes + more
    while running.is_alive() and (running.reads < reads or running.writes < writes):
        time.sleep(0.01)


def test_monetr_runs_meanwhile(
    monetr: sa.Engine, database_url: str, monetr_keys, monetr_rules
) -> None:
    """It reads and writes with its one provider until it is stopped, and goes on with the next."""
    column = MappedColumn(monetr, monetr_keys("plaintext"), MAPPING)
    last: dict[str, str] = {}
    for before, target in ROUND:
        keys = monetr_keys(before)
        with at_work(database_url, monetr_rules(before), last) as running:
            for _ in range(3):
                report = migrate_staged(
                    column, keys, target=target, allow_plaintext=True, batch_size=7
                )
                assert (report.state, report.failed) == ("prepared", 0)
                busy(running, 5)
        report = migrate_staged(column, keys, swap=True, allow_plaintext=True)
        assert (report.state, report.swapped) == ("swapped", len(VALUES) + len(last))
        # What was written after the last preparation is made anew, and no more than that.
        assert 0 < report.made <= 20
        with at_work(database_url, monetr_rules(target), last) as running:
            busy(running, 5)
        assert everything(monetr, monetr_rules(target)) == expected(last)
    assert verify(column, monetr_keys("plaintext")).failed == 0


def test_monetr_was_not_stopped(
    monetr: sa.Engine, database_url: str, monetr_keys, monetr_rules
) -> None:
    """The swap happens whole or not at all; what a forgotten writer writes later isn't lost."""
    keys = monetr_keys("plaintext")
    column = MappedColumn(monetr, keys, MAPPING)
    last: dict[str, str] = {}
    running = Monetr(database_url, monetr_rules("plaintext"), last)
    running.start()
    migrate_staged(column, keys, target="vault")
    swapped = False
    stopped: list[MigrationStoppedError] = []
    for _ in range(5):
        try:
            report = migrate_staged(column, keys, swap=True)
        except MigrationStoppedError as error:
            stopped.append(error)
        else:
            swapped = report.state == "swapped"
            break
    assert all(each.retryable for each in stopped)
    # It notices at its next read, if the swap came through: its provider can't read the new ones.
    if swapped:
        running.join(timeout=30)
        assert isinstance(running.error, AssertionError)
    else:
        running.stop()
        assert everything(monetr, monetr_rules("plaintext")) == expected(last)
    # Some rows may be of the old provider again. All open, to what was written last.
    found: dict[str, str] = {}
    with monetr.connect() as connection:
        for row in connection.execute(sa.text("SELECT * FROM secrets WHERE kind = 'plaid'")):
            opened = column.decrypt(dict(row._mapping))
            assert opened is not None
            found[row.secret_id] = opened.decode()
    assert found == expected(last)
    # It may have noticed before it wrote anything.
    if migrate_staged(column, keys, target="vault").ready:
        assert migrate_staged(column, keys, swap=True).state == "swapped"
    assert everything(monetr, monetr_rules("vault")) == expected(last)


PROGRAM = """
import json, sys
import sqlalchemy as sa
from keyhinge import KeyManager
from keyhinge_store import MappedColumn, TableMapping, migrate_staged

config, url, mapping, options = map(json.loads, sys.argv[1:5])
engine = sa.create_engine(url)

def tell(connection, cursor, statement, *_):
    for begins, word in (("INSERT INTO keyhinge_staged", "put"), ("UPDATE secrets", "update")):
        if begins in statement.replace('"', ""):
            print(word, flush=True)

sa.event.listen(engine, "after_cursor_execute", tell)
with KeyManager.open(config, environ={}) as keys:
    column = MappedColumn(engine, keys, TableMapping(**mapping))
    print("ready", flush=True)
    report = migrate_staged(column, **options)
    print(json.dumps(report.to_dict()), flush=True)
engine.dispose()
"""


class Process:
    """A process that prepares or swaps."""

    def __init__(self, config: Settings, url: str, **options: Any) -> None:
        mapping = {
            "table": MAPPING.table,
            "primary_key": MAPPING.primary_key,
            "encoding": MAPPING.encoding,
            "columns": MAPPING.columns,
            "where": MAPPING.where,
        }
        arguments = [json.dumps(each) for each in (config, url, mapping, options)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> bool:
        """Kill it at once; tell whether it was still at work."""
        self.process.kill()
        _, err = self.process.communicate()
        assert self.process.returncode in (0, -9), err
        return self.process.returncode == -9


@pytest.fixture
def start(
    monetr_sections: dict[str, Settings], database_url: str
) -> Iterator[Callable[..., Process]]:
    """Starts processes, under plaintext: `start(target="vault")`."""
    started: list[Process] = []
    config = {"keyManagement": {"provider": "plaintext", **monetr_sections}}

    def start(**options: Any) -> Process:
        started.append(Process(config, database_url, **options))
        return started[-1]

    yield start
    for process in started:
        if process.process.returncode is None:
            process.kill()


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often processes are killed: as `--kills` says."""
    count: int = request.config.getoption("--kills") or 6
    return count


def test_killed_again_and_again(
    monetr: sa.Engine, database_url: str, monetr_keys, monetr_rules, start, kills: int
) -> None:
    """While preparing, monetr doesn't notice; while swapping, all of it happens or nothing."""
    chance = random.Random(4)
    keys = monetr_keys("plaintext")
    column = MappedColumn(monetr, keys, MAPPING)
    last: dict[str, str] = {}
    killed = 0
    with at_work(database_url, monetr_rules("plaintext"), last):
        for _ in range(max(2, kills // 2)):
            process = start(target="vault", batch_size=2)
            assert process.line() == "ready"
            for _ in range(chance.randrange(1, 6)):
                process.line()
            time.sleep(chance.uniform(0, 0.02))
            killed += process.kill()
    assert killed > 0
    report = migrate_staged(column, keys)
    assert report.complete
    # What a dead process had prepared is there.
    assert report.made < report.ready

    killed = 0
    for _ in range(max(2, kills // 2)):
        process = start(swap=True, batch_size=5)
        lines = iter(process.line, "")
        # In the middle of the transaction.
        for _ in range(chance.randrange(2, 9)):
            if next(lines, "").startswith("{"):
                break
        killed += process.kill()
        if "vault" in kinds(monetr):
            break  # the commit was quicker
        assert everything(monetr, monetr_rules("plaintext")) == expected(last)
    assert killed > 0
    if "vault" not in kinds(monetr):
        report = migrate_staged(column, keys, swap=True)
        assert (report.state, report.made) == ("swapped", 0)
    assert everything(monetr, monetr_rules("vault")) == expected(last)
    assert [(each.state, each.moved) for each in runs(column)] == [
        ("finished", len(VALUES) + len(last))
    ]
    assert staged_rows(monetr) == (0, 0)


def expected(last: dict[str, str]) -> dict[str, str]:
    return {**{f"s{number:03}": value for number, value in enumerate(VALUES)}, **last}


def everything(engine: sa.Engine, rules: Rules) -> dict[str, str]:
    """Read every row as monetr does: one of another provider is an error."""
    wanted = "SELECT secret_id, secret, key_id, version FROM secrets WHERE kind = 'plaid'"
    with engine.connect() as connection:
        rows = connection.execute(sa.text(wanted)).all()
    return {row[0]: rules.read(*row[1:]) for row in rows}


def kinds(engine: sa.Engine) -> set[str]:
    wanted = "SELECT DISTINCT key_id IS NULL FROM secrets WHERE kind = 'plaid'"
    with engine.connect() as connection:
        plain = set(connection.execute(sa.text(wanted)).scalars())
    return {"plaintext" if each else "vault" for each in plain}


def staged_rows(engine: sa.Engine) -> tuple[int, int]:
    """Count what is left in the side table, and the preparations under way."""
    with engine.connect() as connection:
        counted = [
            connection.execute(sa.text(f"SELECT count(*) FROM keyhinge_{name}")).scalar_one()
            for name in ("staged", "staging")
        ]
    return counted[0], counted[1]
