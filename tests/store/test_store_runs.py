"""The state of runs: who starts, joins, takes over, is fenced off; on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from keyhinge_store import (
    MigrationError,
    MigrationRunningError,
    NewSecret,
    RowFailure,
    SecretStore,
    abandon,
    create_state_tables,
    run,
    runs,
)
from keyhinge_store._cells import Cell
from keyhinge_store._keys import decode_key, encode_key
from keyhinge_store._layout import make_layout
from keyhinge_store._migrate._places import TableRows
from keyhinge_store._reader import Reader
from keyhinge_store._runs import _ledger as ledger
from keyhinge_store._runs._failures import record_failures
from keyhinge_store._runs._holder import is_gone, new_holder
from keyhinge_store._runs._ranges import Outcome, Ranges, TakenOverError
from keyhinge_store._runs._rate import take
from keyhinge_store._runs._run import Wanted, read_run, start_or_join
from keyhinge_store._runs._sweeps import OPEN_TRANSACTIONS, begin_sweep, end_sweep
from keyhinge_store._runs._tables import RANGE
from keyhinge_store._runs._transact import oldest_transaction, own_transaction, transaction

WANTED = Wanted(
    subject="secrets.secret",
    table_name="secrets",
    operation="migrate",
    source=("one",),
    target="two",
    target_key=None,
    digest="d",
    retry_of=None,
    rows=100,
    matched=90,
    already=10,
    max_sweeps=None,
    rate=None,
)
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ELSEWHERE = "elsewhere/1/1/another-machine/{name}"


@pytest.fixture
def engine(store: SecretStore) -> sa.Engine:
    """A database with 25 secrets in it, and our own tables."""
    store.put_many(NewSecret(f"a{n % 5}", "k", f"v{n}", f"s{n:02}") for n in range(25))
    create_state_tables(store)
    return store.state


@pytest.fixture
def worker(engine: sa.Engine, store: SecretStore) -> Callable[..., Ranges]:
    """Makes somebody who works on a run: `worker(run_id, "name", keys=10)`."""

    def make(run_id: int, name: str, keys: int = 10) -> Ranges:
        reader = Reader(engine, store.layout, None, rows=100, size=10**6)
        places = TableRows(reader, store.layout)
        return Ranges(engine, places, run_id, ELSEWHERE.format(name=name), keys=keys)

    return make


def start(engine: sa.Engine, **changes: Any) -> int:
    """Start a run, or join one, and begin its first sweep."""
    holder = changes.pop("holder", new_holder())
    run_id = start_or_join(engine, attrs.evolve(WANTED, **changes), holder)
    if not current(engine, run_id).begun:
        begin_sweep(engine, current(engine, run_id), 0)
    return run_id


def current(engine: sa.Engine, run_id: int) -> Any:
    found = read_run(engine, run_id)
    assert found is not None
    return found


def expire(engine: sa.Engine) -> None:
    """Let all leases be over, without waiting for it."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE keyhinge_range SET lease_until = 1"))
        connection.execute(sa.text("UPDATE keyhinge_run SET lease_until = 1"))


class TestTables:
    def test_made_by_many_at_once(self, open_store, open_keys) -> None:
        store = open_store(open_keys("one"))
        errors: list[BaseException] = []

        def make() -> None:
            try:
                create_state_tables(store)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert runs(store) == []

    def test_looking_makes_none(self, store: SecretStore) -> None:
        assert runs(store) == []
        with pytest.raises(MigrationError, match="no run 1"):
            run(store, 1)
        assert "keyhinge_run" not in sa.inspect(store.engine).get_table_names()

    def test_a_user_who_may_not_make_them(self, postgres_url: str, open_keys) -> None:
        admin = sa.create_engine(postgres_url)
        with admin.begin() as connection:
            role = f"role_{os.getpid()}_{time.monotonic_ns()}"
            connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
            connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        url = sa.make_url(postgres_url).set(username=role)
        limited = sa.create_engine(url)
        try:
            store = SecretStore(limited, open_keys("one"))
            with pytest.raises(MigrationError, match="keyhinge store init"):
                create_state_tables(store)
        finally:
            limited.dispose()
            with admin.begin() as connection:
                connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
            admin.dispose()


