"""Values under data keys: into `envelope`, out of it, within it, and under other data keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store._retiring import ENCODINGS, Place, Stored

from keyhinge import EncryptedValue, KeyManager, Section, hookimpl
from keyhinge.testing import FakeService
from keyhinge.testing._fake import FakeModule, FakeProvider, FakeSettings
from keyhinge_store import (
    KeyCalls,
    MappedColumn,
    MigrationError,
    MigrationReport,
    MigrationStoppedError,
    NewSecret,
    Progress,
    SecretStore,
    TableMapping,
    Tables,
    add_fence,
    can_retire,
    migrate,
    rewrap,
    run,
    runs,
    status,
    verify,
)

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)
Open = Callable[..., KeyManager]
ROWS = 25


@pytest.fixture
def services() -> dict[str, FakeService]:
    """Two key services in memory; they count what they are asked."""
    return {"kms": FakeService(), "other": FakeService()}


@pytest.fixture
def open_over(services: Mapping[str, FakeService]) -> Iterator[Open]:
    """Opens `envelope` over `kms`, beside both services: `open_over("kms")` encrypts with that."""
    opened: list[KeyManager] = []

    def make(primary: str = "envelope", renamed: str | None = None, **settings: Any) -> KeyManager:
        sections: dict[str, Any] = {name: {"type": "fake", "service": name} for name in services}
        sections |= {"envelope": {"over": "kms", **settings}, "aws": {"service": "kms"}}
        if renamed is not None:
            block = {"type": "envelope", "aliases": ["envelope"]}
            sections[renamed] = {**block, **sections.pop("envelope")}
        config = {"keyManagement": {"provider": primary, "plaintext": {}, **sections}}
        module = FakeModule(services)
        opened.append(KeyManager.open(config, providers={"fake": module, "aws": module}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


def fill(place: Place, stored: Stored, count: int = ROWS) -> None:
    for number in range(count):
        place.put(stored, number, f"PLAIN-{number}")


def values_in(place: Place, stored: Stored) -> list[EncryptedValue]:
    return [item.value for item in items_in(place, stored)]


def items_in(place: Place, stored: Stored) -> list[Any]:
    layout = stored.layout
    return [layout.read([row[name] for name in layout.columns]) for row in place.rows()]


def data_keys(place: Place, stored: Stored) -> list[str]:
    return [stored.keys.data_key_of(value) for value in values_in(place, stored)]


def plaintexts(place: Place, stored: Stored) -> list[bytes]:
    return [out.value for out in stored.keys.decrypt_many(items_in(place, stored))]


def stopped_early() -> dict[str, Any]:
    """Options that stop a migration after its first batch or two."""
    seen: list[Any] = []
    return {"on_progress": seen.append, "stop": lambda: bool(seen)}


def expected(count: int = ROWS) -> list[bytes]:
    # Text keys have another order.
    return sorted(b"PLAIN-%d" % number for number in range(count))


@every_encoding
def test_new_data_keys(database, open_over: Open, encoding: str) -> None:
    """Each value is encrypted anew, under one data key that no value was under before."""
    place = Place(database, encoding)
    keys = open_over()
    stored = place.open(keys)
    fill(place, stored)
    [old] = set(data_keys(place, stored))

    report = rewrap(stored, new_data_keys=True, batch_size=10)
    assert (report.operation, report.moved, report.matched) == ("new-data-keys", ROWS, ROWS)
    assert (report.complete, report.left, report.failed, report.already) == (True, 0, 0, 0)
    assert report.sweeps == 2
    [new] = set(data_keys(place, stored))
    assert new != old
    # Not what the process that asked for it encrypts with, either.
    assert keys.data_key_of(keys.encrypt(b"x", context={})) == old
    assert sorted(plaintexts(place, place.open(open_over()))) == expected()

    # When it is over, it is over: another run moves everything once more.
    assert rewrap(stored, new_data_keys=True).moved == ROWS
    assert set(data_keys(place, stored)).isdisjoint({old, new})
    # And an ordinary one has nothing to do.
    assert rewrap(stored).moved == 0


def test_it_goes_on_where_it_was_stopped(database, open_over: Open) -> None:
    """What a run has moved stays as it is, also for another process that goes on with it."""
    place = Place(database, "text")
    fill(place, place.open(open_over()), 50)
    first = rewrap(place.open(open_over()), new_data_keys=True, batch_size=10, **stopped_early())
    assert first.interrupted
    assert 0 < first.moved < 50
    assert (first.matched, first.left) == (50, 50 - first.moved)
    stored = place.open(open_over())
    before = values_in(place, stored)
    last = rewrap(stored, new_data_keys=True, batch_size=10)
    assert last.run_id == first.run_id
    assert (last.moved, last.already, last.left) == (50 - first.moved, first.moved, 0)
    assert last.complete
    assert run(stored, last.run_id or 0).moved == 50
    assert f"goes on with run {first.run_id}" in last.warnings[-1]
    after = values_in(place, stored)
    same = sum(one == two for one, two in zip(before, after, strict=True))
    assert same == first.moved
    assert verify(stored).ok


def test_it_ends_while_applications_write(database, open_over: Open) -> None:
    """They write under data keys of their own; what is older than the run is gone all the same."""
    place = Place(database, "text")
    app = place.open(open_over())
    fill(place, app)
    [old] = set(data_keys(place, app))
    before = {row["secret"] for row in place.rows()}
    # What the application writes meanwhile, and what it wrote so, is under its data key.
    written: set[str] = set()

    def write(_: Any) -> None:
        place.put(app, len(written) % ROWS, "PLAIN-new")
        written.add(place.rows()[len(written) % ROWS]["secret"])

    report = rewrap(place.open(open_over()), new_data_keys=True, batch_size=10, on_progress=write)
    assert (report.complete, report.sweeps) == (True, 2)
    assert report.moved > ROWS
    rows = place.rows()
    assert not before & {row["secret"] for row in rows}
    left = [row for row, name in zip(rows, data_keys(place, app), strict=True) if name == old]
    assert left
    assert written.issuperset(row["secret"] for row in left)


class Locking:
    """An application that locks a row in each sweep, each time in a transaction of its own."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._sweep = 0
        self._held: sa.Connection | None = None

    def progress(self, progress: Progress) -> None:
        if progress.sweep != self._sweep:
            self._sweep = progress.sweep
            self._held = self._stored.engine.connect()
            self._held.exec_driver_sql("SELECT 1 FROM tokens WHERE id = 24 FOR UPDATE")

    def stop(self) -> bool:
        # The sweep is over, and the next one hasn't begun.
        if self._held is not None and runs(self._stored)[0].sweep != self._sweep:
            self.close()
        return False

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


