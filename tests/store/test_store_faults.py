"""Killed, cut off, in the way of applications: a migration must lose nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._migrating import Writer

from keyhinge import (
    AccessDeniedError,
    Capabilities,
    Context,
    EncryptedValue,
    KeyManager,
    KeyUnavailableError,
    OperationError,
    Provider,
    Sealed,
    UnavailableError,
    hookimpl,
)
from keyhinge_store import MigrationStoppedError, SecretStore, migrate
from keyhinge_store._migrate import _migration
from keyhinge_store._migrate._migration import Migration

PROGRAM = """
import json, sys
from keyhinge import KeyManager
from keyhinge_store import SecretStore, migrate

config, url = json.loads(sys.argv[1]), sys.argv[2]
with KeyManager.open(config) as keys, SecretStore(url, keys) as store:
    print("ready", flush=True)
    migrate(store, batch_size=10)
print("done", flush=True)
"""


class TestKilled:
    def test_in_the_middle_several_times(
        self, store: SecretStore, open_keys, configuration, database, fill, everything
    ) -> None:
        """`kill -9` at random moments: each time all values are readable, at the end all moved."""
        written = fill(store, 1000)
        config = json.dumps(configuration("two"))
        chance = random.Random(7)
        killed = 0
        for _ in range(3):
            program = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, config, database.url], stdout=subprocess.PIPE
            )
            with program:
                assert program.stdout is not None
                assert program.stdout.readline() == b"ready\n"
                wait_for_more(database, moved_rows(database))
                time.sleep(chance.uniform(0, 0.05))
                program.kill()
                killed += program.wait() == -signal.SIGKILL
            assert everything(store) == written

        assert killed == 3
        assert 0 < moved_rows(database) < 1000
        report = migrate(store, open_keys("two"))
        assert report.already + report.moved == 1000
        assert report.complete
        assert moved_rows(database) == 1000
        assert everything(store) == written


def moved_rows(database: Any) -> int:
    [(count,)] = database.execute("SELECT count(*) FROM secrets WHERE section = 'two'")
    return int(count)


def wait_for_more(database: Any, before: int) -> None:
    end = time.monotonic() + 20
    while moved_rows(database) == before:
        assert time.monotonic() < end, "the program moved nothing"
        time.sleep(0.005)


class TestConcurrentWriters:
    def test_the_last_write_wins_and_nobody_deadlocks(
        self, open_store, open_keys, database, fill, everything
    ) -> None:
        """Old and new replicas write while the table is moved there and back, in small batches."""
        old = open_store(open_keys("one"))
        new = open_store(open_keys("two"))
        untouched = fill(old, 300)
        pairs = not database.is_sqlite
        writers = [Writer(n, old if n % 2 else new, pairs=pairs) for n in range(3)]
        for writer in writers:
            writer.seed(60)
        for writer in writers:
            writer.start()
        try:
            for target in ("two", "one", "two"):
                report = migrate(old, open_keys(target), batch_size=25, max_sweeps=2)
                assert report.failed == 0
        finally:
            for writer in writers:
                writer.ended.set()
            for writer in writers:
                writer.join()
        assert [writer.error for writer in writers] == [None, None, None]
        assert [writer.interrupted for writer in writers] == [0, 0, 0]
        assert all(writer.writes > 10 for writer in writers)

        report = migrate(new, open_keys("two"))

        assert report.complete
        found = everything(new)
        for writer in writers:
            mine = {key[1]: value for key, value in found.items() if key[0] == writer.account}
            assert mine == writer.last
        assert {k: v for k, v in found.items() if k[0].startswith("acct_")} == untouched
        assert moved_rows(database) == len(found)


class TestLocks:
    def test_a_locked_row_is_not_waited_for(
        self, postgres_url: str, open_keys, fill, everything
    ) -> None:
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            written = fill(store, 100)
            with store.engine.connect() as busy:
                busy.exec_driver_sql(
                    "UPDATE secrets SET updated_at = updated_at WHERE secret_id = 's00050'"
                )
                started = time.monotonic()
                report = migrate(store, open_keys("two"), max_sweeps=2)
                assert time.monotonic() - started < 10
                assert (report.moved, report.left, report.settled) == (99, 1, False)
                assert report.busy >= 2
                # The application goes on without having noticed anything.
                busy.exec_driver_sql(
                    "UPDATE secrets SET kind = kind WHERE secret_id IN ('s00051', 's00050')"
                )
                busy.commit()
            report = migrate(store, open_keys("two"))
            assert (report.moved, report.complete) == (1, True)
            assert everything(store) == written

    def test_a_locked_table_is_left_for_later(self, postgres_url: str, open_keys, fill) -> None:
        """Somebody alters the table: the batch gives up after its time-out, and comes again."""
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            fill(store, 10)
            release = threading.Timer(3.0, lambda: busy.rollback())
            with store.engine.connect() as busy:
                busy.exec_driver_sql("LOCK TABLE secrets IN SHARE MODE")
                release.start()
                report = migrate(store, open_keys("two"))
                release.join()
            assert (report.moved, report.complete) == (10, True)

    def test_a_table_that_stays_locked_stops_the_run(
        self, postgres_url: str, open_keys, fill
    ) -> None:
        """Not a batch after the other is encrypted in vain, each waiting for the same lock."""
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            fill(store, 50)
            with store.engine.connect() as busy:
                busy.exec_driver_sql("LOCK TABLE secrets IN SHARE MODE")
                started = time.monotonic()
                with pytest.raises(MigrationStoppedError, match="a lock on the table") as caught:
                    migrate(store, open_keys("two"), batch_size=10, patience=0.1)
                assert time.monotonic() - started < 10
                busy.rollback()
            assert caught.value.retryable
            assert (caught.value.report.moved, caught.value.report.left) == (0, 50)
            assert migrate(store, open_keys("two")).complete

    def test_what_a_trigger_waits_for_is_no_deadlock(
        self, postgres_url: str, open_keys, fill, everything
    ) -> None:
        """The application holds what a trigger has to lock, then wants rows of the same batch.

        The migration lets go of its rows long before the server would end the application's
        transaction, and moves what isn't in the way.
        """
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            written = fill(store, 100)
            count_updates(store)
            ended = threading.Event()
            errors: list[Exception] = []

            def work() -> None:
                wanted = sa.text(
                    "UPDATE secrets SET updated_at = updated_at WHERE account_id = 'acct_3'"
                )
                try:
                    with store.engine.begin() as busy:
                        busy.exec_driver_sql("UPDATE counter SET n = n + 1 WHERE id = 'acct_3'")
                        while not ended.wait(0.02):
                            busy.execute(wanted)
                except Exception as error:
                    errors.append(error)

            application = threading.Thread(target=work)
            application.start()
            try:
                report = migrate(store, open_keys("two"), max_sweeps=1, batch_size=50)
            finally:
                ended.set()
                application.join()
            assert errors == []
            mine = sum(account == "acct_3" for account, _ in written)
            assert (report.moved + report.busy, report.failed) == (100, 0)
            assert report.busy >= mine
            assert migrate(store, open_keys("two")).complete
            assert everything(store) == written

    def test_a_row_that_only_a_trigger_finds_locked(
        self, postgres_url: str, open_keys, fill
    ) -> None:
        """It is left for later; the others aren't kept from moving."""
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            written = fill(store, 60)
            count_updates(store)
            with store.engine.connect() as busy:
                busy.exec_driver_sql("UPDATE counter SET n = n + 1 WHERE id = 'acct_3'")
                report = migrate(store, open_keys("two"), max_sweeps=1, batch_size=20)
                busy.rollback()
            mine = sum(account == "acct_3" for account, _ in written)
            # Those that weren't found in time are left with the ones that are in the way.
            assert (report.moved + report.busy, report.unsettled) == (60, True)
            assert mine <= report.busy < 60
            assert migrate(store, open_keys("two")).complete

    def test_a_reference_to_a_row_is_no_lock(self, postgres_url: str, open_keys, fill) -> None:
        """A foreign key's lock on the row doesn't hold a migration up, nor the other way.

        It is a transaction that writes, though, and as long as it isn't over nobody can say that
        nothing is left.
        """
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            fill(store, 20)
            with store.engine.connect() as busy:
                busy.exec_driver_sql("SELECT 1 FROM secrets FOR KEY SHARE")
                report = migrate(store, open_keys("two"), patience=0.3)
                busy.rollback()
            assert (report.moved, report.busy, report.left) == (20, 0, 0)
            assert (report.unsettled, report.complete) == (True, False)
            assert "a transaction that was under way" in report.reason
            assert migrate(store, open_keys("two")).complete


