"""What an auditor asks for: the age of keys, inventories of runs, who took part, verifications."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from tests.store._migrating import Process

from keyhinge_local import keyfile
from keyhinge_store import (
    MappedColumn,
    MigrationStoppedError,
    NewSecret,
    SecretStore,
    TableMapping,
    Tables,
    abandon,
    ages,
    create_state_tables,
    migrate,
    report,
    rewrap,
    run,
    runs,
    status,
    verify,
)
from keyhinge_store._runs._evidence import START, keep
from keyhinge_store._runs._holder import actor
from keyhinge_store._runs._transact import transaction

YEAR = timedelta(days=365)
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
SECRET = "PLAIN-"


def now() -> datetime:
    return datetime.now(timezone.utc)


def set_date(store: SecretStore | MappedColumn, when: datetime | None, where: str = "1=1") -> None:
    """Write when values were encrypted."""
    table = store.layout.table
    with store.engine.begin() as connection:
        connection.execute(
            table.update().where(sa.text(where)).values({store.layout.encrypted_at: when})
        )


@pytest.fixture
def open_tokens(database_url: str, database) -> Callable[..., MappedColumn]:
    """Makes a table `tokens` with 20 values, and maps it: `open_tokens(keys, dated=True)`."""

    def make(keys: Any, *, dated: bool) -> MappedColumn:
        kind = "TEXT" if database.is_sqlite else "timestamptz"
        database.execute(f"CREATE TABLE tokens (id integer PRIMARY KEY, token text, made {kind})")
        column = MappedColumn(
            database.engine,
            keys,
            TableMapping(
                table="tokens",
                primary_key="id",
                encoding="text",
                columns={"ciphertext": "token"},
                context={"id": "id"},
                encrypted_at="made" if dated else None,
            ),
        )
        for number in range(20):
            cells = column.encrypt(f"{SECRET}{number}", {"id": number})
            database.execute(
                "INSERT INTO tokens (id, token) VALUES (:id, :token)",
                id=number,
                token=cells["token"],
            )
        return column

    return make


class TestAge:
    def test_without_a_limit_nothing_is_said(self, store: SecretStore, fill) -> None:
        fill(store, 3)
        found = status(store)
        assert (found.max_key_age, found.overdue, found.policy) == (None, None, None)
        assert {label.policy for label in found.labels} == {None}

    def test_old_values_are_overdue(self, store: SecretStore, fill) -> None:
        fill(store, 10)
        set_date(store, now() - timedelta(days=366), "secret_id < 's00004'")
        found = status(store, max_key_age=YEAR)
        assert (found.overdue, found.undated, found.policy) == (4, 0, "broken")
        assert found.max_key_age == YEAR.total_seconds()
        assert status(store, max_key_age=timedelta(days=367)).policy == "kept"

    def test_the_configuration_sets_it(self, open_store, configuration, fill) -> None:
        from keyhinge import KeyManager

        config = configuration("one")
        config["keyManagement"]["options"] = {"maxKeyAge": "365d"}
        with KeyManager.open(config) as keys:
            store = open_store(keys)
            fill(store, 2)
            set_date(store, LONG_AGO)
            assert status(store).policy == "broken"
            assert status(store, max_key_age=timedelta(days=10_000)).policy == "kept"

    def test_by_key_version(self, open_store, open_keys, tmp_path) -> None:
        store = open_store(open_keys("one"))
        store.put_many(NewSecret("a", "k", "v", f"old-{n}") for n in range(3))
        set_date(store, LONG_AGO)
        keyfile.rotate(tmp_path / "one.key", activate=True)
        store = open_store(open_keys("one"))
        store.put_many(NewSecret("a", "k", "v", f"new-{n}") for n in range(2))
        found = status(store, max_key_age=YEAR)
        assert sorted((each.values, each.overdue, each.policy) for each in found.labels) == [
            (2, 0, "kept"),
            (3, 3, "broken"),
        ]

    def test_a_mapping_without_dates_is_not_known(self, open_tokens, open_keys) -> None:
        """Never fine: nobody knows."""
        column = open_tokens(open_keys("one"), dated=False)
        found = status(column, max_key_age=YEAR)
        assert (found.policy, found.undated, found.overdue) == ("not known", 20, 0)
        assert [(each.undated, each.unversioned) for each in found.tables] == [(20, 0)]

    def test_one_date_that_is_missing_is_enough(self, open_tokens, open_keys) -> None:
        column = open_tokens(open_keys("one"), dated=True)
        assert status(column, max_key_age=YEAR).policy == "not known"
        set_date(column, now())
        assert status(column, max_key_age=YEAR).policy == "kept"
        set_date(column, None, "id = 7")
        assert status(column, max_key_age=YEAR).policy == "not known"
        set_date(column, LONG_AGO, "id = 8")
        found = status(column, max_key_age=YEAR)
        assert (found.policy, found.overdue, found.undated) == ("broken", 1, 1)

    def test_all_tables_together(self, open_tokens, open_keys, database) -> None:
        column = open_tokens(open_keys("one"), dated=False)
        kind = "TEXT" if database.is_sqlite else "timestamptz"
        database.execute(f"CREATE TABLE more (id integer PRIMARY KEY, token text, made {kind})")
        other = attrs.evolve(column.mapping, table="more", encrypted_at="made")
        tables = Tables(database.engine, column.keys, [column.mapping, other])
        cells = tables.columns[1].encrypt("x", {"id": 1})
        database.execute("INSERT INTO more (id, token) VALUES (1, :token)", **cells)
        set_date(tables.columns[1], now())
        found = status(tables, max_key_age=YEAR)
        assert [label.policy for label in found.labels] == ["not known", "kept"]
        assert found.policy == "not known"

    def test_what_does_not_encrypt_has_no_key(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("plaintext"))
        fill(store, 2)
        assert status(store, max_key_age=YEAR).policy == "not known"

    def test_values_of_monetr(self, open_keys, database) -> None:
        """They have no context, no time, and here no key."""
        database.execute(
            "CREATE TABLE monetr (id integer PRIMARY KEY, secret text, key_id text, version text)"
        )
        database.execute("INSERT INTO monetr VALUES (1, 'token', NULL, NULL)")
        mapping = TableMapping(
            table="monetr",
            primary_key="id",
            encoding="monetr",
            columns={"ciphertext": "secret", "keyID": "key_id", "version": "version"},
        )
        column = MappedColumn(database.engine, open_keys("one"), mapping)
        found = status(column, max_key_age=YEAR)
        [table] = found.tables
        assert (table.bound, table.unversioned, table.undated) == (False, 1, 1)
        assert (found.policy, found.unencrypted) == ("not known", 1)
        assert [(each.section, each.month) for each in ages(column)] == [("plaintext", "")]

    def test_an_earlier_inventory_knows_better_than_new_dates(
        self, store: SecretStore, fill
    ) -> None:
        """Values that are written anew under an old key version don't make it younger."""
        fill(store, 3)
        create_state_tables(store)
        current = store.keys.current_key()
        label = {"section": "one", "key_id": current.key_id, "version": current.version}
        with transaction(store.state) as connection:
            keep(connection, 1, START, {"labels": [{**label, "values": 3}]}, LONG_AGO)
        found = status(store, max_key_age=YEAR)
        assert (found.policy, found.overdue) == ("broken", 0)

    def test_by_month(self, store: SecretStore, open_tokens, fill) -> None:
        fill(store, 5)
        # The last moment of a month, in UTC, whatever zone the connection is in.
        set_date(store, datetime(2025, 1, 31, 23, 59, 59, tzinfo=timezone.utc))
        set_date(store, LONG_AGO, "secret_id = 's00003'")
        found = [(each.section, each.month, each.values) for each in ages(store)]
        assert found == [("one", "2020-01", 1), ("one", "2025-01", 4)]
        column = open_tokens(store.keys, dated=True)
        set_date(column, LONG_AGO, "id < 5")
        counted = [(each.table, each.month, each.values) for each in ages(column)]
        assert counted == [("tokens.token", "2020-01", 5), ("tokens.token", "", 15)]

    def test_json(self, store: SecretStore, fill) -> None:
        fill(store, 3)
        told = json.loads(json.dumps(status(store, max_key_age=YEAR).to_dict()))
        assert told["policy"] == "kept"
        assert told["sections"][1] == {
            "name": "one",
            "provider": "local",
            "aliases": [],
            "primary": True,
            "encrypts": True,
        }
        assert told["at"].endswith("+00:00")

    def test_the_database_is_named_without_its_password(self, postgres_url, open_keys) -> None:
        url = sa.make_url(postgres_url).set(password="hunter2")
        url = url.update_query_dict({"passfile": "/hunter2", "sslpassword": "hunter2"})
        with SecretStore(url, open_keys("one")) as store:
            store.create_tables()
            found = status(store)
        assert "hunter2" not in json.dumps(found.to_dict())
        assert found.database.endswith(f"/{url.database}")


