"""Processes that encrypt a table under new data keys together, die, and go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from tests.store._migrating import PROGRAM, Process, audit
from tests.store.test_store_processes import check, only_postgresql, wait_until, writing

from keyhinge import Decrypt, KeyManager
from keyhinge_store import SecretStore, rewrap, runs, verify

REWRAP = PROGRAM.replace("migrate", "rewrap")
Start = Callable[..., Process]
Names = dict[tuple[str, str], tuple[str, str]]


@pytest.fixture
def config(configuration: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """`envelope` over a key file."""
    config = configuration("one")
    config["keyManagement"] |= {"provider": "envelope", "envelope": {"over": "one"}}
    return config


@pytest.fixture
def store(config: dict[str, Any], open_store: Callable[..., SecretStore]) -> Iterator[SecretStore]:
    """A store of an application, with a data key of its own."""
    with KeyManager.open(config) as keys:
        yield open_store(keys)


@pytest.fixture
def start(config: dict[str, Any], database: Any) -> Iterator[Start]:
    """Starts processes that make new data keys."""
    with ExitStack() as ending:

        def start(**options: Any) -> Process:
            options = {"batch_size": 20, "lease": 4, "new_data_keys": True, **options}
            process = Process(config, database.url, program=REWRAP, **options)
            ending.callback(process.kill)
            return process

        yield start


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often processes are killed: as `--kills` says."""
    return request.config.getoption("--kills") or 3


def read(store: SecretStore) -> Names:
    """Each secret's value, and the data key that it is under."""
    found: Names = {}
    with store.engine.connect() as connection:
        for row in connection.execute(store.layout.table.select()):
            item = store.layout.read([row._mapping[name] for name in store.layout.columns])
            assert isinstance(item, Decrypt)
            name = store.keys.data_key_of(item.value)
            found[row.account_id, row.secret_id] = (row.secret, name)
    return found


@only_postgresql
def test_they_share_the_work(
    start: Start, store: SecretStore, database: Any, fill: Any, everything: Any
) -> None:
    """Each row is moved once, by one of them, and nobody takes another one's values for old."""
    written = fill(store, 2000)
    [old] = {name for _, name in read(store).values()}
    audit(database)
    reports = [process.end() for process in [start() for _ in range(3)]]
    [info] = runs(store)
    assert (info.state, info.moved, info.failed, info.matched) == ("finished", 2000, 0, 2000)
    assert info.operation == "new-data-keys"
    assert sum(report["moved"] for report in reports) == 2000
    assert all(report["settled"] and report["left"] == 0 for report in reports)
    moved = database.execute("SELECT count(*), count(DISTINCT secret_id) FROM audit")
    assert moved == [(2000, 2000)]
    names = Counter(name for _, name in read(store).values())
    assert old not in names
    assert sorted(names.values()) == sorted(r["moved"] for r in reports if r["moved"])
    assert len(names) >= 2
    assert everything(store) == written


def test_killed_ones_are_gone_on_with(
    start: Start, store: SecretStore, fill: Any, everything: Any, kills: int
) -> None:
    """`kill -9`, again and again: what was moved stays as it is."""
    written = fill(store, 1000)
    [old] = {name for _, name in read(store).values()}
    moved: Names = {}
    for _ in range(kills):
        process = start(rate=500, lease=1)
        process.ready()
        wait_until(partial(has_more, store, old, len(moved)))
        assert process.kill()
        now = moved_of(store, old)
        assert moved.items() <= now.items()
        moved = now
    report = start(rate=100_000, lease=1).end()
    assert (report["settled"], report["left"], report["failed"]) == (True, 0, 0)
    final = read(store)
    assert moved.items() <= final.items()
    assert old not in {name for _, name in final.values()}
    assert everything(store) == written
    [info] = runs(store)
    assert (info.state, info.moved) == ("finished", 1000)


def moved_of(store: SecretStore, old: str) -> Names:
    return {key: each for key, each in read(store).items() if each[1] != old}


def has_more(store: SecretStore, old: str, than: int) -> bool:
    return len(moved_of(store, old)) > than


@only_postgresql
def test_killed_while_applications_write(
    start: Start, store: SecretStore, fill: Any, everything: Any
) -> None:
    """It comes to an end though they go on; nothing is lost, and nothing old is left."""
    untouched = fill(store, 1000)
    with writing([store], 2) as writers:
        before = {text for text, _ in read(store).values()}
        first, second = start(), start()
        first.ready()
        wait_until(lambda: bool(runs(store)) and runs(store)[0].moved > 100)
        assert first.kill()
        reports = [second.end(), start().end()]
        assert [report["settled"] for report in reports] == [True, True]
        assert not before & {text for text, _ in read(store).values()}
    check(store, everything, writers, untouched)
    assert verify(store).ok
    # Once they are still, another one leaves none of theirs.
    assert rewrap(store, new_data_keys=True).complete
    assert len({name for _, name in read(store).values()}) == 1
