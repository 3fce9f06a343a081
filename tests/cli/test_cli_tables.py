"""The command line on an application's own table, in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

TABLES = """\
store:
  tables:
    - table: tokens
      primaryKey: [account_id, token_id]
      encoding: text
      columns: {ciphertext: secret}
      context: {account: account_id, token: token_id}
      adopt: plaintext
"""
LOCAL = "  local: {keyFile: keyhinge.key}\n"


@pytest.fixture
def engine(database_url: str, project: Any) -> Iterator[sa.Engine]:
    """A database with five rows in plaintext, and one without a value."""
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE tokens (account_id integer NOT NULL, token_id text NOT NULL, "
            "secret text, PRIMARY KEY (account_id, token_id))"
        )
        rows = [{"a": n, "s": f"hunter2-{n}"} for n in range(5)] + [{"a": 9, "s": None}]
        connection.execute(sa.text("INSERT INTO tokens VALUES (:a, 'main', :s)"), rows)
    project.sections("local", LOCAL, TABLES)
    yield engine
    engine.dispose()


@pytest.fixture
def at(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYHINGE_DATABASE", database_url)


pytestmark = pytest.mark.usefixtures("at")


def test_the_whole_way(run, project, engine):
    assert run("store", "init").code == 0
    [report] = run("status", "--json").events
    assert report["tables"][0]["plaintexts"] == 5
    assert report["tables"][0]["empty"] == 1
    early = run("store", "finish-adoption", "tokens")
    assert early.code != 0
    assert "migrate them first" in early.err

    done = run("migrate")
    assert done.code == 0, done.err
    [*_, report] = run("migrate", "--json").events
    assert (report["matched"], report["already"]) == (0, 5)
    assert run("verify").code == 0
    assert run("store", "finish-adoption", "tokens").code == 0
    for step in (["local", "rotate", "--activate"], ["rewrap"], ["verify"], ["check"]):
        done = run(*step)
        assert done.code == 0, (step, done.err)
    [report] = run("status", "--json").events
    assert (report["values"], report["stale"]) == (5, 0)
    assert {each["table"] for each in run("runs", "--json").events} == {"tokens"}
    with engine.connect() as connection:
        texts = connection.execute(sa.text("SELECT secret FROM tokens")).scalars().all()
    assert all(text is None or text.startswith("kh1:local:") for text in texts)


def test_a_plaintext_after_the_adoption(run, project, engine):
    for step in (["migrate"], ["store", "finish-adoption", "tokens"]):
        assert run(*step).code == 0
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE tokens SET secret = 'planted' WHERE account_id = 1"))
    done = run("verify")
    assert done.code == 3
    assert "planted" not in done.text + done.err
    done = run("check", "--json")
    assert done.code == 1
    [wrong] = [e for e in done.events if e.get("code") == "stored-value" and e["level"] == "error"]
    assert wrong["data"]["key"] == {"account_id": 1, "token_id": "main"}


def test_the_statements_alone(run, project, engine):
    done = run("store", "init", "--sql")
    assert done.code == 0
    assert "CREATE TABLE keyhinge_run" in done.text
    assert "CREATE TABLE keyhinge_mapping" in done.text
    assert "CREATE TABLE secrets" not in done.text
    assert run("runs", "--json").events == []


def test_secrets_are_not_for_such_tables(run, project, engine):
    done = run("secrets", "put", "--account", "a", "--kind", "k", stdin=b"v")
    assert done.code == 2
    assert "store.tables" in done.err


def test_a_table_that_is_not_mapped(run, project, engine):
    done = run("store", "finish-adoption", "other")
    assert done.code == 2
    assert "tokens.secret" in done.err
    project.sections("local", LOCAL)
    done = run("store", "finish-adoption", "tokens")
    assert done.code == 2
    assert "store.tables" in done.err


def test_a_mapping_that_does_not_fit(run, project, engine):
    project.sections("local", LOCAL, TABLES.replace("ciphertext: secret", "ciphertext: sceret"))
    for command in ("status", "verify", "migrate", "check"):
        done = run(command)
        assert done.code in (1, 2), command
        assert "sceret" in done.err + done.text, command


def test_rows_outside_where_are_told(run, project, engine, tmp_path):
    lines = TABLES + "      where: {account_id: [1, 2]}\n"
    project.sections("local", LOCAL, lines)
    assert run("migrate").code == 0
    done = run("status", "--html", "page.html")
    assert done.code == 0
    assert "3 values of tokens.secret outside `where`" in done.err
    assert "outside `where`" in done.text
    [event] = run("status", "--json").events
    assert (event["values"], event["outside"]) == (2, 3)
    assert [table["outside"] for table in event["tables"]] == [3]
    page = (project.folder / "page.html").read_text()
    assert "Outside where" in page
    done = run("report", "--since", "2020-01-01", "--html", "report.html")
    assert "3 values of tokens.secret outside `where`" in done.err
    assert "Outside where" in (project.folder / "report.html").read_text()
    [event] = run("report", "--since", "2020-01-01", "--json").events
    assert event["status"]["outside"] == 3
    assert run("can-retire", "plaintext").code != 0
