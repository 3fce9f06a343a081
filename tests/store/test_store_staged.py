"""New values that wait beside a table: what may happen meanwhile, and what never does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store import (
    MappedColumn,
    MigrationError,
    MigrationStoppedError,
    StagedReport,
    TableMapping,
    Tables,
    abandon_staged,
    migrate_staged,
    runs,
    verify,
)
from keyhinge_store._staged import _work as work_module
from keyhinge_store._staged._swap import swap_in

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

COUNT = 40
MAPPING = TableMapping(
    table="tokens",
    primary_key=("account_id", "token_id"),
    encoding="text",
    columns={"ciphertext": "secret"},
    context={"account": "account_id", "token": "token_id"},
)


@pytest.fixture
def column(database: Any, open_keys) -> MappedColumn:
    """A table of an application's, with values under the section `one`."""
    database.execute(
        "CREATE TABLE tokens (account_id integer NOT NULL, token_id varchar(20) NOT NULL, "
        "secret text, note text, PRIMARY KEY (account_id, token_id))"
    )
    made = MappedColumn(database.engine, open_keys("one"), MAPPING)
    for number in range(COUNT):
        put(made, number, f"value-{number}")
    return made


def put(column: MappedColumn, number: int, value: str) -> None:
    """Write a row as the application does, with the section that it is configured for."""
    row = {"account_id": number, "token_id": f"t{number}"}
    row |= column.encrypt(value, row)
    with column.engine.begin() as connection:
        changed = connection.execute(
            sa.text(
                "UPDATE tokens SET secret = :secret "
                "WHERE account_id = :account_id AND token_id = :token_id"
            ),
            row,
        )
        if not changed.rowcount:
            connection.execute(
                sa.text(
                    "INSERT INTO tokens (account_id, token_id, secret) "
                    "VALUES (:account_id, :token_id, :secret)"
                ),
                row,
            )


def opened(column: MappedColumn) -> dict[int, str]:
    with column.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM tokens")).mappings().all()
    return {row["account_id"]: (column.decrypt(dict(row)) or b"").decode() for row in rows}


