"""A thousand rows, seven of them corrupt: what the command line does, says and exits with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, open_store

TWO = "  local: {keyFile: keyhinge.key}\n  second: {type: local, keyFile: second.key}\n"
ROWS = 1000
# What a row becomes, in SQL; each of another kind, spread over the table.
CORRUPT = {
    "s0000": "secret = substr(secret, 1, length(secret) - 8)",
    "s0123": "secret = 'garbage'",
    "s0124": "secret = ''",
    "s0500": "kind = 'stolen'",
    "s0777": "secret = (SELECT secret FROM secrets WHERE secret_id = 's0001')",
    "s0998": "section = 'nowhere', secret = replace(secret, ':second:', ':nowhere:')",
    "s0999": "key_id = 'xaes:00000000', secret = replace(secret, 'xaes:', 'xaes:0')",
}
Change = Callable[..., list[Any]]


@pytest.fixture
def execute(database_url: str, project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    """A table under `second`, seven rows of it corrupt; `local` is the primary."""
    keyfile.init(project.folder / "second.key")
    project.sections("second", TWO, f"store:\n  url: {database_url}\n")
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        store.create_tables()
        store.put_many(NewSecret(f"a{n % 7}", "k", f"hunter2-{n}", f"s{n:04}") for n in range(ROWS))
    engine = sa.create_engine(database_url)

    def execute(statement: str, **values: object) -> list[Any]:
        with engine.begin() as connection:
            done = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in done] if done.returns_rows else []

    execute("CREATE TABLE backup AS SELECT * FROM secrets")
    for secret_id, change in CORRUPT.items():
        execute(f"UPDATE secrets SET {change} WHERE secret_id = '{secret_id}'")
    project.sections("local", TWO, f"store:\n  url: {database_url}\n")
    monkeypatch.setenv("KEYHINGE_DATABASE", database_url)
    yield execute
    engine.dispose()


def mend(execute: Change, *secret_ids: str) -> None:
    """Give rows back what they held."""
    listed = ", ".join(f"'{secret_id}'" for secret_id in secret_ids)
    for name in ("kind", "section", "key_id", "version", "secret"):
        execute(
            f"UPDATE secrets SET {name} = (SELECT b.{name} FROM backup AS b "
            f"WHERE b.secret_id = secrets.secret_id) WHERE secret_id IN ({listed})"
        )


def failed(events: list[dict[str, Any]]) -> set[str]:
    return {failure["key"]["secret_id"] for failure in events[-1]["failures"]}


def test_seven_are_reported_and_the_others_moved(run, project, execute) -> None:
    before = dict(execute("SELECT secret_id, secret FROM secrets"))
    done = run("migrate", "--json", "--batch-size", "100")
    assert done.code == 3
    report = done.events[-1]
    assert (report["moved"], report["failed"], report["left"]) == (993, 7, 0)
    assert report["rows"] == report["moved"] + report["failed"] + report["already"] == ROWS
    assert failed(done.events) == set(CORRUPT)
    assert "hunter2" not in done.text + done.err
    # The seven are as they were.
    after = dict(execute("SELECT secret_id, secret FROM secrets"))
    assert {name for name in after if after[name] == before[name]} == set(CORRUPT)
    assert execute("SELECT count(*) FROM secrets WHERE section = 'local'") == [(993,)]
    [(state, moved, failures)] = execute("SELECT state, moved, failed FROM keyhinge_run")
    assert (state, moved, failures) == ("finished", 993, 7)
    assert execute("SELECT count(*) FROM keyhinge_failure") == [(7,)]

    text = run("migrate")
    assert text.code == 3
    assert "failed             7" in text.text
    assert run("verify").code == 3


def test_what_is_mended_moves_when_it_is_tried_again(run, project, execute) -> None:
    assert run("migrate").code == 3
    mend(execute, "s0000", "s0500", "s0999")
    done = run("migrate", "--retry-failed", "--json")
    assert done.code == 3
    report = done.events[-1]
    assert (report["moved"], report["failed"], report["left"]) == (3, 4, 0)
    rest = set(CORRUPT) - {"s0000", "s0500", "s0999"}
    assert failed(done.events) == rest

    mend(execute, *rest)
    done = run("migrate", "--retry-failed", "--json")
    assert done.code == 0
    assert (done.events[-1]["moved"], done.events[-1]["failed"]) == (4, 0)
    assert run("verify").code == 0

    # A finished one that is run again does nothing, and says so.
    for again in (["migrate"], ["migrate", "--retry-failed"]):
        done = run(*again)
        assert done.code == 0
        assert "nothing to do" in done.err
    assert run("migrate", "--json").events[-1]["moved"] == 0


def test_more_errors_than_five_stop_it(run, project, execute) -> None:
    done = run("migrate", "--max-errors", "5", "--batch-size", "10")
    assert done.code == 1
    assert "more than 5 rows failed" in done.err
    [(moved,)] = execute("SELECT count(*) FROM secrets WHERE section = 'local'")
    assert 500 < moved < 993
    # It isn't over, so what failed can't be tried alone yet.
    early = run("migrate", "--retry-failed")
    assert early.code == 2
    assert "run 1 isn't over" in early.err
    # Mended, it goes on with what is left; what failed is among it.
    mend(execute, *CORRUPT)
    done = run("migrate", "--max-errors", "5", "--json")
    assert done.code == 0
    assert (done.events[-1]["moved"], done.events[-1]["left"]) == (1000 - moved, 0)
    assert execute("SELECT moved, failed FROM keyhinge_run") == [(1000, 0)]


def test_exactly_as_many_as_may(run, project, execute) -> None:
    assert run("migrate", "--max-errors", "7", "--batch-size", "10").code == 3
    assert execute("SELECT moved, failed FROM keyhinge_run") == [(993, 7)]


def test_an_empty_mapping_is_an_error(run, project, execute, database_url) -> None:
    for tables in ("[]", "", "{}"):
        project.sections("local", TWO, f"store:\n  url: {database_url}\n  tables: {tables}\n")
        done = run("migrate")
        assert done.code == 2, tables
        assert "tables" in done.err
    assert execute("SELECT DISTINCT section FROM secrets WHERE section = 'local'") == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--from", "secnod"], "secnod"),
        (["--to", "secnod", "--not-primary"], "secnod"),
        (["--from", "second", "--from", "thrid"], "thrid"),
        (["--from", ""], "''"),
    ],
    ids=str,
)
def test_a_wrong_section_name_is_an_error(run, project, execute, arguments, name) -> None:
    done = run("migrate", *arguments)
    assert done.code == 2
    assert name in done.err
    assert execute("SELECT DISTINCT section FROM secrets WHERE section = 'local'") == []