@only_postgresql
def test_a_row_that_is_locked_is_not_forgotten(database, open_over: Open) -> None:
    """As long as one is, it isn't finished, though nothing else is older than the run."""
    place = Place(database, "text")
    stored = place.open(open_over())
    fill(place, stored)
    locking = Locking(stored)
    try:
        report = rewrap(
            stored,
            new_data_keys=True,
            batch_size=10,
            max_sweeps=3,
            on_progress=locking.progress,
            stop=locking.stop,
        )
    finally:
        locking.close()
    assert (report.complete, report.unsettled, report.left) == (False, True, 1)
    assert (report.moved, report.busy, report.sweeps) == (ROWS - 1, 3, 3)


def test_sections_without_data_keys(database, open_over: Open) -> None:
    """There is nothing to replace, and it says which section has some."""
    place = Place(database, "text")
    stored = place.open(open_over())
    for section in ("kms", "plaintext"):
        with pytest.raises(MigrationError, match=r"makes no data keys.*These do: envelope"):
            rewrap(stored, section=section, new_data_keys=True)
    with pytest.raises(MigrationError, match="retry_failed"):
        rewrap(stored, new_data_keys=True, retry_failed=True)
    assert runs(stored) == []


def test_a_provider_that_keeps_its_data_keys_is_found_out(
    database, services: Mapping[str, FakeService]
) -> None:
    """It may say that nothing is under an old data key only if that is so."""

    class Keeping(FakeProvider):
        @hookimpl
        def keyhinge_data_key(self, value: EncryptedValue) -> str:
            return "always the same"

    class Module(FakeModule):
        @hookimpl
        def keyhinge_configure(self, settings: FakeSettings, section: Section) -> Keeping:
            return Keeping(services[settings.service])

    config = {"keyManagement": {"provider": "fake", "fake": {"service": "kms"}}}
    with KeyManager.open(config, providers={"fake": Module(services)}) as keys:
        place = Place(database, "text")
        stored = place.open(keys)
        fill(place, stored, 3)
        before = place.rows()
        with pytest.raises(MigrationStoppedError, match="the same data key as before"):
            rewrap(stored, new_data_keys=True)
        assert place.rows() == before


