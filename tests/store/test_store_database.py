"""Connecting, the table itself, transactions, and what errors may say."""

from __future__ import annotations

import pickle
import threading
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import ConfigError, Operation, Result, hookimpl
from keyhinge_store import (
    DatabaseError,
    DatabaseMissingError,
    DatabaseUnavailableError,
    ForeignTableError,
    NewSecret,
    SecretStore,
    TableMissingError,
    migrate,
    secrets_table,
    status,
    verify,
)

NUMBERS = """CREATE TABLE secrets (secret_id INTEGER, account_id INTEGER, kind INTEGER,
             section INTEGER, key_id INTEGER, version INTEGER, secret INTEGER,
             encrypted_at TIMESTAMP, created_at TIMESTAMP, updated_at TIMESTAMP,
             PRIMARY KEY (account_id, secret_id))"""
OTHER_KEY = """CREATE TABLE secrets (secret_id TEXT PRIMARY KEY, account_id TEXT, kind TEXT,
               section TEXT, key_id TEXT, version TEXT, secret TEXT,
               encrypted_at TIMESTAMP, created_at TIMESTAMP, updated_at TIMESTAMP)"""
MONETR = """CREATE TABLE secrets (secret_id TEXT NOT NULL, account_id TEXT NOT NULL, kind TEXT,
            key_id TEXT, version TEXT, secret TEXT, updated_at TIMESTAMP, created_at TIMESTAMP,
            PRIMARY KEY (secret_id, account_id))"""


@pytest.fixture
def connect():
    """Opens stores and closes them when the test ends."""
    opened: list[SecretStore] = []

    def connect(*arguments: Any, **options: Any) -> SecretStore:
        opened.append(SecretStore(*arguments, **options))
        return opened[-1]

    yield connect
    for store in opened:
        store.close()


class TestMissing:
    def test_a_missing_file_is_an_error_not_a_stray_file(
        self, connect, tmp_path: Path, open_keys
    ) -> None:
        file = tmp_path / "none.db"
        store = connect(f"sqlite:///{file}", open_keys("one"))

        for call in (
            lambda: store.put(account_id="a", kind="k", value="v"),
            lambda: store.get(account_id="a", secret_id="s"),
            store.list,
            lambda: migrate(store),
            lambda: verify(store),
            lambda: status(store),
        ):
            with pytest.raises(DatabaseMissingError, match="store init"):
                call()
        assert not file.exists()

    def test_also_with_an_engine_of_the_callers(self, connect, tmp_path: Path, open_keys) -> None:
        file = tmp_path / "none.db"
        engine = sa.create_engine(f"sqlite:///{file}")
        store = connect(engine, open_keys("one"))

        with pytest.raises(DatabaseMissingError):
            store.list()
        assert not file.exists()
        engine.dispose()

    def test_a_file_that_went_away(self, connect, tmp_path: Path, open_keys) -> None:
        file = tmp_path / "gone.db"
        store = connect(f"sqlite:///{file}", open_keys("one"))
        store.create_tables()
        store.list()
        store.close()
        file.unlink()

        with pytest.raises(DatabaseMissingError):
            store.list()
        assert not file.exists()

    def test_a_missing_folder(self, connect, tmp_path: Path, open_keys) -> None:
        store = connect(f"sqlite:///{tmp_path}/no/folder.db", open_keys("one"))

        with pytest.raises(DatabaseMissingError):
            store.create_tables()

    def test_a_missing_table(self, connect, database, open_keys) -> None:
        if database.is_sqlite:
            database.execute("CREATE TABLE other (x TEXT)")
        store = connect(database.url, open_keys("one"))

        with pytest.raises(TableMissingError, match="create_tables"):
            store.list()
        with pytest.raises(TableMissingError):
            migrate(store)
        store.close()

    def test_a_missing_postgresql_database(self, connect, postgres_server: str, open_keys) -> None:
        url = sa.make_url(postgres_server).set(database="there_is_none")
        store = connect(url, open_keys("one"))

        with pytest.raises(DatabaseMissingError):
            store.list()

    def test_a_server_that_is_down(self, connect, tmp_path: Path, open_keys) -> None:
        url = f"postgresql://user:hunter2@/db?host={tmp_path}"
        store = connect(url, open_keys("one"))

        with pytest.raises(DatabaseUnavailableError) as caught:
            store.list()
        assert caught.value.retryable
        assert "hunter2" not in everything_about(caught.value) + repr(store)

    def test_a_server_that_vanishes_is_noticed(self, postgres_url: str, open_keys) -> None:
        """Its machine is gone, and says nothing. What the URL names comes first."""
        keys = open_keys("one")
        url = sa.make_url(postgres_url).update_query_dict({"keepalives_count": "7"})
        with SecretStore(url, keys) as store, store.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            used = driver.info.get_parameters()
        wanted = {"keepalives_idle": "30", "keepalives_count": "7", "tcp_user_timeout": "60000"}
        assert {name: used[name] for name in wanted} == wanted

    def test_not_a_database(self, connect, tmp_path: Path, open_keys) -> None:
        file = tmp_path / "text.db"
        file.write_text("not a database at all, just some text\n" * 50)
        store = connect(f"sqlite:///{file}", open_keys("one"))

        with pytest.raises(DatabaseError, match="isn't an SQLite database"):
            store.list()


