"""A real database, a real key service, an application at work, and everything that goes wrong.

The processes are killed as often as `--kills` says, three times by default, and with each kill goes
another trouble: connections are cut, the database is restarted, the key service sealed. With
`--log-cli-level INFO` the test says how much of it there was.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.services.openbao import Bao
from tests.services.postgres import Postgres
from tests.store._application import CREATE, MAPPINGS, Application, Held, audit, read_all
from tests.store._fleet import Fleet, Trouble

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import Tables, migrate, runs, verify

LOG = logging.getLogger(__name__)
UNTOUCHED, SEEDED = 45, 40  # rows that nobody writes, for each kill; and for each writer
RATE = 100  # so that a migration isn't over before the first kill
OpenTables = Callable[[str], Tables]


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[Bao]:
    """A key service that can be sealed."""
    folder = tmp_path / "bao"
    folder.mkdir()
    server = Bao.real(folder)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | None]:
    """A database server that can be restarted; none with SQLite."""
    if request.param == "sqlite":
        yield None
        return
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def url(server: Postgres | None, sqlite_url: str) -> str:
    """The database."""
    return sqlite_url if server is None else server.url


@pytest.fixture
def configuration(bao: Bao, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """A derived key of the key service, and a key file."""
    key = bao.key(derived=True)
    keyfile.init(tmp_path / "local.key")
    sections = {
        "vault": {
            "type": "openbao",
            "endpoint": bao.url,
            "keyID": key,
            "token": bao.token(bao.app_policy(key)),
            "retryFor": 0.1,  # it is the engine's patience that is tried
        },
        "local": {"keyFile": str(tmp_path / "local.key")},
    }
    return lambda primary: {"keyManagement": {"provider": primary, **sections}}


@pytest.fixture
def open_tables(url: str, configuration: Callable[[str], dict[str, Any]]) -> Iterator[OpenTables]:
    """Opens the application's table under a primary section."""
    opened: list[Any] = []

    def make(primary: str) -> Tables:
        keys = KeyManager.open(configuration(primary), environ={})
        tables = Tables(url, keys, MAPPINGS)
        opened.extend((tables, keys))
        return tables

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def tables(open_tables: OpenTables, url: str) -> Tables:
    """The table, made, under the key service."""
    is_sqlite = url.startswith("sqlite")
    engine = sa.create_engine(url)
    types = {"text": "text", "bytes": "blob" if is_sqlite else "bytea"}
    with engine.begin() as connection:
        connection.exec_driver_sql(CREATE.format(**types))
    if not is_sqlite:
        audit(engine)
    engine.dispose()
    return open_tables("vault")


@pytest.mark.timeout(1200)
def test_nothing_is_lost(
    tables: Tables,
    open_tables: OpenTables,
    configuration: Callable[[str], dict[str, Any]],
    server: Postgres | None,
    bao: Bao,
    url: str,
    request: pytest.FixtureRequest,
) -> None:
    """Each row ends as it was last written; none is missing or doubled; the counts add up."""
    kills = request.config.getoption("--kills") or 3
    size = request.config.getoption("--processes") if server is not None else 1
    new = open_tables("local")
    still = Application(99, tables, pairs=False)
    still.account = "still"
    still.seed(min(UNTOUCHED * kills, 1000))
    chance = random.Random(5)
    trouble = Trouble(chance, server, bao)
    # Some replicas have the new configuration already, and some have still the old one.
    with fleet_of(Fleet(configuration, url, size=size, rate=RATE)) as fleet:
        with writing([tables, new], 2) as writers:
            killed = cause(trouble, fleet, kills, chance)
        fleet.finish()
    check(new, [still, *writers])
    report = migrate(new)

    assert killed == kills
    assert report.complete
    assert report.left == report.failed == 0
    check(new, [still, *writers])
    assert verify(new).failed == 0
    assert not [each for each in runs(new) if each.state == "active"]
    # Each trouble has been noticed by somebody.
    assert sum(writer.interrupted for writer in writers) > 0
    if server is not None:
        check_counts(new, fleet.turns, report.moved)
        assert "deadlock detected" not in server.log
    states = Counter(each.state for each in runs(new))
    LOG.info("%s processes, %s kills, %s, %s turns", size, killed, trouble.made, fleet.turns)
    LOG.info("processes that had to stop: %s; runs: %s", fleet.stopped, states)
    LOG.info("writes: %s", [(each.writes, each.interrupted) for each in writers])


@contextmanager
def fleet_of(fleet: Fleet) -> Iterator[Fleet]:
    """See to it that no process stays."""
    try:
        fleet.begin()
        yield fleet
    finally:
        fleet.abolish()


@contextmanager
def writing(tables: list[Tables], count: int) -> Iterator[list[Application]]:
    """Let applications write, until the end."""
    writers = [Application(n, tables[n % len(tables)], pairs=True) for n in range(count)]
    for writer in writers:
        writer.seed(SEEDED)
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join()


def cause(trouble: Trouble, fleet: Fleet, kills: int, chance: random.Random) -> int:
    """Kill, and make trouble, until it was often enough."""
    killed = 0
    while killed < kills:
        time.sleep(chance.uniform(0.3, 1.0))
        fleet.tend()
        if fleet.kill(chance.randrange(len(fleet.crew))):
            killed += 1
            time.sleep(chance.uniform(0.0, 0.5))
            trouble.make()
    return killed


def check(tables: Tables, writers: list[Application]) -> None:
    """Each row decrypts to what was last written; none is missing, and none is too much."""
    assert [writer.error for writer in writers] == [None] * len(writers)
    expected: dict[str, dict[int, Held]] = {each.account: each.last for each in writers}
    assert read_all(tables) == expected


def check_counts(tables: Tables, turns: int, last: int) -> None:
    """What the runs have counted is what the database has seen, and it has seen nothing twice."""

    def read(connection: sa.Connection) -> list[Any]:
        seen = "SELECT account, number, what, section FROM audit ORDER BY id"
        return list(connection.execute(sa.text(seen)))

    seen = tables.run(read)
    still: dict[Any, list[str]] = {}
    for account, number, what, section in seen:
        if account == "still":
            still.setdefault((number, what), []).append(section)
    for sections in still.values():
        assert sections == ["local", "vault"] * (len(sections) // 2) + ["local"] * (
            len(sections) % 2
        )
        assert turns - 1 <= len(sections) <= turns
    # The last migration, in this process, goes by another name.
    assert sum(each.moved for each in runs(tables)) == len(seen) + last