def test_rows_of_other_sections_stay(database, open_over: Open) -> None:
    place = Place(database, "text")
    place.put(place.open(open_over("kms")), 1, "x")
    stored = place.open(open_over())
    place.put(stored, 2, "y")
    [other, _] = place.rows()
    report = rewrap(stored, new_data_keys=True)
    assert (report.moved, report.rows) == (1, 2)
    assert place.rows()[0] == other


def test_a_row_that_does_not_open_fails_alone(database, open_over: Open) -> None:
    """It is named, and left as it is: moved from another row, or no value at all."""
    place = Place(database, "text")
    stored = place.open(open_over())
    fill(place, stored, 4)
    rows = place.rows()
    place.save({**rows[1], "secret": rows[0]["secret"]})
    place.save({**rows[2], "secret": rows[2]["secret"][:40]})
    report = rewrap(stored, new_data_keys=True)
    assert (report.moved, report.failed, report.left, report.settled) == (2, 2, 0, True)
    assert {failure.reason for failure in report.failures} == {"InvalidCiphertextError"}


def test_dry_run(database, open_over: Open) -> None:
    """Nothing is written, and nothing is kept."""
    place = Place(database, "text")
    stored = place.open(open_over())
    fill(place, stored)
    before = place.rows()
    report = rewrap(stored, new_data_keys=True, dry_run=True)
    assert (report.verified, report.left, report.moved, report.run) == (ROWS, ROWS, 0, None)
    assert place.rows() == before
    assert runs(stored) == []


def test_its_data_keys_are_forgotten_when_it_is_over(database, open_over: Open) -> None:
    place = Place(database, "own")
    stored = place.open(open_over(partitionBy=["secret_id"]))
    fill(place, stored)
    rewrap(stored, new_data_keys=True, batch_size=10, **stopped_early())
    [(first,)] = database.execute("SELECT count(*) FROM keyhinge_data_key")
    assert 10 <= first <= 20
    report = rewrap(stored, new_data_keys=True, batch_size=10)
    assert report.complete
    assert len(set(data_keys(place, stored))) == ROWS
    assert database.execute("SELECT count(*) FROM keyhinge_data_key") == [(0,)]
    found = run(stored, report.run_id or 0)
    assert (found.operation, found.moved, found.target_key) == ("new-data-keys", ROWS, None)


def test_another_kind_of_run_is_not_joined(database, open_over: Open) -> None:
    """An ordinary rewrap in between begins its own, and new data keys begin anew."""
    place = Place(database, "text")
    stored = place.open(open_over())
    fill(place, stored)
    first = rewrap(stored, new_data_keys=True, batch_size=10, **stopped_early())
    assert first.interrupted
    assert rewrap(stored).moved == 0
    assert run(stored, first.run_id or 0).state == "abandoned"
    assert rewrap(stored, new_data_keys=True).moved == ROWS


