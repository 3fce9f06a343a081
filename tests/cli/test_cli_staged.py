"""`keyhinge migrate --staged`: what it says comes next, and what it refuses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import open_tables

SECTIONS = """  plaintext: {}
  local: {keyFile: keyhinge.key}
  second: {type: local, keyFile: second.key}
"""
TABLE = """store:
  url: sqlite:///app.db
  tables:
    - table: tokens
      primaryKey: [id]
      encoding: text
      columns: {ciphertext: secret}
      context: {id: id}
"""
MONETR = """store:
  url: sqlite:///app.db
  tables:
    - table: tokens
      primaryKey: [id]
      encoding: monetr
      columns: {ciphertext: secret, keyID: key_id}
"""


class App:
    """An application's table, under `local`."""

    def __init__(self, project: Any) -> None:
        self.project = project
        project.sections("local", SECTIONS, TABLE)
        self.execute("CREATE TABLE tokens (id integer PRIMARY KEY, key_id text, secret text)")
        for number in range(5):
            self.put(number)

    def put(self, number: int) -> None:
        with KeyManager.open(self.project.config) as keys, open_tables(keys) as tables:
            cells = tables.column("tokens").encrypt(f"value-{number}", {"id": number})
        self.execute("INSERT INTO tokens (id, secret) VALUES (?, ?)", number, cells["secret"])

    def execute(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.project.folder / "app.db")) as database, database:
            return database.execute(statement, values).fetchall()

    def sections(self) -> set[str]:
        return {row[0].split(":")[1] for row in self.execute("SELECT secret FROM tokens")}


@pytest.fixture
def app(project) -> App:
    keyfile.init(project.folder / "second.key")
    return App(project)


def test_all_of_it(app, run) -> None:
    """Each step says what the next one is."""
    done = run("migrate", "--staged", "--to", "second")
    assert done.code == 0
    assert "ready              5 of 5" in done.text
    steps = [
        "1. stop the application",
        "2. keyhinge migrate --staged --swap",
        "3. set `keyManagement.provider` to 'second'",
        "4. start the application",
        "--abandon",
    ]
    places = [done.err.index(step) for step in steps]
    assert places == sorted(places)
    assert app.sections() == {"local"}

    app.put(5)
    done = run("migrate", "--staged")
    assert (done.code, "ready              6 of 6" in done.text) == (0, True)
    assert "made now           1" in done.text

    done = run("migrate", "--staged", "--swap", "--json")
    [event] = [event for event in done.events if event["event"] == "report"]
    assert (event["state"], event["swapped"], event["exit_code"]) == ("swapped", 6, 0)
    assert app.sections() == {"second"}
    [note] = [each["message"] for each in done.errors if each["event"] == "note"]
    assert "Before you start the application" in note

    [line] = run("runs", "--json").events
    assert (line["run_id"], line["moved"], line["target"]) == (event["run_id"], 6, "second")
    app.project.sections("second", SECTIONS, TABLE)
    assert run("verify").code == 0
    done = run("migrate", "--staged")
    assert (done.code, "nothing to do" in done.err) == (0, True)
    done = run("migrate", "--staged", "--swap")
    assert (done.code, "nothing is prepared" in done.err) == (2, True)


def test_drop_it(app, run) -> None:
    run("migrate", "--staged", "--to", "second")
    done = run("migrate", "--staged", "--abandon")
    assert (done.code, "5 prepared values" in done.err) == (0, True)
    assert run("migrate", "--staged", "--abandon").code == 2
    assert app.sections() == {"local"}


def test_a_row_that_does_not_open(app, run) -> None:
    app.execute("UPDATE tokens SET secret = 'kh1:local:broken' WHERE id = 2")
    done = run("migrate", "--staged", "--to", "second")
    assert done.code == 3
    done = run("migrate", "--staged", "--swap")
    assert (done.code, "not swapped" in done.err, "--leave-failed" in done.err) == (3, True, True)
    assert app.sections() == {"local"}
    done = run("migrate", "--staged", "--swap", "--leave-failed")
    assert (done.code, "left as they were  1" in done.text) == (3, True)
    assert app.sections() == {"local", "second"}


def test_plaintext(app, run) -> None:
    done = run("migrate", "--staged", "--to", "plaintext")
    assert (done.code, "--allow-plaintext" in done.err) == (2, True)
    done = run("migrate", "--staged", "--to", "plaintext", "--allow-plaintext")
    assert "2. keyhinge migrate --staged --swap --allow-plaintext" in done.err
    assert "value-1" not in done.text + done.err
    assert run("migrate", "--staged", "--swap").code == 2
    assert run("migrate", "--staged", "--swap", "--allow-plaintext").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--swap"], "--swap is a part of --staged"),
        (["--abandon"], "--abandon is a part of --staged"),
        (["--lock-seconds", "5"], "--lock-seconds is a part of --staged"),
        (["--staged", "--swap", "--abandon"], "opposites"),
        (["--staged", "--from", "local"], "--from doesn't go with --staged"),
        (["--staged", "--dry-run"], "--dry-run doesn't go with --staged"),
        (["--staged", "--not-primary"], "--not-primary doesn't go with --staged"),
        (["--staged", "--monetr-stopped"], "--monetr-stopped doesn't go with --staged"),
        (["--staged", "--leave-failed"], "--leave-failed goes with --swap"),
        (["--staged", "--abandon", "--while-connected"], "--while-connected goes with --swap"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_does_not_go_together(arguments, words, app, run) -> None:
    done = run("migrate", *arguments)
    assert done.code == 2
    assert words in done.err


def test_an_empty_table(app, run) -> None:
    app.execute("DELETE FROM tokens")
    assert run("migrate", "--staged", "--to", "second").code == 4
    assert run("migrate", "--staged", "--to", "second", "--allow-empty").code == 0


def test_a_table_of_monetrs_in_place(app, run) -> None:
    """Moved row by row, monetr couldn't read it meanwhile: so it has to be stopped."""
    app.project.sections("plaintext", SECTIONS, MONETR)
    app.execute("UPDATE tokens SET secret = 'a token'")
    done = run("migrate", "--allow-plaintext")
    assert done.code == 2
    for option in ("--staged", "--monetr-stopped"):
        assert option in done.err
    assert run("migrate", "--allow-plaintext", "--dry-run").code == 0
    assert run("migrate", "--allow-plaintext", "--monetr-stopped").code == 0