def sections(database: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for (secret,) in database.execute("SELECT secret FROM tokens"):
        name = secret.split(":")[1] if secret.startswith("kh1:") else secret
        found[name] = found.get(name, 0) + 1
    return found


def written(count: int = COUNT) -> dict[int, str]:
    return {number: f"value-{number}" for number in range(count)}


class TestPreparing:
    def test_the_table_stays_as_it_is(self, column, database) -> None:
        before = database.execute("SELECT * FROM tokens ORDER BY account_id")
        report = migrate_staged(column, target="two", batch_size=7)
        assert (report.state, report.ready, report.made, report.complete) == (
            "prepared", COUNT, COUNT, True,
        )  # fmt: skip
        assert database.execute("SELECT * FROM tokens ORDER BY account_id") == before
        assert not runs(column)

    def test_only_what_has_changed_is_made_again(self, column, database, open_keys) -> None:
        migrate_staged(column, target="two", batch_size=7)
        put(column, 3, "changed")
        put(column, COUNT, "new")
        database.execute("DELETE FROM tokens WHERE account_id = 5")
        again = migrate_staged(column, batch_size=7)
        assert (again.target, again.made, again.ready, again.matched) == ("two", 2, COUNT, COUNT)

        report = migrate_staged(column, swap=True)
        assert (report.state, report.swapped, report.made) == ("swapped", COUNT, 0)
        assert sections(database) == {"two": COUNT}
        expected = {**written(), 3: "changed", COUNT: "new"}
        del expected[5]
        assert opened(column) == expected
        assert verify(column, open_keys("two")).opened == COUNT

    def test_what_the_swap_still_has_to_make(self, column, database) -> None:
        """Also everything: a swap needs no more than that something was prepared."""
        migrate_staged(column, target="two")
        put(column, 3, "changed")
        report = migrate_staged(column, swap=True)
        assert (report.made, report.swapped) == (1, COUNT)
        assert opened(column) == {**written(), 3: "changed"}

    def test_it_can_be_stopped(self, column) -> None:
        stop = threading.Event()
        first = migrate_staged(
            column,
            target="two",
            batch_size=5,
            on_progress=lambda progress: stop.set() if progress.done >= 20 else None,
            stop=stop,
        )
        assert first.interrupted
        assert not first.complete
        second = migrate_staged(column, batch_size=5)
        assert (second.ready, first.made + second.made) == (COUNT, COUNT)

    def test_nothing_to_do_leaves_nothing_behind(self, column, open_keys) -> None:
        report = migrate_staged(column, target="one")
        assert (report.matched, report.ready) == (0, 0)
        with pytest.raises(MigrationError, match="nothing is prepared"):
            migrate_staged(column, swap=True)
        with pytest.raises(MigrationError, match="nothing is prepared"):
            abandon_staged(column)

    def test_only_one_direction_at_a_time(self, column, open_keys) -> None:
        migrate_staged(column, target="two")
        for swap in (False, True):
            with pytest.raises(MigrationError, match="--abandon"):
                migrate_staged(column, target="plaintext", allow_plaintext=True, swap=swap)
        report = abandon_staged(column)
        assert (report.state, report.dropped) == ("abandoned", COUNT)
        assert migrate_staged(column, target="plaintext", allow_plaintext=True).ready == COUNT

    def test_a_plain_primary_is_not_meant_by_chance(self, column, open_keys) -> None:
        with pytest.raises(MigrationError, match="--to"):
            migrate_staged(column, open_keys("plaintext"))

    def test_dropped_meanwhile(self, column) -> None:
        """Whoever prepares notices it, and puts nothing more on the shelf."""
        done: list[StagedReport] = []
        with pytest.raises(MigrationError, match="swapped or dropped"):
            migrate_staged(
                column,
                target="two",
                batch_size=5,
                on_progress=lambda _: None if done else done.append(abandon_staged(column)),
            )
        assert done[0].dropped == 5
        with pytest.raises(MigrationError, match="nothing is prepared"):
            abandon_staged(column)

    def test_too_many_failures(self, column, database) -> None:
        database.execute("UPDATE tokens SET secret = 'kh1:one:broken' WHERE account_id < 4")
        with pytest.raises(MigrationStoppedError, match="more rows failed") as raised:
            migrate_staged(column, target="two", max_errors=3)
        assert not raised.value.retryable
        report = migrate_staged(column, target="two", max_errors=4)
        assert (report.failed, report.ready, report.complete) == (4, COUNT - 4, False)

    def test_two_at_once(self, column, database, open_keys) -> None:
        """They do some of the work twice, and that is all."""
        others = [MappedColumn(database.url, open_keys("one"), MAPPING) for _ in range(2)]
        reports: list[StagedReport] = []

        def prepare(each: MappedColumn) -> None:
            reports.append(migrate_staged(each, target="two", batch_size=3))

        threads = [threading.Thread(target=prepare, args=(each,)) for each in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in others:
            each.close()
        assert [report.ready for report in reports] == [COUNT, COUNT]
        report = migrate_staged(column, swap=True)
        assert (report.swapped, report.made) == (COUNT, 0)
        assert opened(column) == written()

    def test_the_stores_own_table(self, store, open_keys, fill, everything) -> None:
        secrets = fill(store, 100)
        assert migrate_staged(store, open_keys("two"), batch_size=30).ready == 100
        report = migrate_staged(store, open_keys("two"), swap=True)
        assert (report.state, report.swapped, report.table) == ("swapped", 100, "secrets")
        assert everything(store) == secrets
        assert {info.section for info in store.list()} == {"two"}


class TestSideTable:
    def test_it_says_nothing_about_a_plaintext(self, column, database, open_keys) -> None:
        """Neither the plaintext nor a digest that anybody could make of a guess."""
        abandon = MappedColumn(database.engine, open_keys("one"), MAPPING)
        migrate_staged(abandon, target="plaintext", allow_plaintext=True)
        migrate_staged(abandon, swap=True, allow_plaintext=True)
        assert set(sections(database)) == {"plaintext"}
        migrate_staged(abandon, target="two")
        [secret] = [
            row[0] for row in database.execute("SELECT secret FROM tokens WHERE account_id = 1")
        ]
        shelf = repr(database.execute("SELECT * FROM keyhinge_staged"))
        assert "value-1" not in shelf
        for guess in (b"value-1", secret.encode()):
            assert hashlib.sha256(guess).hexdigest() not in shelf
        assert opened(column) == written()

    def test_a_plaintext_is_in_it_only_when_asked_for(self, column, database) -> None:
        with pytest.raises(MigrationError, match="--allow-plaintext"):
            migrate_staged(column, target="plaintext")
        migrate_staged(column, target="plaintext", allow_plaintext=True)
        with pytest.raises(MigrationError, match="--allow-plaintext"):
            migrate_staged(column, swap=True)
        assert set(sections(database)) == {"one"}
        migrate_staged(column, swap=True, allow_plaintext=True)
        assert database.execute("SELECT count(*) FROM keyhinge_staged") == [(0,)]
        assert database.execute("SELECT count(*) FROM keyhinge_staging") == [(0,)]

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE keyhinge_staged SET cells = (SELECT max(cells) FROM keyhinge_staged)",
            "UPDATE keyhinge_staged SET cells = NULL",
            "UPDATE keyhinge_staged SET section = 'one'",
            "UPDATE keyhinge_staged SET proof = 'x'",
            "UPDATE keyhinge_staged SET source_digest = 'x'",
            "DELETE FROM keyhinge_staged",
        ],
    )
    def test_what_others_put_there_is_made_anew(self, column, database, statement: str) -> None:
        migrate_staged(column, target="two")
        database.execute(statement)
        report = migrate_staged(column, swap=True)
        assert (report.state, report.swapped) == ("swapped", COUNT)
        assert report.made >= COUNT - 1
        assert opened(column) == written()

    def test_a_new_mapping_finds_nothing_to_swap_in(self, column, database, open_keys) -> None:
        """A value that was made under another context isn't swapped in."""
        migrate_staged(column, target="two")
        other = MappedColumn(
            database.engine,
            open_keys("one"),
            TableMapping(
                table="tokens",
                primary_key=("account_id", "token_id"),
                encoding="text",
                columns={"ciphertext": "secret"},
                context={"account": "account_id"},
            ),
        )
        report = migrate_staged(other, swap=True)
        assert (report.state, report.swapped, report.failed) == ("prepared", 0, COUNT)
        assert opened(column) == written()

    def test_without_the_target_key_it_says_so(self, column, tmp_path) -> None:
        """Values that don't open any more never take the place of those that do."""
        migrate_staged(column, target="two")
        (tmp_path / "two.key").unlink()
        from keyhinge_local import keyfile

        keyfile.init(tmp_path / "two.key")
        config = {
            name: {"type": "local", "keyFile": str(tmp_path / f"{name}.key")}
            for name in ("one", "two")
        }
        with (
            KeyManager.open({"keyManagement": {"provider": "one", **config}}) as keys,
            pytest.raises(MigrationError, match="--abandon"),
        ):
            migrate_staged(column, keys, swap=True)
        assert opened(column) == written()