class Counted:
    """What key services were asked while something ran, and what was reported of it."""

    def __init__(self, services: Mapping[str, FakeService]) -> None:
        self._services = services
        for each in services.values():
            each.calls.clear()

    def asked(self, name: str) -> dict[str, int]:
        """Calls by operation; of one value or of many alike."""
        found: dict[str, int] = {}
        for call, number in self._services[name].calls.items():
            operation = call.removesuffix("_many")
            found[operation] = found.get(operation, 0) + number
        return found

    def check(self, report: MigrationReport) -> None:
        """What was reported is what was asked."""
        told = {name: calls.batches for name, calls in report.calls.items()}
        assert told == {
            name: sum(each.calls.values()) for name, each in self._services.items() if each.calls
        }


@every_encoding
def test_into_it_and_out_of_it(
    database, open_over: Open, services: Mapping[str, FakeService], encoding: str
) -> None:
    """Where values are encrypted, the wrapping service is asked a few times, not once for each."""
    place = Place(database, encoding)
    fill(place, place.open(open_over("other")))

    counted = Counted(services)
    stored = place.open(open_over())
    report = migrate(stored, batch_size=10)
    assert (report.moved, report.complete) == (ROWS, True)
    # One data key: wrapped, proven to open, and opened once more by the one that verifies.
    assert counted.asked("kms") == {"encrypt": 1, "decrypt": 2}
    assert counted.asked("other") == {"decrypt": 3}
    counted.check(report)
    assert (report.calls["kms"].values, report.calls["other"].values) == (3, ROWS)
    [label] = status(stored).labels
    kms = services["kms"].current_key
    assert (label.section, label.key_id, label.version, label.values, label.stale) == (
        "envelope",
        f"kms/{kms.key_id}",
        "1",
        ROWS,
        False,
    )
    assert sorted(plaintexts(place, place.open(open_over()))) == expected()
    assert can_retire(stored, "other").grade == "none"
    assert can_retire(stored, "kms").grade == "no"

    counted = Counted(services)
    stored = place.open(open_over("other"))
    report = migrate(stored, batch_size=10)
    assert (report.moved, report.complete) == (ROWS, True)
    assert counted.asked("kms") == {"decrypt": 1}
    assert counted.asked("other") == {"encrypt": 3, "decrypt": 3}
    counted.check(report)
    assert [label.section for label in status(stored).labels] == ["other"]
    assert sorted(plaintexts(place, stored)) == expected()
    assert can_retire(stored, "kms").grade == "none"


@every_encoding
def test_rewrap_after_a_rotation(
    database, open_over: Open, services: Mapping[str, FakeService], encoding: str
) -> None:
    """Each data key is wrapped anew once, however many batches its values are in."""
    place = Place(database, encoding)
    for number in range(ROWS):
        if number % 9 == 0:  # another process: three data keys
            stored = place.open(open_over())
        place.put(stored, number, f"PLAIN-{number}")
    before = values_in(place, stored)
    names = data_keys(place, stored)
    assert len(set(names)) == 3
    services["kms"].rotate()
    stored = place.open(open_over())
    assert stored.keys.current_key().version == "2"
    assert [(label.version, label.stale) for label in status(stored).labels] == [("1", True)]
    # Whoever could open the old version may not be asked any more, when it is over.
    kms = services["kms"].current_key.key_id
    assert can_retire(stored, "kms", key=kms, version="1").grade == "no"

    counted = Counted(services)
    report = rewrap(stored, batch_size=5)
    assert (report.moved, report.complete) == (ROWS, True)
    asked = counted.asked("kms")
    assert 1 <= asked["rewrap"] <= 3
    assert report.calls["kms"].values == 4 * 3  # opened, rewrapped, proven, verified
    counted.check(report)
    assert [(label.version, label.stale) for label in status(stored).labels] == [("2", False)]
    assert can_retire(stored, "kms", key=kms, version="1").grade == "none"
    assert can_retire(stored, "kms").grade == "no"
    # The values are as they were: only what their data keys are wrapped in has changed.
    assert data_keys(place, stored) == names
    for was, now in zip(before, values_in(place, stored), strict=True):
        assert was.ciphertext[-17:] == now.ciphertext[-17:]
        assert was.version != now.version
    assert sorted(plaintexts(place, place.open(open_over()))) == expected()


