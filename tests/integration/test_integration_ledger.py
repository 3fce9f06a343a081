"""Rows of monetr's that may be of two sections: the ledger tells, without asking both servers.

The two are two mounts of one OpenBao, with keys of the same name, so that nothing in a row differs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from tests.integration._monetr import COUNT, MAPPING, VALUES

from keyhinge import KeyManager
from keyhinge_store import MappedColumn, migrate, samples, status, verify

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay
    from tests.vault._openbao._relay import Seen

HALF = COUNT // 2


class Mounts:
    """Two mounts behind a relay, and how many values each was asked about."""

    def __init__(self, bao: Bao, relay: Relay) -> None:
        self.relay = relay
        self.one, self.two = bao.mount(), bao.mount()
        self.key = bao.key(mount=self.one)
        bao.key(self.key, mount=self.two)
        rights = [bao.transit_policy(self.key, mount=each) for each in (self.one, self.two)]
        shared = {
            "type": "vault",
            "endpoint": relay.url,
            "keyID": self.key,
            "token": bao.token(rights),
        }
        self.sections = {
            "plaintext": {},
            "one": {**shared, "mount": self.one},
            "two": {**shared, "mount": self.two},
        }

    def asked(self) -> tuple[int, int]:
        """Count the values that each mount was asked to decrypt since the last time."""
        found = [0, 0]
        for seen in self.relay.seen:
            for number, mount in enumerate((self.one, self.two)):
                # Not the two values with which a provider tries out what its key can do.
                if seen.path.startswith(f"/v1/{mount}/decrypt/") and len(_batch(seen)) != 2:
                    found[number] += len(_batch(seen)) or 1
        self.relay.seen.clear()
        return found[0], found[1]


def _batch(seen: Seen) -> list[Any]:
    batch: list[Any] = seen.json.get("batch_input", [])
    return batch


@pytest.fixture
def mounts(bao: Bao) -> Iterator[Mounts]:
    from tests.vault._openbao import Relay

    relay = Relay(bao.url)
    yield Mounts(bao, relay)
    relay.close()


@pytest.fixture
def open_keys(mounts: Mounts) -> Iterator[Callable[[str], KeyManager]]:
    opened: list[KeyManager] = []

    def make(primary: str) -> KeyManager:
        config = {"keyManagement": {"provider": primary, **mounts.sections}}
        opened.append(KeyManager.open(config, environ={}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


@pytest.fixture
def halved(monetr: sa.Engine, mounts: Mounts, open_keys) -> MappedColumn:
    """Half of the rows are of section `one`, the others of `two`."""
    column = MappedColumn(monetr, open_keys("two"), MAPPING)
    migrate(column, open_keys("one"))
    stop = threading.Event()
    report = migrate(
        column,
        source=["one"],
        batch_size=HALF,
        on_progress=lambda progress: stop.set() if progress.done >= HALF else None,
        stop=stop,
    )
    assert (report.interrupted, report.moved) == (True, HALF)
    mounts.relay.seen.clear()
    return column


def labels(column: MappedColumn) -> set[tuple[str, int]]:
    return {(each.section, each.values) for each in status(column).labels}


def change(column: MappedColumn, statement: str, **values: object) -> None:
    with column.engine.begin() as connection:
        connection.execute(sa.text(statement), values)


def test_verify_and_status_ask_nobody_twice(halved: MappedColumn, mounts: Mounts) -> None:
    assert verify(halved).opened == COUNT
    assert mounts.asked() == (HALF, HALF)
    report = status(halved)
    assert {(each.section, each.values, each.stale) for each in report.labels} == {
        ("one", HALF, True),
        ("two", HALF, False),
    }
    assert (report.not_configured, report.stale) == (0, HALF)
    assert mounts.asked() == (0, 0)


def test_check_opens_one_of_them(halved: MappedColumn) -> None:
    for sections in (None, ["one"], ["two"]):
        [sample] = samples(halved, sections=sections).samples
        assert (sample.values, sample.configured, sample.ok) == (COUNT, True, True)
    assert not samples(halved, sections=["plaintext"]).samples


def test_a_migration_leaves_alone_what_is_there(halved: MappedColumn, mounts: Mounts) -> None:
    report = migrate(halved, source=["one"])
    assert (report.moved, report.failed, report.complete) == (HALF, 0, True)
    # Each of them once to read it, once to prove the new value; the others not at all.
    assert mounts.asked() == (HALF, HALF)
    again = migrate(halved, source=["one"])
    assert (again.moved, again.failed, again.complete) == (0, 0, True)
    assert mounts.asked() == (0, 0)
    assert labels(halved) == {("two", COUNT)}


def test_without_an_entry_they_are_tried(halved: MappedColumn, mounts: Mounts) -> None:
    change(halved, "DELETE FROM keyhinge_ledger")
    assert verify(halved).opened == COUNT
    first, second = mounts.asked()
    assert first + second == COUNT + HALF
    [label] = status(halved).labels
    assert set(label.section.split(" or ")) == {"one", "two"}
    assert (label.values, label.configured, label.stale) == (COUNT, True, None)
    assert migrate(halved, source=["one"]).moved == HALF


MANIPULATED = {
    "digest": "UPDATE keyhinge_ledger SET digest = :digest",
    "of another row": "UPDATE keyhinge_ledger SET digest = (SELECT max(digest) FROM keyhinge_ledger"
    " AS other) WHERE digest <> (SELECT max(digest) FROM keyhinge_ledger AS other)",
    "unknown section": "UPDATE keyhinge_ledger SET section = 'nowhere'",
    "section of another kind": "UPDATE keyhinge_ledger SET section = 'plaintext'",
    "key": "UPDATE keyhinge_ledger SET key_id = 'other'",
    "version": "UPDATE keyhinge_ledger SET version = '7'",
}


@pytest.mark.parametrize("statement", MANIPULATED.values(), ids=MANIPULATED)
def test_a_manipulated_entry_is_not_believed(
    halved: MappedColumn, mounts: Mounts, statement: str, monetr_rules
) -> None:
    values = {"digest": "0" * 64} if ":digest" in statement else {}
    change(halved, statement, **values)
    left = 1 if "other)" in statement else 0  # the one that was copied
    assert sum(number for name, number in labels(halved) if " or " in name) == COUNT - left
    assert verify(halved).opened == COUNT
    report = migrate(halved, source=["one"])
    assert (report.moved, report.failed) == (HALF, 0)
    # The second mount alone opens everything now.
    for row in _rows(halved):
        assert halved.decrypt(row) in {value.encode() for value in VALUES}
    assert HALF <= dict(labels(halved))["two"] <= HALF + left


def test_a_wrong_section_with_the_right_digest(halved: MappedColumn) -> None:
    """Nothing that opens is called unreadable for it."""
    change(
        halved,
        "UPDATE keyhinge_ledger SET section = CASE section WHEN 'one' THEN 'two' ELSE 'one' END",
    )
    assert verify(halved).opened == COUNT


def test_a_value_that_the_application_has_written(halved: MappedColumn, open_keys) -> None:
    """Its entry is about an earlier value, so it is tried; the others aren't."""
    row = _rows(halved)[-1]
    cells = MappedColumn(halved.engine, open_keys("one"), MAPPING).encrypt("new", {})
    change(
        halved,
        "UPDATE secrets SET secret = :secret WHERE secret_id = :secret_id",
        secret=cells["secret"],
        secret_id=row["secret_id"],
    )
    found = dict(labels(halved))
    assert sum(found.values()) == COUNT
    assert sum(number for name, number in found.items() if " or " in name) == 1
    assert migrate(halved, source=["one"]).failed == 0
    assert labels(halved) == {("two", COUNT)}
    assert halved.decrypt(_rows(halved)[-1]) == b"new"


def _rows(column: MappedColumn) -> list[dict[str, Any]]:
    wanted = sa.text("SELECT * FROM secrets WHERE kind = 'plaid' ORDER BY secret_id")
    with column.engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(wanted)]
