"""A table as monetr has it: every step of the way, a reader after its rules reads every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from tests.integration._monetr import COUNT, MAPPING, VALUES, read_all

from keyhinge import KeyManager
from keyhinge_store import MappedColumn, migrate, rewrap, status, verify

if TYPE_CHECKING:
    from tests.vault._openbao import Bao

Settings = dict[str, Any]


def test_the_whole_way(monetr: sa.Engine, monetr_keys, monetr_rules) -> None:
    """plaintext → vault → aws → plaintext, and each time again, which finds nothing to do."""
    column = MappedColumn(monetr, monetr_keys("plaintext"), MAPPING)
    assert read_all(monetr, monetr_rules("plaintext")) == VALUES

    for target in ("vault", "aws", "plaintext"):
        keys = monetr_keys(target)
        report = migrate(column, keys, allow_plaintext=True, batch_size=25)
        assert (report.moved, report.failed, report.complete) == (COUNT, 0, True)
        assert read_all(monetr, monetr_rules(target)) == VALUES
        assert (verify(column, keys).opened, verify(column, keys).failed) == (COUNT, 0)
        assert {(each.section, each.values) for each in status(column, keys).labels} == {
            (target, COUNT)
        }
        again = migrate(column, keys, allow_plaintext=True)
        assert (again.matched, again.already, again.complete) == (0, COUNT, True)

    with monetr.connect() as connection:
        rows = connection.execute(sa.text("SELECT DISTINCT updated_at FROM secrets")).all()
        other = connection.execute(sa.text("SELECT secret FROM secrets WHERE kind = 'other'"))
        assert other.scalars().all() == ["untouched"]
    assert rows == [("then",)]


def test_the_application_reads_and_writes(monetr: sa.Engine, monetr_keys, monetr_rules) -> None:
    """What our helper writes monetr reads, and the other way round."""
    for target in ("plaintext", "vault", "aws"):
        column = MappedColumn(monetr, monetr_keys(target), MAPPING)
        cells = column.encrypt("a tökén", {}, allow_downgrade=target == "plaintext")
        assert (
            monetr_rules(target).read(cells["secret"], cells["key_id"], cells["version"])
            == "a tökén"
        )
        assert column.decrypt(cells) == "a tökén".encode()


def test_between_two_sections_of_transit(monetr: sa.Engine, monetr_keys, monetr_rules) -> None:
    """No row says which of them it is of: they are tried, and each is moved once."""
    column = MappedColumn(monetr, monetr_keys("plaintext"), MAPPING)
    migrate(column, monetr_keys("vault"))
    keys = monetr_keys("vault-two", without=())

    report = migrate(column, keys, source=["vault"], max_sweeps=3)
    assert (report.moved, report.failed) == (COUNT, 0)
    assert read_all(monetr, monetr_rules("vault")) == VALUES
    assert verify(column, keys).opened == COUNT
    again = migrate(column, keys, source=["vault"], max_sweeps=3)
    assert (again.moved, again.failed, again.complete) == (0, 0, True)
    assert verify(column, monetr_keys("vault")).failed == COUNT


def test_rewrap(monetr: sa.Engine, monetr_keys, monetr_rules, bao: Bao, monetr_sections) -> None:
    column = MappedColumn(monetr, monetr_keys("plaintext"), MAPPING)
    migrate(column, monetr_keys("vault"))
    bao.api("POST", f"transit/keys/{monetr_sections['vault']['keyID']}/rotate")

    report = rewrap(column, monetr_keys("vault"))

    assert (report.moved, report.complete) == (COUNT, True)
    with monetr.connect() as connection:
        texts = connection.execute(sa.text("SELECT secret FROM secrets WHERE kind = 'plaid'"))
        assert all(text.startswith("vault:v2:") for text in texts.scalars())
    assert read_all(monetr, monetr_rules("vault")) == VALUES
    assert rewrap(column, monetr_keys("vault")).matched == 0


def test_what_monetr_has_no_shape_for(monetr: sa.Engine, local_section: Settings) -> None:
    config = {"keyManagement": {"provider": "local", "plaintext": {}, "local": local_section}}
    with KeyManager.open(config, environ={}) as keys:
        column = MappedColumn(monetr, keys, MAPPING)
        with pytest.raises(Exception, match="monetr's table can't hold"):
            migrate(column)


def test_binary_plaintext_stays(monetr: sa.Engine, monetr_keys, bao: Bao, monetr_sections) -> None:
    """What isn't text can't go back to a column of text; that row fails, the others go."""
    column = MappedColumn(monetr, monetr_keys("plaintext"), MAPPING)
    keys = monetr_keys("vault")
    migrate(column, keys)
    key = monetr_sections["vault"]["keyID"]
    answer = bao.api("POST", f"transit/encrypt/{key}", {"plaintext": "/w=="})
    change = sa.text("UPDATE secrets SET secret = :text WHERE secret_id = 's001'")
    with monetr.begin() as connection:
        connection.execute(change, {"text": answer["data"]["ciphertext"]})

    report = migrate(column, monetr_keys("plaintext"), allow_plaintext=True)

    assert (report.moved, report.failed) == (COUNT - 1, 1)
    assert report.failures[0].key == {"secret_id": "s001", "account_id": "acct"}