class TestTable:
    def test_several_processes_make_it_at_once(self, postgres_url: str, open_keys) -> None:
        keys = open_keys("one")
        start = threading.Barrier(4)
        errors: list[Exception] = []

        def create() -> None:
            with SecretStore(postgres_url, keys) as store:
                start.wait()
                try:
                    store.create_tables()
                except Exception as error:
                    errors.append(error)

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    def test_a_row_that_a_trigger_swallows(self, postgres_url: str, open_keys) -> None:
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            with store.engine.begin() as connection:
                connection.exec_driver_sql(
                    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RETURN NULL; END $$"
                )
                connection.exec_driver_sql(
                    "CREATE TRIGGER no BEFORE INSERT ON secrets FOR EACH ROW EXECUTE FUNCTION no()"
                )
            with pytest.raises(DatabaseError, match="trigger"):
                store.put(account_id="a", kind="k", value="v")

    def test_create_tables_twice(self, store: SecretStore) -> None:
        store.put(account_id="a", kind="k", value="v", secret_id="s")
        store.create_tables()

        assert store.get(account_id="a", secret_id="s") == b"v"

    @pytest.mark.parametrize(
        "foreign",
        [
            MONETR,
            "CREATE TABLE secrets (id INTEGER PRIMARY KEY, name TEXT)",
            NUMBERS,
            OTHER_KEY,
        ],
        ids=["monetr", "unlike", "types", "key"],
    )
    def test_a_foreign_table_is_left_alone(
        self, connect, database, open_keys, foreign: str
    ) -> None:
        if database.is_sqlite:
            Path(str(sa.make_url(database.url).database)).touch()
        database.execute(foreign)
        store = connect(database.url, open_keys("one"))

        for call in (
            store.create_tables,
            lambda: store.put(account_id="a", kind="k", value="v"),
            lambda: migrate(store),
            lambda: verify(store),
        ):
            with pytest.raises(ForeignTableError, match="isn't Keyhinge's"):
                call()
        assert database.execute("SELECT * FROM secrets") == []
        store.close()

    def test_more_columns_are_fine(self, connect, store: SecretStore, database) -> None:
        database.execute("ALTER TABLE secrets ADD COLUMN note TEXT")
        again = connect(database.url, store.keys)
        again.put(account_id="a", kind="k", value="v", secret_id="s")

        assert again.get(account_id="a", secret_id="s") == b"v"
        again.close()

    def test_metadata_of_the_callers(self, connect, database, open_keys) -> None:
        """As Alembic does it: the table is in the application's metadata."""
        metadata = sa.MetaData()
        table = secrets_table(metadata, "app_secrets")
        metadata.create_all(database.engine)
        store = connect(database.engine, open_keys("one"), table="app_secrets")
        store.put(account_id="a", kind="k", value="v", secret_id="s")

        assert metadata.tables["app_secrets"] is table
        assert store.get(account_id="a", secret_id="s") == b"v"
        store.close()
        assert database.execute("SELECT 1") == [(1,)]

    def test_a_schema(self, postgres_url: str, open_keys) -> None:
        engine = sa.create_engine(postgres_url)
        with engine.begin() as connection:
            connection.exec_driver_sql('CREATE SCHEMA "te nant"')
        with SecretStore(postgres_url, open_keys("one"), schema="te nant") as store:
            store.create_tables()
            store.put(account_id="a", kind="k", value="v", secret_id="s")
            assert migrate(store, open_keys("two")).moved == 1
            assert store.get(account_id="a", secret_id="s") == b"v"
            assert store.layout.label == "te nant.secrets"
        engine.dispose()

    def test_in_memory(self, open_keys) -> None:
        with SecretStore("sqlite://", open_keys("one")) as store:
            store.create_tables()
            store.put(account_id="a", kind="k", value="v", secret_id="s")
            assert migrate(store, open_keys("two")).moved == 1
            assert store.get(account_id="a", secret_id="s") == b"v"


