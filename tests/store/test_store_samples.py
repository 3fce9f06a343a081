"""`samples` opens one value for each label, with few statements and few decryptions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from keyhinge import (
    InvalidCiphertextError,
    Outcome,
    SectionNotConfiguredError,
    UnavailableError,
)
from keyhinge_local import keyfile
from keyhinge_store import (
    DatabaseMissingError,
    NewSecret,
    SecretStore,
    TableMissingError,
    samples,
)


@pytest.fixture
def statements(store):
    """The statements that the store's engine runs from now on."""
    seen: list[str] = []

    def note(connection, cursor, statement, parameters, context, many):
        seen.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(store.engine, "before_cursor_execute", note)


def counting(keys):
    """Counts the values that a KeyManager decrypts."""
    decrypt = keys.decrypt_many
    seen: list[str] = []

    def counted(items):
        seen.extend(item.value.section for item in items)
        return decrypt(items)

    keys.decrypt_many = counted
    return seen


def test_nothing_stored(store: SecretStore) -> None:
    report = samples(store)

    assert (report.tables, report.values, report.samples) == (("secrets",), 0, ())
    assert report.complete
    assert report.ok


def test_one_value_for_each_label(open_store, open_keys, tmp_path) -> None:
    """Two sections, two versions of one of them; every other value stays closed."""
    for name, count in (("two", 3), ("one", 4)):
        store = open_store(open_keys(name))
        store.put_many(NewSecret(f"a{n}", "k", "v", f"{name}-{n}") for n in range(count))
    keyfile.rotate(tmp_path / "one.key", activate=True)
    store = open_store(open_keys("one"))
    store.put_many(NewSecret(f"a{n}", "k", "v", f"new-{n}") for n in range(5))
    decrypted = counting(store.keys)

    report = samples(store)

    assert decrypted == ["one", "one", "two"]
    assert report.values == 12
    assert report.complete
    assert report.ok
    assert sorted((each.section, each.values) for each in report.samples) == [
        ("one", 4),
        ("one", 5),
        ("two", 3),
    ]
    assert len({(each.section, each.key_id, each.version) for each in report.samples}) == 3
    assert {each.key["account_id"] for each in report.samples} == {"a0"}
    assert [each.key["secret_id"] for each in report.samples if each.section == "two"] == ["two-0"]


def test_one_statement_for_each_label_and_one_more(store, statements, fill) -> None:
    fill(store, 500)
    statements.clear()

    samples(store)

    reading = [each for each in statements if "FROM secrets" in each or "looked" in each]
    assert len(reading) == 2
    assert "GROUP BY" in reading[0]
    assert "account_id =" in reading[1]


def test_only_some_sections(open_store, open_keys) -> None:
    for name in ("two", "one"):
        open_store(open_keys(name)).put(account_id="a", kind="k", value="v")
    store = open_store(open_keys("one"))

    assert [each.section for each in samples(store, sections=["two"]).samples] == ["two"]
    assert samples(store, sections=["plaintext"]).samples == ()


def test_a_section_that_is_not_configured(store, open_keys, fill) -> None:
    fill(store, 3)
    keys = open_keys("two", without=("one",))

    [sample] = samples(store, keys).samples

    assert not sample.configured
    assert isinstance(sample.error, SectionNotConfiguredError)
    assert "aliases" in str(sample.error)
    assert samples(store, keys, sections=["two"]).samples == ()


def test_a_damaged_value(store, database, fill) -> None:
    fill(store, 1)
    database.execute("UPDATE secrets SET kind = 'other'")

    report = samples(store)

    assert not report.ok
    [sample] = report.samples
    assert isinstance(sample.error, InvalidCiphertextError)
    assert "PLAIN" not in repr(report)
    assert database.execute("SELECT secret FROM secrets")[0][0] not in repr(report)


@pytest.mark.parametrize("column", ["secret", "version"])
def test_a_row_whose_value_and_labels_differ(column, store, database, fill) -> None:
    fill(store, 2)
    database.execute(f"UPDATE secrets SET {column} = '7' WHERE secret_id = 's00000'")
    [wrong] = [each for each in samples(store).samples if not each.ok]

    assert isinstance(wrong.error, InvalidCiphertextError)
    assert wrong.key["secret_id"] == "s00000"


def test_a_section_that_is_down_is_asked_once(store, open_store, open_keys, fill, tmp_path) -> None:
    fill(store, 1)
    keyfile.rotate(tmp_path / "one.key", activate=True)
    open_store(open_keys("one")).put(account_id="b", kind="k", value="v")
    keys = open_keys("one")
    asked: list[str] = []

    def down(items):
        asked.extend(item.value.section for item in items)
        return [Outcome(error=UnavailableError("sealed", section="one")) for _ in items]

    keys.decrypt_many = down
    report = samples(store, keys)

    assert [str(each.error) for each in report.samples] == ["one: sealed"] * 2
    assert asked == ["one"]


def test_what_is_looked_at_is_bounded(open_store, open_keys, tmp_path) -> None:
    for _ in range(3):
        store = open_store(open_keys("one"))
        store.put_many(NewSecret("a", "k", "v") for _ in range(4))
        keyfile.rotate(tmp_path / "one.key", activate=True)

    some = samples(store, max_rows=6)
    few = samples(store, max_labels=2)

    assert (some.values, some.complete) == (6, False)
    assert (len(few.samples), few.complete) == (2, False)
    assert samples(store, max_labels=3).complete


def test_nothing_is_made(open_keys, sqlite_url, tmp_path) -> None:
    store = SecretStore(sqlite_url, open_keys("one"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DatabaseMissingError):
        samples(store)
    assert sorted(tmp_path.iterdir()) == before
    store.close()


def test_a_missing_table(open_keys, database_url, database) -> None:
    database.execute("CREATE TABLE other (id integer)")
    with SecretStore(database_url, open_keys("one")) as store, pytest.raises(TableMissingError):
        samples(store)


def test_labels_of_sqlite_that_are_not_text(open_keys, sqlite_url) -> None:
    with SecretStore(sqlite_url, open_keys("one")) as store:
        store.create_tables()
        store.put(account_id="a", kind="k", value="v")
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE secrets SET section = x'ff00'")
        [sample] = samples(store).samples
    assert sample.section == "(bytes, not text)"
    assert not sample.ok
