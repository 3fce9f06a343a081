"""`can-retire` and `fence`: words, exit codes, and what is never shown."""

from __future__ import annotations

import sqlite3

import pytest

TWO = """  local:
    keyFile: keyhinge.key
  second:
    type: local
    keyFile: second.key
"""


@pytest.fixture
def moved(project, run):
    """A value under `local`, and `second` as the primary section."""
    project.put(b"PLAIN-hunter2")
    project.sections("local", TWO)
    assert run("local", "init", "second").code == 0
    project.sections("second", TWO)
    return project


def test_the_grades_and_their_codes(moved, run):
    """5 for no and for none, 0 for fenced; --without-fence takes none for a yes."""
    done = run("can-retire", "local")
    assert (done.code, "no: at " in done.text) == (5, True)
    assert run("can-retire", "local", "--without-fence").code == 5
    assert run("fence", "add", "local").code == 5
    assert run("migrate").code == 0

    done = run("can-retire", "local")
    assert done.code == 5
    assert "none at 2" in done.text
    assert "keyhinge fence add local" in done.err
    assert "backups" in done.err
    assert run("can-retire", "local", "--without-fence").code == 0

    done = run("fence", "add", "local")
    assert done.code == 0
    assert "secrets  secret  local    all     all      on     keyhinge_fence_local_" in done.text
    done = run("can-retire", "local")
    assert done.code == 0
    assert "fenced: at 2" in done.text
    assert "until all backups" in done.err


def test_json(moved, run):
    [event] = run("can-retire", "local", "--json", "--key", "x", "--version", "1").events
    assert event["event"] == "retirement"
    assert (event["grade"], event["exit_code"]) == ("none", 5)
    assert (event["section"], event["key_id"], event["version"]) == ("local", "x", "1")
    assert event["tables"] == [
        {
            "table": "secrets.secret",
            "found": False,
            "unreadable": False,
            "fenced": False,
            "running": False,
            "empty": False,
            "reason": "",
            "above": [],
            "unclear": [],
            "broken": [],
        }
    ]
    assert run("migrate").code == 0
    [event] = run("fence", "add", "local", "--json").events
    assert (event["event"], event["section"], event["enabled"]) == ("fence", "local", True)
    [event] = run("fence", "show", "--json").events
    assert event["table"] == "secrets"
    [event] = run("fence", "remove", "local", "--json").events
    assert event["event"] == "fence_removed"


def test_wrong_names(moved, run):
    done = run("can-retire", "locale")
    assert done.code == 2
    assert "Did you mean 'local'?" in done.err
    assert run("can-retire", "No Section").code == 2
    assert run("can-retire").code == 2
    done = run("can-retire", "second")
    assert done.code == 5
    assert "'second' is the primary section" in done.err
    done = run("fence", "add", "second")
    assert (done.code, done.text) == (5, "")


def test_an_empty_table_may_be_the_wrong_one(moved, run):
    moved.sql("DELETE FROM secrets")
    assert run("can-retire", "local").code == 5
    done = run("can-retire", "local", "--without-fence")
    assert done.code == 4
    assert "right database" in done.err
    assert run("can-retire", "local", "--without-fence", "--allow-empty").code == 0


def test_values_that_were_made_with_it(moved, run):
    """By a section that builds on it, as their key ids say; here one that isn't in the file."""
    assert run("migrate").code == 0
    labels = "section = 'data-keys', key_id = 'local/k', version = '1'"
    moved.sql(f"UPDATE secrets SET {labels}, secret = 'kh1:data-keys:local/k:1:AAAA'")
    done = run("can-retire", "local", "--without-fence")
    assert done.code == 5
    assert "secrets.secret: values of 'data-keys' are made with it, and need it" in done.err
    assert run("can-retire", "local", "--key", "other", "--without-fence").code == 0
    done = run("fence", "add", "local")
    assert (done.code, done.text) == (5, "")
    assert "'data-keys', which builds on it" in done.err