class TestRuns:
    def test_inventories_before_and_after(self, open_store, open_keys, fill, database) -> None:
        store = open_store(open_keys("one"))
        fill(store, 50)
        database.execute("UPDATE secrets SET kind = 'stolen' WHERE secret_id < 's00003'")
        before = now()
        migrate(store, open_keys("two"))
        [found] = report(store, open_keys("two"), since=before).runs
        assert (found.verified, found.run.failed) == (47, 3)
        assert found.reasons == {"InvalidCiphertextError": 3}
        assert found.before is not None
        assert found.after is not None
        assert (found.before.values, found.after.values) == (50, 50)
        assert found.before.taken_at <= found.after.taken_at
        counts = [(each.section, each.before, each.after) for each in found.labels]
        assert counts == [("one", 50, 3), ("two", 0, 47)]
        [participant] = found.run.participants
        assert (participant.actor, participant.moved) == (actor(), 47)
        assert found.duration is not None
        assert SECRET not in json.dumps(report(store, since=before).to_dict())

    def test_key_versions_of_a_rewrap(self, open_tokens, open_keys, tmp_path) -> None:
        column = open_tokens(open_keys("one"), dated=False)
        old = column.keys.current_key()
        keyfile.rotate(tmp_path / "one.key", activate=True)
        keys = open_keys("one")
        before = now()
        rewrap(column, keys)
        found = report(column, keys, since=before)
        [told] = found.runs
        new = keys.current_key()
        assert {(each.version, each.before, each.after) for each in told.labels} == {
            (old.version, 20, 0),
            (new.version, 0, 20),
        }
        assert told.run.target_key == (new.key_id, new.version)
        json.dumps(found.to_dict())

    def test_one_that_was_stopped_has_no_end_yet(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 50)
        keys = open_keys("two")
        migrate(store, keys, batch_size=10, stop=lambda: True)
        [found] = report(store, keys, since=now() - YEAR).runs
        assert (found.run.state, found.after, found.duration) == ("active", None, None)
        first = found.before
        migrate(store, keys)
        [found] = report(store, keys, since=now() - YEAR).runs
        # Who goes on with it doesn't count again what was there when it began.
        assert found.before == first
        assert found.after is not None
        assert len(found.run.participants) == 2
        assert sum(each.moved for each in found.run.participants) == 50

    def test_one_that_is_abandoned_by_hand(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 50)
        keys = open_keys("two")
        migrate(store, keys, batch_size=10, stop=lambda: True)
        abandon(store, 1)
        [found] = report(store, keys, since=now() - YEAR).runs
        assert (found.run.state, found.after is None) == ("abandoned", False)

    def test_one_in_another_direction_ends_it(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 50)
        migrate(store, open_keys("two"), batch_size=10, stop=lambda: True)
        migrate(store, open_keys("one"))
        first, second = report(store, since=now() - YEAR).runs
        assert (first.run.state, second.run.state) == ("abandoned", "finished")
        assert first.after is not None
        assert second.before is not None
        assert [each.after for each in first.labels] == [each.before for each in second.labels]

    def test_many_processes(self, postgres_url, open_keys, configuration, fill) -> None:
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            fill(store, 2000)
            before = now()
            create_state_tables(store)
            config = configuration("two")
            workers = [Process(config, postgres_url, batch_size=50, rate=1000) for _ in range(2)]
            reports = [worker.end() for worker in workers]
            [found] = report(store, since=before).runs
        assert found.run.state == "finished"
        assert [(each.before, each.after) for each in found.labels] == [(2000, 0), (0, 2000)]
        moved = [each.moved for each in found.run.participants]
        assert sum(moved) == 2000
        assert sorted(moved) == sorted(each["moved"] for each in reports)

    def test_one_that_stops_at_errors_has_no_end(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 5)
        with pytest.raises(MigrationStoppedError):
            migrate(store, open_keys("two", without=("one",)), max_errors=1)
        [found] = report(store, since=now() - YEAR).runs
        assert found.after is None

    def test_a_time_of_encryption_that_is_none_does_no_harm(
        self, open_store, open_keys, fill, database
    ) -> None:
        store = open_store(open_keys("one"))
        fill(store, 5)
        bad = "'soon'" if database.is_sqlite else "'infinity'"
        database.execute(f"UPDATE secrets SET encrypted_at = {bad} WHERE secret_id = 's00001'")
        assert migrate(store, open_keys("two")).moved == 5

    def test_a_dry_run_leaves_nothing(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 5)
        migrate(store, open_keys("two"), dry_run=True)
        assert report(store, since=now() - YEAR).runs == ()

    def test_the_time_that_is_reported(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 5)
        migrate(store, open_keys("two"))
        [info] = runs(store)
        assert info.ended_at is not None
        moment = timedelta(microseconds=1)

        def found(since: datetime, until: datetime | None = None) -> int:
            return len(report(store, since=since, until=until).runs)

        assert found(info.started_at - YEAR) == 1
        assert found(info.ended_at) == 1
        assert found(info.ended_at + moment) == 0
        assert found(info.started_at - YEAR, info.started_at) == 0
        assert found(info.started_at - YEAR, info.started_at + moment) == 1
        with pytest.raises(ValueError, match="before it begins"):
            found(info.started_at, info.started_at)
        with pytest.raises(ValueError, match="time zone"):
            found(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point

    def test_an_inventory_costs_two_statements_a_run(self, open_store, open_keys, fill) -> None:
        store = open_store(open_keys("one"))
        fill(store, 100)
        statements: list[str] = []

        @sa.event.listens_for(store.engine, "before_cursor_execute")
        def note(connection: Any, cursor: Any, text: str, *rest: Any) -> None:
            statements.append(text)

        migrate(store, open_keys("two"), batch_size=10)
        counted = [text for text in statements if "GROUP BY 1, 2, 3" in text]
        assert len(counted) == 2


class TestVerifications:
    def test_recorded_as_a_run(self, open_store, open_keys, fill, database) -> None:
        store = open_store(open_keys("one"))
        fill(store, 10)
        migrate(store, open_keys("two"))
        database.execute("UPDATE secrets SET kind = 'stolen' WHERE secret_id = 's00003'")
        assert verify(store, open_keys("two")).recorded
        found = report(store, since=now() - YEAR).runs[-1]
        assert (found.run.operation, found.run.state) == ("verify", "finished")
        assert (found.verified, found.run.matched, found.run.failed) == (9, 10, 1)
        assert found.reasons == {"InvalidCiphertextError": 1}
        assert found.run.started_by == actor()
        assert run(store, found.run.run_id).target == ""

    def test_each_column_alone(self, open_tokens, open_keys, database) -> None:
        column = open_tokens(open_keys("one"), dated=False)
        database.execute("CREATE TABLE more (id integer PRIMARY KEY, token text)")
        other = attrs.evolve(column.mapping, table="more")
        tables = Tables(database.engine, column.keys, [column.mapping, other])
        create_state_tables(tables)
        assert verify(tables).recorded
        assert {(each.table, each.matched) for each in runs(tables)} == {
            ("tokens", 20),
            ("more", 0),
        }

    def test_one_that_was_stopped_says_so(self, store: SecretStore, fill) -> None:
        fill(store, 30)
        create_state_tables(store)
        verify(store, batch_size=10, stop=lambda: True)
        [found] = runs(store)
        assert (found.state, found.reason) == ("abandoned", "stopped before the end")
        assert found.matched == 10

    def test_without_our_tables_none_are_made(self, store: SecretStore, fill) -> None:
        fill(store, 3)
        assert not verify(store).recorded
        assert "keyhinge_run" not in sa.inspect(store.engine).get_table_names()

    def test_where_nothing_may_be_written_it_still_verifies(self, store: SecretStore, fill) -> None:
        fill(store, 3)
        create_state_tables(store)
        before = sa.event.listens_for(store.engine, "before_cursor_execute")

        def refuse(connection: Any, cursor: Any, text: str, *rest: Any) -> None:
            if text.startswith("INSERT") and "keyhinge_run " in text:
                raise sa.exc.OperationalError(text, None, Exception("read-only"))

        before(refuse)
        found = verify(store)
        assert (found.ok, found.opened, found.recorded) == (True, 3, False)

    def test_a_role_that_only_reads(self, postgres_url: str, open_keys, fill) -> None:
        with SecretStore(postgres_url, open_keys("one")) as store:
            store.create_tables()
            fill(store, 3)
            create_state_tables(store)
        url = sa.make_url(postgres_url).update_query_dict(
            {"options": "-c default_transaction_read_only=on"}
        )
        with SecretStore(url, open_keys("one")) as store:
            found = verify(store)
            assert (found.ok, found.opened, found.recorded) == (True, 3, False)
            assert report(store, since=now() - YEAR).status.values == 3

    def test_what_failed_before_is_still_found(self, open_store, open_keys, fill, database) -> None:
        """`retry_failed` looks at the last migration, not at a verification after it."""
        store = open_store(open_keys("one"))
        fill(store, 10)
        database.execute("UPDATE secrets SET kind = 'stolen' WHERE secret_id = 's00000'")
        migrate(store, open_keys("two"))
        verify(store, open_keys("two"))
        database.execute("UPDATE secrets SET kind = 'kind_0' WHERE secret_id = 's00000'")
        again = migrate(store, open_keys("two"), retry_failed=True)
        assert (again.moved, again.failed) == (1, 0)
