"""Fences: what was retired is refused by the database, and nothing of it is shown."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._retiring import ENCODINGS, Place, run_by_hand
from tests.store.test_store_leaks import frames_with_secret

from keyhinge_store import (
    AsyncSecretStore,
    DatabaseUnavailableError,
    FencedError,
    FenceError,
    MappedColumn,
    SecretStore,
    TableMapping,
    add_fence,
    can_retire,
    fence_statements,
    fences,
    migrate,
    migrate_staged,
    remove_fence,
    runs,
)
from keyhinge_store._retire import refuse_fenced

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
SECRET = "PLAIN-hunter2"


@every_encoding
def test_an_old_row_does_not_come_back(fenced, open_keys, encoding: str) -> None:
    """Saving all columns of what was loaded earlier is refused, and so is inserting it."""
    place, old = fenced(encoding)
    [new] = place.rows()
    with pytest.raises(sa.exc.IntegrityError) as caught:
        place.save(old)
    text = str(caught.value.orig)
    assert text.startswith("keyhinge fence: section one is refused in table ")
    cells = [str(each) for each in old.values() if len(str(each)) > 8]
    assert not [each for each in cells if each in text]
    with pytest.raises(sa.exc.IntegrityError):
        place.insert({**old, place.key: "2"})
    assert place.rows() == [new]

    # All else goes on.
    stored = place.open(open_keys("two"))
    place.save(new)
    place.put(stored, 2, "y")
    place.put(stored, 1, "z")
    assert can_retire(stored, "one").grade == "fenced"


def test_a_write_of_the_store_gets_our_error(fenced, open_keys, database_url: str) -> None:
    """It names section and table, and leads to no secret."""
    fenced("own")
    with SecretStore(database_url, open_keys("one")) as store:
        calls = [
            lambda: store.put(account_id="a", kind="k", value=SECRET),
            lambda: store.put(account_id="a", kind="k", value=SECRET, secret_id="1"),
            lambda: store.rebind("a", "b"),
        ]
        for call in calls[:2] if database_url.startswith("sqlite") else calls:
            with pytest.raises(FencedError) as caught:
                call()
            error = caught.value
            assert (error.section, error.table) == ("one", "secrets")
            assert error.sqlstate == ("" if database_url.startswith("sqlite") else "23K01")
            assert not error.retryable
            assert frames_with_secret(error) == []
            assert error.__context__ is None
            assert SECRET not in str(error)
            assert "kh1:" not in str(error)


def test_a_write_in_an_event_loop_gets_our_error(fenced, open_keys, database_url: str) -> None:
    fenced("own")

    async def main() -> None:
        store = AsyncSecretStore(database_url, open_keys("one"))
        try:
            await store.put(account_id="a", kind="k", value=SECRET)
        finally:
            await store.close()

    with pytest.raises(FencedError, match="'secrets' takes no value under the section 'one'"):
        asyncio.run(main())


def test_a_write_through_a_mapped_column_gets_our_error(fenced, open_keys) -> None:
    place, _ = fenced("text")
    column = place.open(open_keys("one"))
    cells = column.encrypt(SECRET, {"id": 5})
    with pytest.raises(FencedError) as caught:
        column.run(
            lambda connection: connection.execute(
                sa.text("INSERT INTO tokens (id, secret) VALUES (5, :secret)"), cells
            )
        )
    assert caught.value.table == "tokens"


@only_postgresql
@every_encoding
def test_the_server_logs_no_value(fenced, database, encoding: str) -> None:
    """The server logs the refusal with its statement, in which the values are marks."""
    log = "SELECT pg_read_file('log')"
    try:
        database.execute(log)
    except sa.exc.DBAPIError:
        pytest.skip("the server of KEYHINGE_TEST_POSTGRES logs somewhere else")
    place, old = fenced(encoding)
    name = database.engine.url.database
    database.execute(f"ALTER DATABASE {name} SET log_error_verbosity = verbose")
    database.engine.dispose()
    [(before,)] = database.execute(log)
    with pytest.raises(sa.exc.IntegrityError):
        place.save(old)
    [(after,)] = database.execute(log)
    told = after[len(before) :]
    assert "keyhinge fence: section one is refused in table" in told
    assert f"UPDATE {place.table}" in told
    value = old["secret"]
    assert (value.hex() if isinstance(value, bytes) else value) not in told
    assert "kh1:" not in told


@every_encoding
def test_a_fence_is_not_made_where_a_row_is_in_its_way(database, open_keys, encoding: str) -> None:
    place = Place(database, encoding)
    place.put(place.open(open_keys("one")), 1, "x")
    stored = place.open(open_keys("two"))
    with pytest.raises(FenceError, match="still values under the section 'one' in"):
        add_fence(stored, "one")
    assert fences(stored) == ()
    assert database_is_as_before(database)
    place.put(stored, 1, "y")
    add_fence(stored, "one")


def database_is_as_before(database: Any) -> bool:
    if database.is_sqlite:
        return not database.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger'")
    return not database.execute("SELECT 1 FROM pg_proc WHERE proname LIKE 'keyhinge%'")


def test_the_primary_is_never_fenced(database, open_keys) -> None:
    """Nor its current key; an older version may be."""
    keys = open_keys("one")
    stored = SecretStore(database.engine, keys)
    Place(database, "own").open(keys)
    current = keys.current_key()
    for which in (
        {},
        {"key": current.key_id},
        {"version": current.version},
        {"key": current.key_id, "version": current.version},
    ):
        for call in (add_fence, fence_statements):
            with pytest.raises(FenceError, match="'one' is the primary section"):
                call(stored, "one", **which)
    assert add_fence(stored, "one", version="0.old")
    stored.put(account_id="a", kind="k", value="x")


@every_encoding
def test_what_is_printed_works_by_hand(database, open_keys, encoding: str) -> None:
    """Nothing is changed by printing it; run by hand it is found again, and removed again."""
    place = Place(database, encoding)
    stored = place.open(open_keys("two"))
    key = "a'b\"c\\d*/e:%s:x"
    made = fence_statements(stored, "one") + fence_statements(stored, "one", key=key, version="7")
    assert fences(stored) == ()
    assert database_is_as_before(database)
    run_by_hand(database, made)
    found = fences(stored)
    assert {(each.section, each.key_id, each.version, each.enabled) for each in found} == {
        ("one", None, None, True),
        ("one", key, "7", True),
    }
    assert can_retire(stored, "one").grade == "fenced"
    assert add_fence(stored, "one") == tuple(each for each in found if each.key_id is None)
    run_by_hand(database, fence_statements(stored, "one", remove=True))
    assert [each.key_id for each in fences(stored)] == [key]
    assert len(remove_fence(stored, "one", key=key, version="7")) == 1
    assert fences(stored) == ()


def test_remove_drops_exactly_ours(database, open_keys) -> None:
    """Others' triggers and other fences stay; at the end all is as before."""
    place = Place(database, "text")
    stored = place.open(open_keys("two"))
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER keyhinge_fence_mine AFTER INSERT ON tokens BEGIN SELECT 1; END"
        )
    else:
        database.execute(
            "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        )
        database.execute(
            "CREATE TRIGGER keyhinge_fence_mine AFTER INSERT ON tokens "
            "FOR EACH ROW EXECUTE FUNCTION mine()"
        )
    add_fence(stored, "one")
    add_fence(stored, "one", version="1")
    add_fence(stored, "plaintext")
    assert len(fences(stored)) == 2  # the version is within the section's
    assert [each.section for each in remove_fence(stored, "one")] == ["one"]
    assert remove_fence(stored, "one") == ()
    assert [each.section for each in fences(stored)] == ["plaintext"]
    remove_fence(stored, "plaintext")
    if database.is_sqlite:
        left = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    else:
        left = database.execute("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'keyhinge%'")
        assert not database.execute("SELECT 1 FROM pg_proc WHERE proname = 'keyhinge_fence'")
    assert left == [("keyhinge_fence_mine",)]


def test_half_a_fence_in_sqlite_is_none(sqlite_url: str, open_keys) -> None:
    with SecretStore(sqlite_url, open_keys("two")) as store:
        store.create_tables()
        [fence] = add_fence(store, "one")
        store.run(lambda c: c.exec_driver_sql(f"DROP TRIGGER {fence.trigger}_update"))
        assert [each.enabled for each in fences(store)] == [False]
        assert can_retire(store, "one").grade == "none"
        add_fence(store, "one")
        assert can_retire(store, "one").grade == "fenced"


def test_a_fence_outlives_renaming(fenced, open_keys, database) -> None:
    """The table and, in PostgreSQL, the column."""
    _, old = fenced("text")
    database.execute("ALTER TABLE tokens RENAME TO renamed")
    column = "secret"
    if not database.is_sqlite:
        column = "hidden"
        database.execute("ALTER TABLE renamed RENAME COLUMN secret TO hidden")
    mapping = TableMapping(
        table="renamed",
        label="tokens",
        column_label="secret",
        primary_key="id",
        encoding="text",
        columns={"ciphertext": column},
        context={"id": "id"},
    )
    stored = MappedColumn(database.engine, open_keys("two"), mapping)
    assert can_retire(stored, "one").grade == "fenced"
    assert [each.table for each in fences(stored)] == ["renamed"]
    with pytest.raises(FencedError):
        stored.run(
            lambda connection: connection.execute(
                sa.text(f"UPDATE renamed SET {column} = :old"), {"old": old["secret"]}
            )
        )


def test_names_that_need_quoting(database, open_keys) -> None:
    """The table, its column and its schema may have any characters."""
    database.engine.connect().close()
    table, column = "odd \"table%s's", 'the "säcret%s (x)'
    schema = None if database.is_sqlite else "o'dd %schema"
    quote = sa.create_mock_engine("sqlite://", lambda: None).dialect.identifier_preparer
    names = [quote.quote_identifier(each) for each in (schema, table) if each]
    if schema:
        run_by_hand(database, [f"CREATE SCHEMA {names[0]}"])
    shown = quote.quote_identifier(column)
    run_by_hand(
        database,
        [f"CREATE TABLE {'.'.join(names)} (id integer NOT NULL PRIMARY KEY, {shown} text)"],
    )
    mapping = TableMapping(
        table=table,
        schema=schema,
        primary_key="id",
        encoding="text",
        columns={"ciphertext": column},
    )
    text = MappedColumn(database.engine, open_keys("one"), mapping).encrypt("x", {})[column]
    stored = MappedColumn(database.engine, open_keys("two"), mapping)
    [fence] = add_fence(stored, "one")
    assert len(fence.trigger.encode()) <= 63
    assert can_retire(stored, "one").grade == "fenced"
    with pytest.raises(FencedError) as caught:
        stored.run(
            lambda connection: connection.execute(
                sa.insert(stored.layout.table).values({"id": 1, column: text})
            )
        )
    assert caught.value.table == table
    assert len(remove_fence(stored, "one")) == 1
    run_by_hand(database, fence_statements(stored, "one"))
    assert can_retire(stored, "one").grade == "fenced"


def test_the_longest_names_fit(database, open_keys, configuration) -> None:
    """PostgreSQL cuts names after 63 bytes, and ours aren't."""
    from keyhinge import KeyManager

    config = configuration("one")
    name = "a" + "-b" * 15 + "c"
    config["keyManagement"][name] = {**config["keyManagement"]["two"]}
    with KeyManager.open(config) as keys:
        stored = Place(database, "own").open(keys)
        [fence] = add_fence(stored, name)
        assert len(fence.trigger) <= 63
        assert [each.trigger for each in fences(stored)] == [fence.trigger]
        assert can_retire(stored, name).grade == "fenced"


def test_a_fence_between_two_sections_of_one_kind_is_refused(database, open_keys) -> None:
    """Rows of monetr's name no section: the fence would keep the other's out, too."""
    from keyhinge import KeyManager

    database.engine.connect().close()
    database.execute("CREATE TABLE m (id integer NOT NULL PRIMARY KEY, key_id text, secret text)")
    mapping = TableMapping(
        table="m",
        primary_key="id",
        encoding="monetr",
        columns={"ciphertext": "secret", "keyID": "key_id"},
    )
    vault = {"type": "vault", "address": "http://127.0.0.1:1", "keyID": "k"}
    vault |= {"token": "t", "authMethod": "token"}
    config = {"provider": "plaintext", "plaintext": {}, "eu": vault, "us": {**vault}}
    with KeyManager.open({"keyManagement": config}) as keys:
        column = MappedColumn(database.engine, keys, mapping)
        with pytest.raises(FenceError, match="'us' look like those of 'eu'"):
            add_fence(column, "eu")
    del config["us"]
    with KeyManager.open({"keyManagement": config}) as keys:
        column = MappedColumn(database.engine, keys, mapping)
        with pytest.raises(FenceError, match="without 'us'"):
            fence_statements(column, "us")
        add_fence(column, "eu")
        database.execute("INSERT INTO m VALUES (1, NULL, 'a plaintext')")
        database.execute("INSERT INTO m VALUES (2, 'arn', '00ff')")
        for statement in (
            "INSERT INTO m VALUES (3, 'k', 'vault:v1:AAAA')",
            "UPDATE m SET key_id = 'k', secret = 'vault:v1:AAAA' WHERE id = 1",
        ):
            with pytest.raises(sa.exc.IntegrityError, match="section eu is refused"):
                database.execute(statement)
        assert can_retire(column, "eu").grade == "fenced"
        with database.engine.connect() as connection:
            refuse_fenced(connection, column.layout, "plaintext")
            with pytest.raises(FencedError):
                refuse_fenced(connection, column.layout, "eu")


def test_moving_back_behind_a_fence_is_refused(fenced, open_keys, database) -> None:
    place, _ = fenced("own")
    keys = open_keys("one")
    layout = place.open(keys).layout
    with database.engine.connect() as connection:
        refuse_fenced(connection, layout, "two")
        with pytest.raises(FencedError) as caught:
            refuse_fenced(connection, layout, "one")
    assert (caught.value.section, caught.value.table) == ("one", "secrets")
    before = place.rows()
    for move in (migrate, migrate_staged):
        with pytest.raises(FencedError):
            move(place.open(keys))
    assert place.rows() == before
    assert not [each for each in runs(place.open(keys)) if each.target == "one"]
    stored = place.open(open_keys("two"))
    remove_fence(stored, "one")
    key = keys.current_key("one")
    add_fence(stored, "one", version=key.version)
    with database.engine.connect() as connection:
        refuse_fenced(connection, layout, "one")  # another version may go in
        with pytest.raises(FencedError):
            refuse_fenced(connection, layout, "one", key)


class Writers:
    """Applications that write under the old section until they are refused."""

    def __init__(self, place: Place, url: str, keys: Any) -> None:
        self._stop = threading.Event()
        self.written = 0
        self.refused = 0
        self.other: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._write, args=(place, url, keys, number))
            for number in range(3)
        ]
        for each in self._threads:
            each.start()

    def _write(self, place: Place, url: str, keys: Any, number: int) -> None:
        with SecretStore(url, keys) as store:
            count = 0
            while not self._stop.is_set():
                count += 1
                try:
                    store.put(account_id=f"w{number}", kind="k", value="x", secret_id=f"s{count}")
                    store.delete(account_id=f"w{number}", secret_id=f"s{count}")
                    self.written += 1
                except FencedError:
                    self.refused += 1
                except Exception as error:
                    self.other.append(error)
                    return

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(30)


def test_nobody_slips_in_while_the_fence_is_made(database, database_url: str, open_keys) -> None:
    """Whoever wrote just before makes it refuse; once it stands, there is no row, for good."""
    place = Place(database, "own")
    stored = place.open(open_keys("two"))
    writers = Writers(place, database_url, open_keys("one"))
    try:
        made: tuple[object, ...] = ()
        for _ in range(300):
            try:
                made = add_fence(stored, "one")
                break
            except FenceError:
                assert fences(stored) == ()
        assert made
        assert can_retire(stored, "one").grade == "fenced"
        before = writers.written
        while writers.refused < 10 and not writers.other:
            pass
    finally:
        writers.stop()
    assert writers.other == []
    assert writers.written <= before + 3
    assert database.execute("SELECT count(*) FROM secrets WHERE section = 'one'") == [(0,)]


def test_printing_for_the_own_table_connects_nowhere(open_keys) -> None:
    """There need not even be a database; for a name that nobody knows there must."""
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    with SecretStore(url, open_keys("two")) as store:
        made = fence_statements(store, "one")
        assert (made[0], made[-1]) == ("BEGIN", "COMMIT")
        with pytest.raises(DatabaseUnavailableError):
            fence_statements(store, "onee")