class TestStart:
    def test_the_second_one_joins(self, engine: sa.Engine, store: SecretStore) -> None:
        first = start(engine)
        expire(engine)
        assert start(engine) == first
        [info] = runs(store)
        assert (info.run_id, info.state, info.matched) == (first, "active", 90)
        assert "@" in info.started_by

    @pytest.mark.parametrize(
        "other",
        [
            {"operation": "rewrap"},
            {"source": ()},
            {"target": "three"},
            {"target_key": ("k", "2")},
            {"digest": "e"},
            {"retry_of": 7},
        ],
        ids=str,
    )
    def test_another_direction_while_somebody_works(
        self, engine: sa.Engine, store: SecretStore, worker, other: dict[str, Any]
    ) -> None:
        first = start(engine, holder=ELSEWHERE.format(name="a"))
        worker(first, "a").claim(current(engine, first))

        with pytest.raises(MigrationError, match=f"runs abandon {first}"):
            start(engine, **other)

        # When they are silent for long enough, the run is given up.
        expire(engine)
        second = start(engine, **other)
        assert second != first
        assert run(store, first).state == "abandoned"
        assert "nobody worked on it" in run(store, first).reason
        assert run(store, second).state == "active"

    def test_another_table_is_another_run(self, engine: sa.Engine) -> None:
        assert start(engine) != start(engine, subject="others.secret")

    def test_many_at_once_start_one(self, engine: sa.Engine) -> None:
        if engine.dialect.name == "sqlite":
            # One of them works; the others are told so.
            started = race(4, lambda: started_or_told(engine))
            assert sorted(started) == ["started", "told", "told", "told"]
        else:
            assert len(set(race(4, lambda: start(engine)))) == 1

    def test_new_limits_of_one_who_joins_hold(self, engine: sa.Engine, store: SecretStore) -> None:
        first = start(engine, rate=5.0, max_sweeps=3)
        expire(engine)
        start(engine)
        assert (run(store, first).rate, run(store, first).max_sweeps) == (5.0, 3)
        expire(engine)
        start(engine, rate=7.0, max_sweeps=4)
        assert (run(store, first).rate, run(store, first).max_sweeps) == (7.0, 4)

    @only_sqlite
    def test_sqlite_has_one_migrator(self, store: SecretStore, engine: sa.Engine) -> None:
        first = start(engine, holder=ELSEWHERE.format(name="a"))
        with pytest.raises(MigrationRunningError, match="elsewhere:1") as raised:
            start(engine)
        assert raised.value.retryable
        expire(engine)
        assert start(engine) == first


class TestAbandon:
    def test_it_ends_everybodys_work(self, engine: sa.Engine, store: SecretStore, worker) -> None:
        first = start(engine)
        someone = worker(first, "a")
        held = someone.claim(current(engine, first))
        with transaction(engine) as connection:
            someone.step(connection, held, moved=4, outcome=Outcome(seen=5, failed=1))

        info = abandon(store, first)

        assert (info.state, info.moved, info.failed) == ("abandoned", 4, 1)
        assert info.ended_at is not None
        with pytest.raises(TakenOverError), transaction(engine) as connection:
            someone.step(connection, held, moved=1)
        assert run(store, first).moved == 4
        with pytest.raises(MigrationError, match="has ended already"):
            abandon(store, first)
        with pytest.raises(MigrationError, match="no run 99"):
            abandon(store, 99)