def test_rows_that_cannot_be_read(moved, run):
    assert run("migrate").code == 0
    moved.sql("UPDATE secrets SET secret = 'kh1:PLAIN-hunter2'")
    done = run("can-retire", "local", "--without-fence")
    assert done.code == 5
    assert "can't be read" in done.err
    assert "hunter2" not in done.text + done.err


def test_a_fence_is_shown_and_removed(moved, run):
    assert run("migrate").code == 0
    assert run("fence", "show").err == "there is no fence\n"
    assert run("fence", "add", "local", "--version", "1.old").code == 0
    assert "1.old" in run("fence", "show").text
    assert run("fence", "show", "second").text == ""
    assert run("fence", "remove", "local").code == 4
    assert run("fence", "remove", "local", "--version", "1.old").code == 0
    assert run("fence", "remove", "local", "--version", "1.old").code == 4
    assert moved.sql("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'") == [(0,)]


def test_a_fence_that_was_changed_is_told(moved, run):
    assert run("migrate").code == 0
    assert run("fence", "add", "local").code == 0
    [(name, sql)] = moved.sql("SELECT name, sql FROM sqlite_master WHERE name LIKE '%_insert'")
    moved.sql(f"DROP TRIGGER {name}")
    moved.sql(sql[: sql.index("WHEN ")] + "WHEN false\n" + sql[sql.index("BEGIN SELECT") :])
    done = run("fence", "show")
    assert "  changed  " in done.text
    assert "another condition" in done.err
    done = run("can-retire", "local")
    assert done.code == 5
    assert f"the fence {name.removesuffix('_insert')} doesn't count" in done.err
    assert run("fence", "add", "local").code == 0
    assert run("can-retire", "local").code == 0


def test_what_sql_prints(moved, run):
    """It changes nothing, and whoever runs it gets the fence."""
    assert run("migrate").code == 0
    done = run("fence", "add", "local", "--sql")
    assert done.code == 0
    assert run("fence", "show").text == ""
    with sqlite3.connect(moved.database) as connection:
        connection.executescript(done.text)
    connection.close()
    assert run("can-retire", "local").code == 0
    with sqlite3.connect(moved.database) as connection:
        connection.executescript(run("fence", "remove", "local", "--sql").text)
    connection.close()
    assert run("fence", "show").text == ""
    events = run("fence", "add", "local", "--sql", "--json").events
    assert events[0]["sql"] == "BEGIN IMMEDIATE"


def test_a_write_behind_the_fence(moved, run):
    """An instance with the old configuration is refused, with a word on why."""
    assert run("migrate").code == 0
    assert run("fence", "add", "local").code == 0
    moved.sections("local", TWO)
    done = run("secrets", "put", "--account", "a", "--kind", "k", stdin=b"PLAIN-hunter2")
    assert done.code == 2
    assert "takes no value under the section 'local'" in done.err
    assert "hunter2" not in done.err


def test_tables_of_an_application(moved, run):
    """All tables of the configuration are fenced."""
    moved.sql("CREATE TABLE a (id integer NOT NULL PRIMARY KEY, x text, z text)")
    mapped = "".join(
        f"    - {{table: a, primaryKey: [id], encoding: text, columns: {{ciphertext: {column}}}}}\n"
        for column in "xz"
    )
    moved.sections("second", TWO, f"store:\n  url: sqlite:///secrets.db\n  tables:\n{mapped}")
    moved.sql("INSERT INTO a VALUES (1, 'kh1:local:k:1:AAAA', NULL)")
    done = run("fence", "add", "local")
    assert done.code == 5
    assert "in a.x," in done.err
    moved.sql("DELETE FROM a")
    assert run("fence", "add", "local").code == 0
    assert len(run("fence", "show").text.splitlines()) == 3
    done = run("can-retire", "local")
    assert done.code == 0
    assert "a.z" in done.text
    with pytest.raises(sqlite3.IntegrityError, match="section local is refused in table a"):
        moved.sql("INSERT INTO a VALUES (1, NULL, 'kh1:local:k:1:AAAA')")