class TestSwap:
    def test_a_row_that_does_not_open(self, column, database) -> None:
        """Nothing is swapped, unless it is said that it may be left."""
        database.execute("UPDATE tokens SET secret = 'kh1:one:broken' WHERE account_id = 7")
        migrate_staged(column, target="two")
        report = migrate_staged(column, swap=True)
        assert (report.state, report.swapped, report.failed) == ("prepared", 0, 1)
        assert report.failures[0].key == {"account_id": 7, "token_id": "t7"}
        assert sections(database) == {"one": COUNT}

        report = migrate_staged(column, swap=True, leave_failed=True)
        assert (report.state, report.swapped, report.left) == ("swapped", COUNT - 1, 1)
        assert not report.complete
        assert sections(database) == {"two": COUNT - 1, "one": 1}
        assert (runs(column)[0].moved, runs(column)[0].failed) == (COUNT - 1, 1)

    def test_changed_between_its_two_halves(self, column, database, monkeypatch) -> None:
        """A writer that isn't stopped: what it writes is made anew, three times; then it's over."""
        migrate_staged(column, target="two")
        times: list[int] = []

        def late(*arguments: Any, **options: Any) -> Any:
            times.append(1)
            if len(times) <= most:
                put(column, 3, f"changed-{len(times)}")
            return swap_in(*arguments, **options)

        monkeypatch.setattr(work_module, "swap_in", late)
        most = 9
        with pytest.raises(MigrationStoppedError, match=r'"account_id": 3.*was added') as raised:
            migrate_staged(column, swap=True)
        assert (len(times), raised.value.retryable) == (3, True)
        assert sections(database) == {"one": COUNT}
        times.clear()
        most = 2
        assert migrate_staged(column, swap=True).state == "swapped"
        assert len(times) == 3
        assert opened(column) == {**written(), 3: "changed-2"}

    def test_a_trigger_that_refuses(self, column, database) -> None:
        migrate_staged(column, target="two")
        _trigger(database, "refuse")
        with pytest.raises(MigrationStoppedError, match="as it was") as raised:
            migrate_staged(column, swap=True)
        assert "kh1" not in str(raised.value)
        assert sections(database) == {"one": COUNT}
        _untrigger(database)
        assert migrate_staged(column, swap=True).swapped == COUNT

    def test_a_trigger_that_alters(self, column, database) -> None:
        migrate_staged(column, target="two")
        _trigger(database, "alter")
        with pytest.raises(MigrationStoppedError, match="a trigger changed"):
            migrate_staged(column, swap=True)
        assert sections(database) == {"one": COUNT}

    @only_postgresql
    def test_locks_are_waited_for_for_a_moment_only(self, column, database, monkeypatch) -> None:
        migrate_staged(column, target="two")
        with database.engine.begin() as writer:
            writer.execute(sa.text("UPDATE tokens SET note = 'x' WHERE account_id = 3"))
            with pytest.raises(MigrationStoppedError, match="a lock on the table") as raised:
                migrate_staged(column, swap=True)
            assert raised.value.retryable
        with database.engine.begin() as reader:
            reader.execute(sa.text("SELECT * FROM tokens WHERE account_id = 3 FOR UPDATE"))
            with pytest.raises(MigrationStoppedError, match="1 rows are locked"):
                migrate_staged(column, swap=True)
        assert sections(database) == {"one": COUNT}
        assert migrate_staged(column, swap=True).swapped == COUNT

    @only_postgresql
    def test_others_who_are_connected(self, column, database) -> None:
        migrate_staged(column, target="two")
        other = sa.create_engine(
            sa.make_url(database.url).update_query_dict({"application_name": "monetr"})
        )
        with other.connect(), pytest.raises(MigrationError, match=r"1 of .* \(monetr\)"):
            migrate_staged(column, swap=True, alone=True)
        other.dispose()
        assert migrate_staged(column, swap=True, alone=True).swapped == COUNT

    def test_it_takes_too_long(self, column, database) -> None:
        migrate_staged(column, target="two")
        with pytest.raises(MigrationStoppedError, match="--lock-seconds") as raised:
            migrate_staged(column, swap=True, lock_seconds=1e-9)
        assert not raised.value.retryable
        assert sections(database) == {"one": COUNT}

    @only_sqlite
    @pytest.mark.parametrize("committed", [True, False])
    def test_the_answer_to_the_commit_is_lost(self, column, database, committed: bool) -> None:
        migrate_staged(column, target="two")

        def cut(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            recorded = "SELECT count(*) FROM keyhinge_staging"
            if statement == "COMMIT" and not cursor.connection.execute(recorded).fetchone()[0]:
                raise sa.exc.OperationalError("COMMIT", {}, Exception("the connection is gone"))

        moment = "after_cursor_execute" if committed else "before_cursor_execute"
        sa.event.listen(column.engine, moment, cut)
        if committed:
            report = migrate_staged(column, swap=True)
            assert (report.state, report.swapped) == ("swapped", COUNT)
        else:
            with pytest.raises(MigrationStoppedError, match="as it was"):
                migrate_staged(column, swap=True)
        sa.event.remove(column.engine, moment, cut)
        assert sections(database) == {"two" if committed else "one": COUNT}

    def test_statements_go_by_batches(self, column, database) -> None:
        """Not by rows; and no key service is asked between the lock and the commit."""
        migrate_staged(column, target="two")
        sent: list[str] = []
        sa.event.listen(
            column.engine,
            "before_cursor_execute",
            lambda c, cursor, statement, *rest: sent.append(statement),
        )
        report = migrate_staged(column, swap=True, batch_size=10)
        assert report.swapped == COUNT
        assert sum("UPDATE tokens" in each.replace('"', "") for each in sent) == COUNT // 10
        assert len(sent) < 60


class TestSeveralColumns:
    @pytest.fixture
    def tables(self, database, open_keys) -> Iterator[Tables]:
        database.execute("CREATE TABLE both_kinds (id integer PRIMARY KEY, a text, b text)")
        shared: dict[str, Any] = {"table": "both_kinds", "primary_key": "id", "encoding": "text"}
        made = Tables(
            database.engine,
            open_keys("one"),
            [
                TableMapping(**shared, columns={"ciphertext": name}, context={"id": "id"})
                for name in ("a", "b")
            ],
        )
        for number in range(10):
            cells: dict[str, Any] = {"id": number}
            for name, each in zip("ab", made, strict=True):
                cells |= each.encrypt(f"{name}-{number}", {"id": number})
            if number > 7:
                cells["b"] = None
            with database.engine.begin() as connection:
                connection.execute(sa.text("INSERT INTO both_kinds VALUES (:id, :a, :b)"), cells)
        yield made
        made.close()

    def test_all_in_one_transaction(self, tables, database) -> None:
        report = migrate_staged(tables, target="two")
        assert (report.ready, [each.ready for each in report.tables]) == (18, [10, 8])
        database.execute("UPDATE both_kinds SET b = 'kh1:one:broken' WHERE id = 3")
        assert migrate_staged(tables, swap=True).state == "prepared"
        assert database.execute("SELECT count(*) FROM both_kinds WHERE a LIKE 'kh1:one:%'") == [
            (10,)
        ]
        report = migrate_staged(tables, swap=True, leave_failed=True)
        assert (report.state, report.swapped, report.left) == ("swapped", 17, 1)
        assert [each.target for each in runs(tables)] == ["two", "two"]
        with pytest.raises(MigrationError, match="nothing is prepared"):
            migrate_staged(tables, swap=True)


def _trigger(database: Any, what: str) -> None:
    if database.is_sqlite:
        body = (
            "BEFORE UPDATE ON tokens WHEN new.account_id = 9 BEGIN SELECT RAISE(ABORT, 'no'); END"
            if what == "refuse"
            else "AFTER UPDATE ON tokens WHEN new.account_id = 9 BEGIN "
            "UPDATE tokens SET secret = old.secret WHERE account_id = 9; END"
        )
        database.execute(f"CREATE TRIGGER odd {body}")
        return
    body = "RAISE EXCEPTION 'no'" if what == "refuse" else "new.secret := old.secret"
    database.execute(
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF new.account_id = 9 THEN {body}; END IF; RETURN new; END $$"
    )
    database.execute(
        "CREATE TRIGGER odd BEFORE UPDATE ON tokens FOR EACH ROW EXECUTE FUNCTION odd()"
    )


def _untrigger(database: Any) -> None:
    database.execute("DROP TRIGGER odd" + ("" if database.is_sqlite else " ON tokens"))


@only_sqlite
def test_into_a_partitioned_envelope(column, configuration) -> None:
    """The digests' key belongs to no row, and yet its context has the keys that rows' have."""
    config = configuration("one")
    block = {"over": "two", "partitionBy": ["account", "table"]}
    config["keyManagement"]["envelope"] = block
    with KeyManager.open(config) as keys:
        staged = migrate_staged(column, keys, target="envelope")
        assert (staged.state, staged.ready) == ("prepared", COUNT)
        assert migrate_staged(column, keys, swap=True).swapped == COUNT
    config["keyManagement"]["provider"] = "envelope"
    with KeyManager.open(config) as after:
        assert verify(column, after).opened == COUNT