@every_encoding
def test_onto_another_key_service(
    database, open_over: Open, services: Mapping[str, FakeService], encoding: str
) -> None:
    """The old one is needed until the last data key is wrapped by the new one."""
    place = Place(database, encoding)
    stored = place.open(open_over())
    assert can_retire(stored, "kms").grade == "no"  # new values need it
    fill(place, stored)
    moved_on = open_over(over="other", alsoUnwrap=["kms"])
    stored = place.open(moved_on)
    assert can_retire(stored, "kms").grade == "no"
    counted = Counted(services)
    report = rewrap(stored, batch_size=10)
    assert (report.moved, report.complete) == (ROWS, True)
    # Opened to read the values, and to be encrypted by the new one; that one proves and verifies.
    assert counted.asked("kms") == {"decrypt": 2}
    assert counted.asked("other") == {"encrypt": 1, "decrypt": 2}
    counted.check(report)
    assert can_retire(stored, "kms").grade == "none"
    [label] = status(stored).labels
    assert label.key_id == f"other/{services['other'].current_key.key_id}"
    assert add_fence(stored, "kms")
    assert can_retire(stored, "kms").grade == "fenced"
    services["kms"].lose_key()
    assert sorted(plaintexts(place, place.open(open_over(over="other")))) == expected()


@pytest.mark.parametrize("size", [300, 900])
def test_calls_do_not_grow_with_rows(
    database, open_over: Open, services: Mapping[str, FakeService], size: int
) -> None:
    """Not for new data keys either; and a dry run says how many there will be."""
    place = Place(database, "own")
    fill_many(place.open(open_over()), size)
    services["kms"].rotate()
    for new_data_keys in (False, True):
        calls = []
        for dry_run in (True, False):
            counted = Counted(services)
            stored = place.open(open_over())
            report = rewrap(stored, batch_size=100, dry_run=dry_run, new_data_keys=new_data_keys)
            assert report.verified == size
            counted.check(report)
            calls.append(report.calls["kms"])
        # The old data key is opened; one is wrapped anew, or made, and proven; one is verified.
        assert calls == [KeyCalls(4, 4)] * 2


def test_what_kms_charges(database, open_over: Open, services: Mapping[str, FakeService]) -> None:
    """For data keys, not for values."""
    place = Place(database, "own")
    fill_many(place.open(open_over("other")), 100)
    stored = place.open(open_over(over="aws"))
    report = migrate(stored, batch_size=10, dry_run=True)
    assert report.price == pytest.approx(3 * 0.03 / 10_000)
    assert rewrap(place.open(open_over("other"))).price is None


@pytest.mark.parametrize("tenants", [3, 30])
def test_partitions_have_data_keys_of_their_own(
    database, open_over: Open, services: Mapping[str, FakeService], tenants: int
) -> None:
    """Each has its own also after a migration, a rewrap and with new data keys."""
    place = Place(database, "own")
    fill_many(place.open(open_over("other")), 300, tenants)
    counted = Counted(services)
    partition_by = {"partitionBy": ["account_id"]}
    stored = place.open(open_over(**partition_by))
    report = migrate(stored, batch_size=100)
    assert report.calls["kms"].values == 3 * tenants
    assert report.calls["kms"].batches <= 3 * 3
    counted.check(report)
    before = per_tenant(place, stored, tenants)

    services["kms"].rotate()
    stored = place.open(open_over(**partition_by))
    report = rewrap(stored, batch_size=100)
    assert report.moved == 300
    assert report.calls["kms"].values == 4 * tenants
    assert per_tenant(place, stored, tenants) == before

    report = rewrap(stored, batch_size=100, new_data_keys=True)
    assert (report.moved, report.complete) == (300, True)
    # Those that were there are at hand.
    assert report.calls["kms"].values == 3 * tenants
    assert not set(per_tenant(place, stored, tenants)) & set(before)
    # Values made without partitions get them, and the other way round.
    assert rewrap(place.open(open_over()), new_data_keys=True).moved == 300
    assert len(set(data_keys(place, stored))) == 1
    assert verify(place.open(open_over())).ok