class TestRanges:
    def test_they_cover_the_table_once(self, engine: sa.Engine, store: SecretStore, worker) -> None:
        first = start(engine)
        someone = worker(first, "a")
        ranges = []
        while (held := someone.claim(current(engine, first))) is not None:
            ranges.append(held)
        assert [held.number for held in ranges] == [1, 2, 3]
        assert (ranges[0].position, ranges[-1].last) == (None, None)
        assert [held.last for held in ranges[:-1]] == [held.position for held in ranges[1:]]
        reader = Reader(engine, store.layout, None, rows=100, size=10**6)
        pages = [reader.page(held.position, held.last) for held in ranges]
        assert [len(page) for page in pages] == [10, 10, 5]
        keys = [store.layout.key_of(row) for page in pages for row in page]
        assert len(set(keys)) == 25

    @only_postgresql
    def test_two_never_get_the_same(self, engine: sa.Engine, worker) -> None:
        first = start(engine)

        def claim_all() -> list[int]:
            someone = worker(first, f"t{threading.get_ident()}", keys=2)
            numbers = []
            idle = 0
            while idle < 3:
                held = someone.claim(current(engine, first))
                if held is None:
                    idle += 1  # lost a race, or there is none left
                else:
                    numbers.append(held.number)
            return numbers

        found = race(4, claim_all)
        numbers = sorted(number for each in found for number in each)
        assert numbers == list(range(1, 14))

    @only_postgresql
    def test_the_silent_are_taken_over_and_fenced(
        self, engine: sa.Engine, store: SecretStore, worker
    ) -> None:
        first = start(engine)
        slow, quick = worker(first, "slow", keys=100), worker(first, "quick", keys=100)
        held = slow.claim(current(engine, first))
        with transaction(engine) as connection:
            slow.step(connection, held, moved=3, outcome=Outcome(seen=3), position=("a0", "s10"))
        held.batches += 1
        assert quick.claim(current(engine, first)) is None
        slow.renew()
        expire(engine)

        taken = quick.claim(current(engine, first))

        assert (taken.number, taken.epoch, taken.position) == (held.number, 2, ("a0", "s10"))
        with pytest.raises(TakenOverError), transaction(engine) as connection:
            slow.step(connection, held, moved=1)
        with pytest.raises(TakenOverError):
            slow.finish(held)
        slow.renew()  # says nothing about what isn't its own any more
        with transaction(engine) as connection:
            quick.step(connection, taken, moved=2, outcome=Outcome(seen=2), position=("a1", "s11"))
        assert run(store, first).moved == 5
        [process] = run(store, first).processes
        assert (process.ranges, process.silent) == (1, False)

    def test_the_dead_of_this_machine_are_taken_over_at_once(
        self, engine: sa.Engine, store: SecretStore, worker
    ) -> None:
        first = start(engine)
        mine = new_holder().split("/")
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        someone = worker(first, "x", keys=100)
        someone._holder = "/".join([mine[0], str(ended.pid), "1", mine[3], "n"])
        assert someone.claim(current(engine, first)) is not None
        assert is_gone(someone._holder)
        assert not is_gone("/".join(mine))
        assert not is_gone(ELSEWHERE.format(name="a"))
        [process] = run(store, first).processes
        assert process.silent

        taken = worker(first, "other").claim(current(engine, first))

        assert (taken.number, taken.epoch) == (1, 2)

    def test_a_released_range_is_free(self, engine: sa.Engine, worker) -> None:
        first = start(engine)
        someone = worker(first, "a", keys=100)
        someone.claim(current(engine, first))
        someone.release()
        assert worker(first, "b").claim(current(engine, first)).epoch == 2

    def test_a_claim_without_an_answer_is_found_again(self, engine: sa.Engine, worker) -> None:
        first = start(engine)
        someone = worker(first, "a", keys=100)
        someone.claim(current(engine, first))
        assert someone.claim(current(engine, first)) is None
        someone._mine.clear()
        assert someone.claim(current(engine, first)).epoch == 2

    def test_a_batch_counts_once(self, engine: sa.Engine, worker) -> None:
        """Entered again because the answer got lost, it is refused, and known to be done."""
        first = start(engine)
        someone = worker(first, "a")
        held = someone.claim(current(engine, first))
        for attempt_number in range(2):
            assert someone.is_done(held) is bool(attempt_number)
            try:
                with transaction(engine) as connection:
                    someone.step(connection, held, moved=5, outcome=Outcome(seen=5))
            except TakenOverError:
                assert attempt_number == 1
        with engine.connect() as connection:
            row = connection.execute(sa.select(RANGE)).one()
        assert (row.moved, row.seen, row.batches) == (5, 5, 1)


