"""Moving values between sections, on both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator

import pytest
import sqlalchemy as sa

from keyhinge import ConfigError, KeyManager, KeyRef, Operation, Result, hookimpl
from keyhinge_local import keyfile
from keyhinge_store import (
    MigrationError,
    MigrationReport,
    MigrationStoppedError,
    NewSecret,
    Progress,
    SecretStore,
    migrate,
    rewrap,
    runs,
)


def labels(store: SecretStore) -> set[str]:
    return {info.section for info in store.list()}


class TestTheWholeWay:
    def test_plaintext_to_local_to_local_to_plaintext(
        self, open_store, open_keys, database, fill, everything
    ) -> None:
        """1,000 secrets survive every move; after the first no plaintext is in the table."""
        store = open_store(open_keys("plaintext"))
        written = fill(store, 1000)
        times = {info.key: (info.created_at, info.updated_at) for info in store.list()}
        assert "kh1:plaintext:::UFBMQUlO" in database.dump()  # base64 of "PPLAIN"

        for target in ("one", "two"):
            report = migrate(store, open_keys(target))
            assert (report.matched, report.moved, report.left, report.failed) == (1000, 1000, 0, 0)
            assert report.complete
            assert labels(store) == {target}
            assert "plaintext" not in database.dump()
            assert "UFBMQUlO" not in database.dump()
            assert everything(store) == written

        report = migrate(store, open_keys("plaintext"), allow_plaintext=True)
        assert (report.moved, report.left) == (1000, 0)
        assert labels(store) == {"plaintext"}
        assert everything(store) == written
        assert {i.key: (i.created_at, i.updated_at) for i in store.list()} == times

    def test_encrypted_at_is_new(self, store: SecretStore, open_keys, fill) -> None:
        fill(store, 3)
        before = {info.key: info.encrypted_at for info in store.list()}

        migrate(store, open_keys("two"))

        assert all(info.encrypted_at > before[info.key] for info in store.list())

    def test_again_finds_nothing(self, store: SecretStore, open_keys, fill) -> None:
        fill(store, 50)
        keys = open_keys("two")
        migrate(store, keys)

        report = migrate(store, keys)

        assert (report.matched, report.moved, report.already) == (0, 0, 50)
        assert report.complete
        assert not report.matched_nothing

    def test_an_empty_table_is_told(self, store: SecretStore) -> None:
        report = migrate(store)

        assert report.matched_nothing
        assert report.rows == 0

    def test_large_values_make_small_pages(self, store: SecretStore, open_keys) -> None:
        """A page ends by its bytes too: 5 values of 3 MB are 15 MB, so two pages."""
        store.put_many(NewSecret("a", "k", b"x" * 3_000_000, f"s{n}") for n in range(5))
        pages = []

        migrate(store, open_keys("two"), on_progress=lambda progress: pages.append(progress.done))

        assert len(pages) >= 2
        assert pages[-1] == 5
        assert store.get(account_id="a", secret_id="s4") == b"x" * 3_000_000


class TestWhatIsMoved:
    @pytest.fixture
    def mixed(self, open_store, open_keys) -> SecretStore:
        """Ten values under each of three sections."""
        for name in ("plaintext", "one", "two"):
            store: SecretStore = open_store(open_keys(name))
            store.put_many(NewSecret("a", "k", name, f"{name}-{n}") for n in range(10))
        return store

    def test_everything_else_by_default(self, mixed: SecretStore, open_keys) -> None:
        report = migrate(mixed, open_keys("two"))

        assert (report.matched, report.already, report.moved) == (20, 10, 20)
        assert labels(mixed) == {"two"}

    def test_only_the_source(self, mixed: SecretStore, open_keys) -> None:
        report = migrate(mixed, open_keys("two"), source=["plaintext"])

        assert (report.matched, report.moved, report.source) == (10, 10, ("plaintext",))
        assert labels(mixed) == {"one", "two"}

    def test_not_to_the_primary(self, mixed: SecretStore, open_keys) -> None:
        keys = open_keys("two")

        with pytest.raises(MigrationError, match="isn't the primary"):
            migrate(mixed, keys, target="one")
        assert migrate(mixed, keys, target="one", not_primary=True).moved == 20

    def test_to_plaintext(self, mixed: SecretStore, open_keys) -> None:
        keys = open_keys("plaintext")

        with pytest.raises(MigrationError, match="doesn't encrypt"):
            migrate(mixed, keys)
        assert migrate(mixed, keys, allow_plaintext=True).moved == 20

    def test_an_unknown_target(self, mixed: SecretStore, open_keys) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'two'"):
            migrate(mixed, open_keys("one"), target="twoo", not_primary=True)

    def test_an_unknown_source(self, mixed: SecretStore, open_keys) -> None:
        with pytest.raises(MigrationError, match="Did you mean 'plaintext'"):
            migrate(mixed, open_keys("one"), source=["plantext"])

    def test_a_name_in_place_of_a_list(self, mixed: SecretStore, open_keys) -> None:
        """Its letters would be taken for names."""
        with pytest.raises(TypeError, match="list"):
            migrate(mixed, open_keys("one"), source="plaintext")

    @pytest.mark.parametrize("source", [[], ["one"], ["two", "one"]])
    def test_a_senseless_source(self, mixed: SecretStore, open_keys, source) -> None:
        with pytest.raises(MigrationError):
            migrate(mixed, open_keys("one"), source=source)

    def test_a_section_that_is_gone(self, mixed: SecretStore, open_keys) -> None:
        """Its rows fail one by one and the rest is moved, with a source or without."""
        keys = open_keys("two", without=("one",))

        report = migrate(mixed, keys)
        assert (report.moved, report.failed, report.left) == (10, 10, 0)
        assert {f.reason for f in report.failures} == {"SectionNotConfiguredError"}
        assert migrate(mixed, keys, source=["one"]).failed == 10

    def test_a_false_label_is_seen(self, mixed: SecretStore, open_keys, database) -> None:
        """Rows whose column claims the target, but whose value is from elsewhere."""
        database.execute("UPDATE secrets SET section = 'two' WHERE secret_id = 'one-3'")
        database.execute("UPDATE secrets SET section = 'one' WHERE secret_id = 'two-3'")

        report = migrate(mixed, open_keys("two"))

        assert (report.moved, report.failed) == (19, 2)
        assert {f.key["secret_id"] for f in report.failures} == {"one-3", "two-3"}
        assert {f.reason for f in report.failures} == {"InvalidCiphertextError"}


class TestAliases:
    def test_values_under_an_old_name(self, open_store, open_keys, configuration, fill) -> None:
        """A section that was renamed: its values are its own, and can be named by either name."""
        store = open_store(open_keys("one"))
        fill(store, 5)
        config = configuration("renamed")
        section = config["keyManagement"].pop("one")
        config["keyManagement"]["renamed"] = {**section, "aliases": ["one"]}
        with KeyManager.open(config) as keys:
            assert migrate(store, keys).already == 5
            with pytest.raises(MigrationError):
                migrate(store, keys, source=["one"])
            report = migrate(store, keys, source=["one"], target="two", not_primary=True)
            assert report.moved == 5

    def test_a_run_is_not_shared_by_two_who_count_other_rows_as_done(
        self, open_store, open_keys, configuration, fill
    ) -> None:
        """The target's old name: to one of them its values are there, to the other they aren't."""
        store = open_store(open_keys("one"))
        fill(store, 200)
        halted = migrate(store, open_keys("two"), batch_size=50, stop=lambda: True)
        assert halted.interrupted
        for aliases, states in (
            ([], ["active"]),
            (["one"], ["finished", "abandoned"]),
        ):
            config = configuration("two")
            config["keyManagement"]["two"]["aliases"] = aliases
            if aliases:
                del config["keyManagement"]["one"]
            with KeyManager.open(config) as keys:
                migrate(store, keys, batch_size=50, stop=(lambda: True) if not aliases else None)
            assert [each.state for each in runs(store)] == states


class TestBadRows:
    def test_seven_of_a_thousand(self, store: SecretStore, open_keys, database, fill) -> None:
        """Seven rows are broken, each in its own way; 993 are moved."""
        fill(store, 1000)
        before = dict(database.execute("SELECT secret_id, secret FROM secrets"))
        broken = {
            "s00003": "secret = ''",
            "s00100": "secret = 'garbage'",
            "s00333": "secret = substr(secret, 1, 60)",
            "s00500": "kind = 'another kind'",
            "s00777": "section = 'plaintext'",
            "s00998": "secret = (SELECT o.secret FROM secrets o WHERE o.secret_id = 's00001')",
            "s00999": "section = 'none', key_id = '', version = '', secret = 'kh1:none:::AAAA'",
        }
        for secret_id, change in broken.items():
            database.execute(f"UPDATE secrets SET {change} WHERE secret_id = '{secret_id}'")
        left = dict(database.execute("SELECT secret_id, secret FROM secrets"))

        report = migrate(store, open_keys("two"), batch_size=100)

        assert (report.moved, report.failed, report.left) == (993, 7, 0)
        assert report.settled
        assert not report.complete
        assert {f.key["secret_id"] for f in report.failures} == set(broken)
        after = dict(database.execute("SELECT secret_id, secret FROM secrets"))
        assert all(after[secret_id] == left[secret_id] for secret_id in broken)
        assert sum(after[key] != before[key] for key in before) == 993 + 5
        told = json.dumps(report.to_dict())
        assert "kh1:one" not in told
        assert "garbage" not in told

    def test_the_list_is_bounded(self, store: SecretStore, open_keys, database, fill) -> None:
        fill(store, 300)
        database.execute("UPDATE secrets SET kind = 'x'")

        report = migrate(store, open_keys("two"))

        assert report.failed == 300
        assert len(report.failures) == 100

    def test_a_row_that_the_database_refuses(
        self, store: SecretStore, open_keys, database, fill, everything
    ) -> None:
        """The batch is halved until the row is found; all others are moved."""
        written = fill(store, 200)
        refuse(database, "s00077")

        report = migrate(store, open_keys("two"))

        assert (report.moved, report.failed) == (199, 1)
        # The second sweep finds nothing but the failure, and is the last one.
        assert report.settled
        assert report.sweeps == 2
        [failure] = report.failures
        assert failure.key == {"account_id": "acct_9", "secret_id": "s00077"}
        assert failure.sqlstate == ("" if database.is_sqlite else "P0001")
        assert "do not touch" not in failure.message
        assert everything(store) == written

    def test_a_trigger_that_changes_values(
        self, store: SecretStore, open_keys, database, fill, everything
    ) -> None:
        """What came back isn't what was sent: it isn't committed."""
        written = fill(store, 20)
        spoil(database, "s00007")

        report = migrate(store, open_keys("two"))

        assert (report.moved, report.failed) == (19, 1)
        assert "trigger" in report.failures[0].message
        assert everything(store) == written

    def test_names_that_need_quotes(self, database_url: str, open_keys, everything, fill) -> None:
        """Percent signs, colons and quotation marks mean something to some layer below."""
        for name in ("per%cent", "per%%cent", "col:on", 'quo"te', "a'b", "with space"):
            with SecretStore(database_url, open_keys("one"), table=name) as store:
                store.create_tables()
                written = fill(store, 3)
                report = migrate(store, open_keys("two"))
                assert (report.moved, report.complete) == (3, True), name
                assert everything(store) == written

    def test_a_column_that_is_too_short(self, postgres_url, open_keys) -> None:
        """SQLSTATE 22001, class 22."""
        with SecretStore(postgres_url, open_keys("plaintext")) as store:
            store.create_tables()
            with store.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE secrets ALTER secret TYPE varchar(200)")
            store.put(account_id="a", kind="k", value="x" * 100, secret_id="long")
            store.put(account_id="a", kind="k", value="x", secret_id="short")

            report = migrate(store, open_keys("one"))

            assert (report.moved, report.failed) == (1, 1)
            assert report.failures[0].sqlstate == "22001"


class TestDryRun:
    def test_it_does_all_but_write(self, store: SecretStore, open_keys, database, fill) -> None:
        fill(store, 250)
        database.execute("UPDATE secrets SET kind = 'x' WHERE secret_id = 's00005'")
        before = database.dump()

        report = migrate(store, open_keys("two"), dry_run=True, batch_size=100)

        assert database.dump() == before
        assert report.dry_run
        assert (report.moved, report.verified, report.failed, report.left) == (0, 249, 1, 249)
        assert report.sweeps == 1

    def test_it_counts_the_calls_to_sections(self, open_store, open_keys, fill) -> None:
        """250 values are encrypted and verified in 3 batches each; reading `plaintext` is free."""
        fill(open_store(open_keys("plaintext")), 250)
        store = open_store(open_keys("one"))

        report = migrate(store, dry_run=True, batch_size=100)

        assert {name: (c.batches, c.values) for name, c in report.calls.items()} == {
            "one": (6, 500)
        }
        assert migrate(store, batch_size=100).calls == report.calls


class TestCounts:
    def test_statements_and_calls_go_by_batch(self, store, open_keys, fill) -> None:
        """1,000 rows in batches of 100, then 3,000: so much for each batch, nothing for a row."""
        statements: list[str] = []
        sa.event.listen(
            store.engine,
            "before_cursor_execute",
            lambda c, cursor, statement, *rest: statements.append(statement),
        )
        counted = []
        fill(store, 1000)
        for rows, target in ((1000, "two"), (3000, "one")):
            if rows == 3000:
                fill(SecretStore(store.engine, open_keys("two")), rows)
            counter = Counter()
            statements.clear()

            report = migrate(store, open_keys(target, observers=[counter]), batch_size=100)

            assert report.moved == rows
            batches = rows // 100
            assert counter.calls == {"decrypt_many": batches, "encrypt_many": batches}
            counted.append(len(statements))

        # A page, and some statements to write it; what a range of four batches needs, twice.
        assert counted[1] - counted[0] <= 20 * 18
        # Besides, what a run needs to begin and to end.
        assert counted[0] <= 10 * 18 + 90

    def test_progress(self, store: SecretStore, open_keys, fill) -> None:
        fill(store, 500)
        seen: list[Progress] = []

        migrate(store, open_keys("two"), batch_size=100, on_progress=seen.append)

        assert [progress.done for progress in seen] == [100, 200, 300, 400, 500]
        assert {progress.matched for progress in seen} == {500}
        assert seen[-1].moved == 500
        assert seen[-1].rate > 0

    def test_the_report_is_json(self, store: SecretStore, open_keys, fill) -> None:
        fill(store, 5)

        told = json.loads(json.dumps(migrate(store, open_keys("two")).to_dict()))

        assert told["moved"] == 5
        assert told["settled"] is True
        assert told["matched_nothing"] is False

    def test_a_batch_has_rows(self, store: SecretStore) -> None:
        with pytest.raises(ValueError, match="at least one row"):
            migrate(store, batch_size=0)


class TestStop:
    @pytest.mark.parametrize("as_event", [True, False])
    def test_it_ends_after_the_batch_and_goes_on_later(
        self, store: SecretStore, open_keys, fill, everything, as_event: bool
    ) -> None:
        written = fill(store, 500)
        stop = threading.Event()
        keys = open_keys("two")

        report = migrate(
            store,
            keys,
            batch_size=100,
            on_progress=lambda progress: stop.set() if progress.done >= 200 else None,
            stop=stop if as_event else stop.is_set,
        )

        assert report.interrupted
        assert not report.settled
        assert (report.moved, report.left) == (200, 300)
        assert everything(store) == written
        report = migrate(store, keys)
        assert (report.matched, report.moved, report.already) == (300, 300, 200)
        assert everything(store) == written


class TestRewrap:
    @pytest.fixture
    def rotate(self, tmp_path) -> Callable[[], None]:
        def rotate() -> None:
            keyfile.rotate(tmp_path / "one.key", activate=True)

        return rotate

    def test_a_rotation_that_the_keys_have_not_noticed_yet(
        self, store: SecretStore, rotate, fill
    ) -> None:
        """They look at their file once a second; nobody may be told that nothing is to do."""
        fill(store, 20)
        rotate()

        report = rewrap(store)

        assert (report.moved, report.complete) == (20, True)
        assert report.target_key is not None
        assert report.target_key.version.startswith("2.")

    def test_to_the_newest_version(
        self, store: SecretStore, open_keys, rotate, fill, everything
    ) -> None:
        written = fill(store, 300)
        rotate()
        keys = open_keys("one")
        store.put(account_id="new", kind="k", value="v", secret_id="s")

        report: MigrationReport = rewrap(SecretStore(store.engine, keys), batch_size=100)

        current: KeyRef = keys.current_key()
        assert report.operation == "rewrap"
        assert report.target_key == current
        # The first KeyManager may not have read the file again when it wrote the last value.
        assert (report.moved, report.already) in [(300, 1), (301, 0)]
        assert report.complete
        assert {info.version for info in store.list()} == {current.version}
        again = everything(SecretStore(store.engine, keys))
        again.pop(("new", "s"))
        assert again == written
        assert rewrap(store, keys).matched == 0

    def test_a_rotation_under_way_can_be_tried_again(
        self, store: SecretStore, open_keys, rotate, fill, everything
    ) -> None:
        """It stops as temporary; the same call then brings every row to the newest version."""
        written = fill(store, 30)
        rotate()
        keys = open_keys("one")

        def rotate_again(_: Progress) -> None:
            rotate()
            with open_keys("one") as other:  # a version that isn't known is looked for at once
                assert keys.decrypt(other.encrypt(b"x", context={}), context={}) == b"x"

        with pytest.raises(MigrationStoppedError) as raised:
            rewrap(store, keys, batch_size=10, on_progress=rotate_again, workers_in_flight=1)

        assert raised.value.retryable
        assert rewrap(store, keys).complete
        assert everything(store) == written
        assert {info.version for info in store.list()} == {keys.current_key().version}

    def test_only_its_own_section(self, open_store, open_keys, rotate) -> None:
        for name in ("one", "two"):
            open_store(open_keys(name)).put(account_id="a", kind="k", value=name, secret_id=name)
        rotate()
        keys = open_keys("two")

        report = rewrap(open_store(keys), section="one")

        assert (report.matched, report.moved, report.already) == (1, 1, 0)
        report = rewrap(open_store(keys))
        assert (report.matched, report.already, report.matched_nothing) == (0, 1, False)

    def test_a_section_without_versions(self, store: SecretStore, open_keys) -> None:
        with pytest.raises(MigrationError, match="no versions"):
            rewrap(store, open_keys("plaintext"))

    def test_an_unknown_section(self, store: SecretStore, open_keys) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'one'"):
            rewrap(store, open_keys("one"), section="onne")


class Counter:
    """Counts the calls to a KeyManager by name."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    @hookimpl(wrapper=True)
    def keyhinge_operation(self, operation: Operation) -> Generator[None, Result, Result]:
        self.calls[operation.name] = self.calls.get(operation.name, 0) + 1
        return (yield)


def refuse(database, secret_id: str) -> None:
    """Make a trigger that refuses changes of one row."""
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON secrets "
            f"WHEN old.secret_id = '{secret_id}' BEGIN SELECT RAISE(ABORT, 'do not touch'); END"
        )
        return
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'do not touch'; END $$"
    )
    database.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON secrets FOR EACH ROW "
        f"WHEN (old.secret_id = '{secret_id}') EXECUTE FUNCTION refuse()"
    )


def spoil(database, secret_id: str) -> None:
    """Make a trigger that changes what is written into one row."""
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER spoil AFTER UPDATE OF secret ON secrets "
            f"WHEN old.secret_id = '{secret_id}' BEGIN "
            "UPDATE secrets SET secret = substr(new.secret, 1, 40) "
            "WHERE account_id = new.account_id AND secret_id = new.secret_id; END"
        )
        return
    database.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN new.secret = substr(new.secret, 1, 40); RETURN new; END $$"
    )
    database.execute(
        "CREATE TRIGGER spoil BEFORE UPDATE ON secrets FOR EACH ROW "
        f"WHEN (old.secret_id = '{secret_id}') EXECUTE FUNCTION spoil()"
    )