def count_updates(store: SecretStore) -> None:
    """Let a trigger count the updates of each account, in a table of the application's."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE counter AS SELECT DISTINCT account_id AS id, 0 AS n FROM secrets"
        )
        connection.exec_driver_sql(
            "CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE counter SET n = n + 1 WHERE id = new.account_id; RETURN NULL; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER bump AFTER UPDATE ON secrets FOR EACH ROW EXECUTE FUNCTION bump()"
        )


class TestPatience:
    @pytest.mark.parametrize("statements", range(1, 16, 2))
    def test_a_database_that_stays_away_is_waited_for_once(
        self, store: SecretStore, open_keys, fill, everything, statements: int
    ) -> None:
        """Wherever it goes: not by the run, then by the progress, then by the report."""
        written = fill(store, 30)
        keys = open_keys("two")
        with (
            without_waiting() as waited,
            away_after(store.engine, statements),
            pytest.raises(
                MigrationStoppedError, match="connection to the database was lost"
            ) as caught,
        ):
            migrate(store, keys, batch_size=10, patience=60, on_progress=lambda _: None)
        assert caught.value.retryable
        assert 50 < max(waited.values()) < 65
        assert everything(store) == written


class TestLostConnections:
    def test_they_are_cut_again_and_again(
        self, postgres_url: str, open_keys, fill, everything
    ) -> None:
        killer = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            written = fill(store, 1000)
            cuts = 0

            def cut(progress: Any) -> None:
                nonlocal cuts
                if progress.sweep > 1 or progress.done % 150:
                    return
                with killer.connect() as connection:
                    cuts += connection.exec_driver_sql(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    ).scalar_one()

            report = migrate(store, open_keys("two"), batch_size=50, on_progress=cut)

            assert cuts >= 3
            assert report.complete
            assert report.moved == 1000
            assert everything(store) == written
        killer.dispose()

    def test_a_commit_with_unknown_outcome(self, store, open_keys, fill, everything) -> None:
        """The commit happened, but its answer got lost: the rows are read again and recognised."""
        written = fill(store, 60)
        lost = threading.Event()

        from keyhinge_store._migrate import _write_postgresql, _write_sqlite

        with after_write([_write_postgresql.PostgresqlWriter, _write_sqlite.SqliteWriter], lost):
            report = migrate(store, open_keys("two"), batch_size=20)

        assert lost.is_set()
        assert (report.moved, report.complete) == (60, True)
        assert everything(store) == written


@contextmanager
def without_waiting() -> Iterator[dict[int, float]]:
    """Let each thread wait no time at all, and tell for how many seconds it wanted to."""
    waited: dict[int, float] = {}

    def wait(migration: Migration, seconds: float) -> bool:
        me = threading.get_ident()
        waited[me] = waited.get(me, 0.0) + seconds
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Migration, "wait", wait)
        patch.setattr(_migration, "_LOOK", 0.0)
        yield waited


@contextmanager
def away_after(engine: sa.Engine, statements: int) -> Iterator[None]:
    """Let the database be away for good, so many statements after the first range was taken."""
    seen = 0

    def fail(connection, cursor, statement, parameters, context, executemany):
        nonlocal seen
        if seen or ("INSERT INTO" in statement and "keyhinge_range" in statement):
            seen += 1
        if seen > statements:
            raise sa.exc.DBAPIError("", None, Exception("away"), connection_invalidated=True)

    sa.event.listen(engine, "before_cursor_execute", fail)
    yield
    sa.event.remove(engine, "before_cursor_execute", fail)
    assert seen > statements


@contextmanager
def after_write(writers: list[Any], lost: threading.Event) -> Iterator[None]:
    """Make the first write that succeeded look like a lost connection."""
    with pytest.MonkeyPatch.context() as patch:
        for writer in writers:
            original = writer.write

            def write(self, changes, also=None, original=original):
                written = original(self, changes, also)
                if not lost.is_set():
                    lost.set()
                    raise sa.exc.DBAPIError(
                        "COMMIT", None, Exception(), connection_invalidated=True
                    )
                return written

            patch.setattr(writer, "write", write)
        yield


class Faulty(Provider):
    """A key service that fails as it is told to."""

    capabilities = Capabilities(encrypts=True, binds_context=True)

    def __init__(self) -> None:
        self.fail: Callable[[str, Context], OperationError | None] = lambda name, context: None
        self.lie = False
        self.lost: set[str] = set()

    def check(self, name: str, context: Context) -> None:
        error = self.fail(name, context)
        if error is not None:
            raise error

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        self.check("encrypt", context)
        if self.lie and context["secret_id"] == "s00005":
            plaintext = b"something else"
        return Sealed(bytes(b ^ 0x55 for b in plaintext) + b".", "key", "1")

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        self.check("decrypt", context)
        if context.get("secret_id") in self.lost:
            msg = "no such key"
            raise KeyUnavailableError(msg)
        return bytes(b ^ 0x55 for b in value.ciphertext[:-1])


class FaultyModule:
    keyhinge_api = 1

    def __init__(self, provider: Faulty) -> None:
        from keyhinge_plaintext import PlaintextSettings

        self.provider = provider
        self.keyhinge_settings = PlaintextSettings

    @hookimpl
    def keyhinge_configure(self, settings: Any, section: Any) -> Provider:
        return self.provider


class TestKeyServices:
    @pytest.fixture
    def service(self) -> Faulty:
        return Faulty()

    @pytest.fixture
    def keys(self, service: Faulty, configuration) -> Iterator[KeyManager]:
        config = configuration("faulty")
        config["keyManagement"]["faulty"] = {}
        with KeyManager.open(config, providers={"faulty": FaultyModule(service)}) as keys:
            yield keys

    def test_an_outage_that_passes(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill, everything
    ) -> None:
        written = fill(store, 20)
        fails = iter([UnavailableError("sealed")] * 5)
        service.fail = lambda name, context: next(fails, None)

        report = migrate(store, keys)

        assert (report.moved, report.complete) == (20, True)
        assert everything(SecretStore(store.engine, keys)) == written

    def test_an_outage_that_stays(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill, everything
    ) -> None:
        """It stops with an error that says to try again, and everything is as it was."""
        written = fill(store, 50)
        calls = iter(range(1000))
        service.fail = lambda name, context: (
            UnavailableError("sealed") if next(calls) > 40 else None
        )

        with pytest.raises(MigrationStoppedError, match="sealed") as caught:
            migrate(store, keys, batch_size=10, patience=0.5, workers_in_flight=1)

        assert caught.value.retryable
        assert caught.value.__context__ is None
        assert caught.value.report.moved == 20
        assert caught.value.report.left == 30
        service.fail = lambda name, context: None
        assert everything(SecretStore(store.engine, keys)) == written
        assert migrate(store, keys).moved == 30

    @pytest.mark.parametrize("calls", [0, 20, 45])
    @pytest.mark.parametrize("name", ["encrypt", "decrypt"])
    def test_an_outage_that_stays_is_waited_for_once(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill, name: str, calls: int
    ) -> None:
        fill(store, 50)
        left = iter(range(calls))
        service.fail = lambda asked, context: (
            UnavailableError("sealed") if asked == name and next(left, None) is None else None
        )
        with without_waiting() as waited, pytest.raises(MigrationStoppedError):
            migrate(store, keys, batch_size=10, patience=60)
        assert 50 < max(waited.values()) < 65

    def test_no_right_to_encrypt(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill
    ) -> None:
        """There is no point in trying every row."""
        fill(store, 50)
        service.fail = lambda name, context: AccessDeniedError("no")

        with pytest.raises(MigrationStoppedError) as caught:
            migrate(store, keys, batch_size=10)

        assert not caught.value.retryable
        assert caught.value.report.moved == 0

    def test_the_right_to_decrypt_ends_in_the_middle(
        self, open_store, keys: KeyManager, service: Faulty, fill, everything
    ) -> None:
        """As when a token ends: it isn't the rows that fail, so they aren't said to."""
        store = open_store(keys)
        written = fill(store, 50)
        calls = iter(range(1000))
        service.fail = lambda name, context: (
            AccessDeniedError("the token is no longer valid") if next(calls) >= 20 else None
        )

        with pytest.raises(MigrationStoppedError, match="no longer valid") as caught:
            migrate(store, target="one", not_primary=True, batch_size=10, workers_in_flight=1)

        assert (caught.value.report.moved, caught.value.report.failed) == (20, 0)
        service.fail = lambda name, context: None
        report = migrate(store, target="one", not_primary=True)
        assert (report.moved, report.complete) == (30, True)
        assert everything(store) == written

    @pytest.mark.parametrize("kind", [AccessDeniedError, KeyUnavailableError])
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_a_section_that_is_closed_from_the_start(
        self, open_store, keys: KeyManager, service: Faulty, fill, kind, dry_run: bool
    ) -> None:
        """One clear error, not one for each of the rows; nothing else is tried in vain."""
        store = open_store(keys)
        fill(store, 50)
        asked = []

        def fail(name: str, context: Context) -> OperationError:
            asked.append(name)
            error: OperationError = kind("no such right")
            return error

        service.fail = fail
        with pytest.raises(MigrationStoppedError, match="opens none of its values") as caught:
            migrate(store, target="one", not_primary=True, batch_size=10, dry_run=dry_run)

        assert not caught.value.retryable
        assert "no such right" in str(caught.value)
        assert (caught.value.report.moved, caught.value.report.failed) == (0, 0)
        assert asked == ["decrypt"] * 10 + ["encrypt"]  # the section's own key is asked for once
        service.fail = lambda name, context: None
        assert migrate(store, target="one", not_primary=True).complete

    def test_the_own_key_is_known_and_refused(
        self, open_store, keys: KeyManager, service: Faulty, fill
    ) -> None:
        """Also where the service still names its key, or even encrypts."""
        store = open_store(keys)
        fill(store, 50)
        service.fail = lambda name, context: AccessDeniedError("no") if name == "decrypt" else None
        with pytest.raises(MigrationStoppedError, match="opens none of its values"):
            migrate(store, target="one", not_primary=True, batch_size=10)

    def test_a_key_that_is_lost(
        self, open_store, keys: KeyManager, service: Faulty, fill, everything
    ) -> None:
        """Its rows come first, a batch of them and more, and fail one by one; so they do again."""
        store = open_store(keys)
        fill(store, 50)
        lost = {info.secret_id for info in store.list()[:25]}
        table = store.layout.table
        with store.engine.begin() as connection:
            old = sa.func.replace(table.c.secret, ":key:1:", ":lost:1:")
            connection.execute(
                table.update().where(table.c.secret_id.in_(lost)).values(key_id="lost", secret=old)
            )
        service.lost = lost
        for moved in (25, 0):
            report = migrate(store, target="one", not_primary=True, batch_size=10)
            assert (report.moved, report.failed, report.settled) == (moved, 25, True)
            assert {failure.reason for failure in report.failures} == {"KeyUnavailableError"}

    def test_a_section_that_can_not_be_used(
        self, open_store, keys: KeyManager, configuration, fill
    ) -> None:
        """It is configured, and its provider isn't there: that isn't a matter of rows."""
        store = open_store(keys)
        fill(store, 50)
        config = configuration("one")
        config["keyManagement"]["faulty"] = {"type": "not-installed"}
        with (
            KeyManager.open(config) as others,
            pytest.raises(MigrationStoppedError, match="can't be used") as caught,
        ):
            migrate(store, others, batch_size=10)
        assert (caught.value.report.moved, caught.value.report.failed) == (0, 0)

    def test_another_section_goes_on_without_the_closed_one(
        self, open_store, keys: KeyManager, open_keys, service: Faulty, fill
    ) -> None:
        store = open_store(keys)
        fill(store, 20)
        SecretStore(store.engine, open_keys("two")).put(account_id="a", kind="k", value="v")
        service.fail = lambda name, context: AccessDeniedError("no")
        how: dict[str, Any] = {"target": "one", "not_primary": True}
        with pytest.raises(MigrationStoppedError, match="--from"):
            migrate(store, keys, **how)
        report = migrate(store, keys, source=["two"], **how)
        assert (report.moved, report.failed) == (1, 0)

    def test_rows_that_may_not_be_decrypted(
        self, open_store, keys: KeyManager, service: Faulty, fill
    ) -> None:
        """A whole batch of them, of a key of their own: the others go on."""
        store = open_store(keys)
        fill(store, 50)
        denied = [info.secret_id for info in store.list()][20:30]
        service.fail = lambda name, context: (
            AccessDeniedError("not this key") if context["secret_id"] in denied else None
        )

        report = migrate(store, target="one", not_primary=True, batch_size=10)

        assert (report.moved, report.failed, report.settled) == (40, 10, True)

    def test_one_value_that_fails(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill
    ) -> None:
        fill(store, 50)
        service.fail = lambda name, context: (
            OperationError("too odd") if context["secret_id"] == "s00007" else None
        )

        report = migrate(store, keys)

        assert (report.moved, report.failed) == (49, 1)
        assert report.failures[0].message == "faulty: too odd"

    def test_a_value_that_opens_to_something_else(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill, everything
    ) -> None:
        """The target encrypted something else: found out before it is written."""
        written = fill(store, 50)
        service.lie = True

        report = migrate(store, keys)

        assert (report.moved, report.failed) == (49, 1)
        assert "opens to something else" in report.failures[0].message
        assert everything(SecretStore(store.engine, keys)) == written

    def test_a_stop_during_an_outage(
        self, store: SecretStore, keys: KeyManager, service: Faulty, fill
    ) -> None:
        fill(store, 10)
        stop = threading.Event()

        def fail(name: str, context: Context) -> OperationError:
            stop.set()
            return UnavailableError("down")

        service.fail = fail

        report = migrate(store, keys, stop=stop)

        assert report.interrupted
        assert (report.moved, report.left) == (0, 10)