def finish_sweep(engine: sa.Engine, someone: Ranges, run_id: int, **counts: int) -> None:
    """Work through a whole sweep, which comes to these counts."""
    while (held := someone.claim(current(engine, run_id))) is not None:
        moved = counts.pop("moved", 0)
        with transaction(engine) as connection:
            someone.step(connection, held, moved=moved, outcome=Outcome(**counts))
        counts = {}
        someone.finish(held)


class TestSweeps:
    def test_a_quiet_one_is_the_last(self, engine: sa.Engine, store: SecretStore, worker) -> None:
        first = start(engine)
        someone = worker(first, "a", keys=100)
        assert not end_sweep(engine, current(engine, first))  # nothing is divided yet
        finish_sweep(engine, someone, first, moved=20, failed=2)
        assert end_sweep(engine, current(engine, first))
        assert (run(store, first).moved, run(store, first).sweep) == (20, 2)
        assert begin_sweep(engine, current(engine, first), 60)
        finish_sweep(engine, someone, first, failed=2)
        assert end_sweep(engine, current(engine, first))

        info = run(store, first)
        assert (info.state, info.moved, info.failed, info.sweep) == ("finished", 20, 2, 2)
        assert info.processes == ()
        assert someone.claim(current(engine, first)) is None
        assert start(engine) != first

    def test_not_while_somebody_works(self, engine: sa.Engine, worker) -> None:
        first = start(engine)
        someone = worker(first, "a", keys=100)
        held = someone.claim(current(engine, first))
        assert not end_sweep(engine, current(engine, first))
        someone.finish(held)
        assert end_sweep(engine, current(engine, first))

    def test_two_end_it_once(self, engine: sa.Engine, store: SecretStore, worker) -> None:
        first = start(engine)
        finish_sweep(engine, worker(first, "a", keys=100), first, moved=20)
        seen = current(engine, first)
        assert race(3, lambda: end_sweep(engine, seen)) == [True] * 3
        assert (run(store, first).moved, run(store, first).sweep) == (20, 2)

    def test_after_so_many_it_is_unsettled(
        self, engine: sa.Engine, store: SecretStore, worker
    ) -> None:
        first = start(engine, max_sweeps=2)
        someone = worker(first, "a", keys=100)
        finish_sweep(engine, someone, first, busy=1)
        assert end_sweep(engine, current(engine, first))
        assert not begin_sweep(engine, current(engine, first), 60)  # there is a pause first
        wait_until(lambda: begin_sweep(engine, current(engine, first), 60))
        finish_sweep(engine, someone, first, busy=1)
        assert end_sweep(engine, current(engine, first))
        info = run(store, first)
        assert (info.state, info.busy) == ("unsettled", 2)
        assert "applications" in info.reason

    @only_postgresql
    def test_an_earlier_transaction_is_waited_for(
        self, engine: sa.Engine, store: SecretStore, worker
    ) -> None:
        """A sweep that began while one was under way proves nothing."""
        with engine.connect() as earlier:
            earlier.exec_driver_sql("UPDATE secrets SET kind = kind WHERE secret_id = 's00'")
            number = own_transaction(earlier)
            assert oldest_transaction(engine) == number
            first = start(engine)
            finish_sweep(engine, worker(first, "a", keys=100), first)
            assert end_sweep(engine, current(engine, first))
            assert run(store, first).state == "active"
            assert not begin_sweep(engine, current(engine, first), 60)
            earlier.rollback()
        wait_until(lambda: begin_sweep(engine, current(engine, first), 60))
        finish_sweep(engine, worker(first, "a", keys=100), first)
        assert end_sweep(engine, current(engine, first))
        assert run(store, first).state == "finished"

    @only_postgresql
    def test_one_that_never_ends_makes_it_unsettled(
        self, engine: sa.Engine, store: SecretStore, worker
    ) -> None:
        with engine.connect() as earlier:
            earlier.exec_driver_sql("UPDATE secrets SET kind = kind WHERE secret_id = 's00'")
            first = start(engine)
            finish_sweep(engine, worker(first, "a", keys=100), first)
            end_sweep(engine, current(engine, first))
            wait_until(lambda: begin_sweep(engine, current(engine, first), 0.2))
        assert (run(store, first).state, run(store, first).reason) == (
            "unsettled",
            OPEN_TRANSACTIONS,
        )