def fill_many(stored: Stored, count: int, tenants: int = 1) -> None:
    assert isinstance(stored, SecretStore)
    stored.put_many(
        NewSecret(f"acct_{number % tenants}", "k", f"PLAIN-{number}", f"s{number}")
        for number in range(count)
    )


def per_tenant(place: Place, stored: Stored, tenants: int) -> list[str]:
    """The data key of each tenant, of which it has one."""
    accounts = [row["account_id"] for row in place.rows()]
    pairs = set(zip(accounts, data_keys(place, stored), strict=True))
    assert len(pairs) == len({name for _, name in pairs}) == tenants
    return [name for _, name in sorted(pairs)]


def test_monetr_has_no_such_values(database, open_over: Open) -> None:
    """Moving there is refused before the first row; and there is never anything within."""
    database.execute("CREATE TABLE m (id integer NOT NULL PRIMARY KEY, secret text, key_id text)")
    database.execute("INSERT INTO m VALUES (1, 'PLAIN', NULL)")
    mapping = TableMapping(
        table="m",
        primary_key="id",
        encoding="monetr",
        columns={"ciphertext": "secret", "keyID": "key_id"},
    )
    column = MappedColumn(database.engine, open_over(), mapping)
    with pytest.raises(MigrationError, match="monetr"):
        migrate(column)
    for new_data_keys in (False, True):
        assert rewrap(column, new_data_keys=new_data_keys).matched_nothing
    assert database.execute("SELECT secret FROM m") == [("PLAIN",)]


def test_a_run_may_make_many_data_keys(database, open_over: Open) -> None:
    """Also where each is used up soon: what is under any of them was moved."""
    place = Place(database, "text")
    fill(place, place.open(open_over()))
    stored = place.open(open_over(maxMessages=3))
    report = rewrap(stored, new_data_keys=True, batch_size=10)
    assert (report.moved, report.complete, report.sweeps) == (ROWS, True, 2)
    assert len(set(data_keys(place, stored))) >= ROWS // 3


def test_values_under_an_earlier_name(database, open_over: Open) -> None:
    """They are the section's, and get its name."""
    place = Place(database, "text")
    fill(place, place.open(open_over()))
    stored = place.open(open_over("data", renamed="data"))
    before = set(data_keys(place, stored))
    report = rewrap(stored, new_data_keys=True)
    assert (report.moved, report.complete) == (ROWS, True)
    assert not before & set(data_keys(place, stored))
    assert {value.section for value in values_in(place, stored)} == {"data"}


def test_several_tables(database, open_over: Open) -> None:
    """Each has a run of its own; together they are one report."""
    keys = open_over()
    mappings = []
    for name in ("a", "b"):
        database.execute(f"CREATE TABLE {name} (id integer NOT NULL PRIMARY KEY, secret text)")
        mappings.append(
            TableMapping(
                table=name,
                primary_key="id",
                encoding="text",
                columns={"ciphertext": "secret"},
                context={"id": "id"},
            )
        )
    tables = Tables(database.engine, keys, mappings)
    for name in ("a", "b"):
        column = tables.column(name)
        for number in range(5):
            cells = column.encrypt(f"PLAIN-{number}", {"id": number})
            database.execute(f"INSERT INTO {name} VALUES (:id, :secret)", id=number, **cells)
    before = [row for name in ("a", "b") for row in database.execute(f"SELECT secret FROM {name}")]
    report = rewrap(tables, new_data_keys=True)
    assert (report.operation, report.moved, report.complete) == ("new-data-keys", 10, True)
    assert [each.operation for each in runs(tables)] == ["new-data-keys"] * 2
    after = [row for name in ("a", "b") for row in database.execute(f"SELECT secret FROM {name}")]
    assert not set(before) & set(after)
    assert verify(tables).ok