class TestUrl:
    @pytest.mark.parametrize("url", ["", "nonsense", "hunter2://", "postgresql://u:hunter2@h:x/d"])
    def test_it_must_be_one(self, open_keys, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            SecretStore(url, open_keys("one"))
        if url != "hunter2://":
            assert "hunter2" not in everything_about(caught.value)

    def test_a_driver_that_is_missing(self, open_keys) -> None:
        with pytest.raises(ConfigError, match="isn't installed"):
            SecretStore("postgresql+asyncpg://u:hunter2@h/d", open_keys("one"))

    @pytest.mark.parametrize("name", ["oracel", "mysql", "mysql+pymysql", "sqlite+nothing"])
    def test_a_database_that_it_does_not_work_in(self, open_keys, name: str) -> None:
        with pytest.raises(ConfigError, match="use sqlite or postgresql"):
            SecretStore(f"{name}://u@h/d", open_keys("one"))


class TestTransactions:
    def test_joining_the_callers(self, store: SecretStore, database) -> None:
        """What is written in it is seen in it, and is gone when it is rolled back."""
        with database.engine.connect() as connection:
            store.put(account_id="a", kind="k", value="v", secret_id="s", connection=connection)
            store.put_many([NewSecret("a", "k", "w", "t")], connection=connection)
            assert store.get(account_id="a", secret_id="s", connection=connection) == b"v"
            assert len(store.list(connection=connection)) == 2
            assert store.rebind("a", "b", connection=connection) == 2
            store.delete(account_id="b", secret_id="t", connection=connection)
            connection.rollback()
        assert store.list() == []

        with database.engine.begin() as connection:
            store.put(account_id="a", kind="k", value="v", secret_id="s", connection=connection)
        assert store.get(account_id="a", secret_id="s") == b"v"

    def test_no_key_is_used_inside_one(self, open_store, open_keys) -> None:
        """Whenever a section is called, the caller has no connection of the store in use."""
        watcher = Watcher()
        store = open_store(open_keys("one", observers=[watcher]))
        watcher.watch(store.engine)

        ids = store.put_many(NewSecret("a", "k", f"v{n}") for n in range(10))
        store.put(account_id="a", kind="k2", value="w", secret_id=ids[0])
        store.get(account_id="a", secret_id=ids[0])
        store.get_many(("a", i) for i in ids)
        store.rebind("a", "b")
        migrate(store, open_keys("two", observers=[watcher]), batch_size=3)
        verify(store)

        seen = {name for name, _ in watcher.calls}
        assert {"encrypt", "encrypt_many", "decrypt", "decrypt_many"} <= seen
        assert {open_ones for _, open_ones in watcher.calls} == {0}

        with store.engine.connect() as connection:  # it would notice
            store.get(account_id="b", secret_id=ids[0], connection=connection)
        assert watcher.calls[-1] == ("decrypt", 1)

    def test_statements_are_counted_by_batch(self, store: SecretStore) -> None:
        with counting(store.engine) as statements:
            store.put_many(NewSecret("a", "k", "v", f"s{n}") for n in range(500))
            assert len(statements) == 1
            store.get_many(("a", f"s{n}") for n in range(400))
            assert len(statements) == 2


class TestErrors:
    def test_they_hold_no_value(self, store: SecretStore, database) -> None:
        """The database refuses a row: no parameter, no row and no original in the error."""
        store.put(account_id="a", kind="k", value="v", secret_id="s")
        if database.is_sqlite:
            database.execute(
                "CREATE TRIGGER no BEFORE UPDATE ON secrets BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        else:
            database.execute("ALTER TABLE secrets ADD CONSTRAINT c CHECK (kind = 'k')")

        secret = "".join(["hunt", "er2"])  # not in the source, which a traceback shows
        with pytest.raises(DatabaseError) as caught:
            store.put(account_id="a", kind="other", value=secret, secret_id="s")

        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        told = everything_about(caught.value)
        assert "kh1:" not in told
        assert "hunter2" not in told
        if not database.is_sqlite:
            assert caught.value.sqlstate == "23514"
        assert pickle.loads(pickle.dumps(caught.value)).sqlstate == caught.value.sqlstate

    def test_own_engines_hide_parameters(self, store: SecretStore) -> None:
        assert store.engine.hide_parameters

    def test_a_locked_file(self, tmp_path: Path, open_keys) -> None:
        url = f"sqlite:///{tmp_path}/locked.db"
        with SecretStore(url, open_keys("one")) as store:
            store.create_tables()
        other = sa.create_engine(url)
        with SecretStore(url + "?timeout=0.05", open_keys("one")) as store, other.connect() as busy:
            busy.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnavailableError, match="locked"):
                store.put(account_id="a", kind="k", value="v")
            busy.rollback()
        other.dispose()


class Watcher:
    """Notes for each key operation how many connections its thread has in use."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.in_use: dict[int, int] = {}

    def watch(self, engine: sa.Engine) -> None:
        def count(step: int) -> None:
            thread = threading.get_ident()
            self.in_use[thread] = self.in_use.get(thread, 0) + step

        sa.event.listen(engine, "checkout", lambda *_: count(1))
        sa.event.listen(engine, "checkin", lambda *_: count(-1))

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, operation: Operation) -> Generator[None, Result, Result]:
        self.calls.append((operation.name, self.in_use.get(threading.get_ident(), 0)))
        return (yield)


class counting:
    """Collects the statements that an engine runs."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.statements: list[str] = []

    def note(self, connection, cursor, statement, parameters, context, many) -> None:
        self.statements.append(statement)

    def __enter__(self) -> list[str]:
        sa.event.listen(self.engine, "before_cursor_execute", self.note)
        return self.statements

    def __exit__(self, *error: object) -> None:
        sa.event.remove(self.engine, "before_cursor_execute", self.note)


def everything_about(error: BaseException) -> str:
    shown = "".join(traceback.format_exception(error))
    return shown + repr(error) + str(error.__dict__) + repr(pickle.dumps(error))