class TestRate:
    def test_it_holds_for_all_together(self, engine: sa.Engine) -> None:
        """The bucket is empty at the start; what is taken has to be waited for."""
        first = start(engine, rate=100.0)
        waits = race(4, lambda: take(engine, first, 50))
        # 200 rows at 100 a second are two seconds, less what has passed meanwhile.
        assert 1.0 < max(waits) <= 2.0
        assert sorted(waits) == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.5)

    def test_a_pause_fills_it_for_one_second_at_most(self, engine: sa.Engine) -> None:
        first = start(engine, rate=100.0)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE keyhinge_run SET tokens_at = tokens_at - 3600"))
        assert take(engine, first, 100) == 0
        assert 0.3 < take(engine, first, 50) <= 0.5

    def test_without_one_nothing_is_waited_for(self, engine: sa.Engine) -> None:
        assert take(engine, start(engine), 10_000) == 0


class TestFailures:
    def test_each_row_is_named_once(self, engine: sa.Engine, store: SecretStore) -> None:
        first = start(engine)
        for sweep, message in ((1, "first"), (2, "second")):
            with transaction(engine) as connection:
                failures = [
                    RowFailure({"account_id": "a\udc80", "secret_id": "s" * 5000}, "E", message),
                    RowFailure(
                        {"account_id": "b", "secret_id": f"s{sweep}"}, "E", message, "22001"
                    ),
                ]
                record_failures(connection, first, sweep, failures)
        found = run(store, first).failures
        assert [failure.message for failure in found] == ["second", "first", "second"]
        assert found[0].key == {"account_id": "a\udc80", "secret_id": "s" * 5000}
        assert found[2].sqlstate == "22001"


class TestLedger:
    def test_what_was_written_last_is_known(self, engine: sa.Engine, store: SecretStore) -> None:
        layout = store.layout
        entries = {
            ("a", "1"): ledger.Entry(ledger.digest_of_cells(("x",)), "one", "k", "1"),
            ("a", "2"): ledger.Entry(ledger.digest_of_cells((b"y", None)), "one", "k", "1"),
        }
        with transaction(engine) as connection:
            ledger.enter(connection, layout, entries)
            changed = attrs.evolve(entries["a", "1"], section="two")
            ledger.enter(connection, layout, {("a", "1"): changed})
            ledger.strike_out(connection, layout, [("a", "2")])
        with engine.connect() as connection:
            keys = [("a", "1"), ("a", "2"), ("a", "3")]
            assert ledger.look_up(connection, layout, keys) == {("a", "1"): changed}


class TestKeys:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("text", "tökén"),
            ("text", "\udcff"),
            ("text", b"\x00\xff"),
            ("text", 5),
            ("text", None),
            ("integer", 2**62),
            ("integer", "five"),
            ("integer", 1.5),
            ("uuid", UUID(int=7)),
            ("uuid", "no uuid"),
            ("bytes", b"\x00\xff"),
            ("bytes", "text"),
            ("other", "2026-01-01"),
        ],
    )
    def test_they_come_back_as_they_were(self, kind: Any, value: object) -> None:
        layout = attrs.evolve(
            make_layout(), cells={"account_id": Cell("account_id", kind), "secret_id": Cell("x")}
        )
        again = decode_key(layout, encode_key(layout, (value, "s")))
        assert again == (value, "s")
        assert type(again[0]) is type(value)


def race(count: int, work: Callable[[], Any]) -> list[Any]:
    """Let threads do the same at the same time; give what came of each."""
    results: list[Any] = [None] * count
    gate = threading.Barrier(count)

    def go(number: int) -> None:
        gate.wait()
        try:
            results[number] = work()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=go, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [each for each in results if isinstance(each, BaseException)]
    if failed:
        raise failed[0]
    return results


def started_or_told(engine: sa.Engine) -> str:
    try:
        start(engine)
    except MigrationRunningError:
        return "told"
    return "started"


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.02)
