"""`keyhinge runs`, and the options of a migration that go with it."""

from __future__ import annotations

import json
import signal
import time

import pytest

from keyhinge import KeyManager
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, abandon, create_state_tables, open_store
from keyhinge_store._runs._holder import new_holder
from keyhinge_store._runs._run import Wanted, start_or_join

TWO = "  local: {keyFile: keyhinge.key}\n  second: {type: local, keyFile: second.key}\n"


@pytest.fixture
def two(project):
    """50 secrets under `second`; `local` is the primary."""
    keyfile.init(project.folder / "second.key")
    project.sections("second", TWO)
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        store.put_many(NewSecret("a", "k", f"hunter2-{n}", f"s{n:02}") for n in range(50))
    project.sections("local", TWO)
    return project


def abandon_at_once(project):
    """A run to the section `local` that ended before it looked at any row."""
    wanted = Wanted(
        subject="secrets.secret",
        table_name="secrets",
        operation="migrate",
        source=(),
        target="local",
        target_key=None,
        digest="d",
        retry_of=None,
        rows=50,
        matched=50,
        already=0,
        max_sweeps=None,
        rate=None,
    )
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        create_state_tables(store)
        abandon(store, start_or_join(store.state, wanted, new_holder()))


def test_none_yet(two, run):
    done = run("runs")
    assert (done.code, done.text) == (0, "")
    assert "no migration has run" in done.err
    assert two.sql("SELECT name FROM sqlite_master WHERE name LIKE 'keyhinge_%'") == []


def test_listed_and_shown(two, run):
    two.sql("UPDATE secrets SET kind = 'stolen' WHERE secret_id = 's07'")
    assert run("migrate").code == 3
    done = run("runs")
    assert done.code == 0
    assert "finished" in done.text
    assert "49 of 50" in done.text
    [event] = run("runs", "--json").events
    assert (event["event"], event["state"], event["moved"]) == ("run", "finished", 49)
    done = run("runs", "show", "1")
    assert done.code == 0
    assert "migrate secrets to local" in done.text
    assert "secret_id 's07'" in done.err
    assert "hunter2" not in done.text + done.err
    [event] = run("runs", "show", "1", "--json").events
    assert [failure["key"]["secret_id"] for failure in event["failures"]] == ["s07"]


def test_what_there_is_not(two, run):
    for command in ("show", "abandon"):
        done = run("runs", command, "7")
        assert done.code == 2
        assert "no run 7" in done.err


def test_again_says_that_there_is_nothing_to_do(two, run):
    assert run("migrate").code == 0
    done = run("migrate")
    assert done.code == 0
    assert "nothing to do" in done.err


def test_only_what_failed(two, run):
    two.sql("UPDATE secrets SET kind = 'x' WHERE secret_id = 's07'")
    assert run("migrate").code == 3
    two.sql("UPDATE secrets SET kind = 'k' WHERE secret_id = 's07'")
    done = run("migrate", "--retry-failed", "--json")
    assert done.code == 0
    assert done.events[-1]["moved"] == 1
    assert "what failed in run 1" in run("runs").text


def test_more_errors_than_may(two, run):
    two.sql("UPDATE secrets SET kind = 'x' WHERE secret_id < 's20'")
    done = run("migrate", "--max-errors", "5", "--batch-size", "10")
    assert done.code == 1
    assert "more than 5 rows failed" in done.err
    assert "nobody works on it now" in run("runs", "show", "1").err
    done = run("runs", "abandon", "1")
    assert done.code == 0
    assert "nothing lost" in done.err
    assert run("runs", "abandon", "1").code == 2
    assert run("migrate").code == 3


class TestRetryOfAnAbandonedRun:
    """What it never got to is no part of what failed, and running it again wouldn't get there."""

    @pytest.fixture
    def abandoned(self, two, run):
        """Two rows failed in its first batch; the 40 rows behind it were never looked at."""
        two.sql("UPDATE secrets SET kind = 'x' WHERE secret_id IN ('s03', 's07')")
        assert run("migrate", "--max-errors", "1", "--batch-size", "10").code == 1
        assert run("runs", "abandon", "1").code == 0
        two.sql("UPDATE secrets SET kind = 'k' WHERE secret_id = 's03'")
        return two

    def test_what_failed_is_tried_and_the_rest_is_told(self, abandoned, run):
        [(before,)] = abandoned.sql("SELECT count(*) FROM secrets WHERE section = 'local'")
        done = run("migrate", "--retry-failed", "--json")
        assert done.code == 3
        report = done.events[-1]
        assert (report["moved"], report["failed"]) == (1, 1)
        assert report["left"] == 50 - before - 2
        assert report["run"]["retry_of"] == 1
        assert report["exit_code"] == 3
        assert "start it without --retry-failed" in done.err
        assert "applications were using" not in done.err

        abandoned.sql("UPDATE secrets SET kind = 'k' WHERE secret_id = 's07'")
        done = run("migrate", "--retry-failed")
        assert done.code == 3  # nothing failed, and still it isn't all
        assert f"{50 - before - 2} more rows" in done.err
        assert run("migrate").code == 0
        assert run("migrate", "--retry-failed").code == 0

    def test_one_that_named_none_does_not_hide_the_one_before(self, abandoned, run):
        assert run("migrate").code == 3
        abandoned.sql("UPDATE secrets SET kind = 'k' WHERE secret_id = 's07'")
        abandon_at_once(abandoned)
        done = run("migrate", "--retry-failed", "--json")
        assert (done.code, done.events[-1]["moved"]) == (0, 1)

    def test_one_that_named_none_is_told(self, two, run):
        abandon_at_once(two)
        done = run("migrate", "--retry-failed")
        assert done.code == 2
        assert "without --retry-failed" in done.err


def test_what_failed_on_another_way_is_not_tried(two, run):
    two.sql("UPDATE secrets SET kind = 'x' WHERE secret_id = 's07'")
    assert run("migrate").code == 3
    done = run("migrate", "--to", "second", "--not-primary", "--retry-failed")
    assert done.code == 2
    assert "no earlier run" in done.err
    assert "second" in done.err
    # A run on another way since doesn't hide what failed on this one.
    assert run("migrate", "--to", "second", "--not-primary").code == 0
    assert run("migrate").code == 3
    assert run("migrate", "--to", "second", "--not-primary", "--from", "local").code == 0
    done = run("migrate", "--retry-failed", "--json")
    assert done.events[-1]["run"]["retry_of"] == 3


def test_a_rate(two, run):
    started = time.monotonic()
    done = run("migrate", "--rate", "40", "--batch-size", "10", "--json")
    assert done.code == 0
    assert time.monotonic() - started > 0.8  # 50 rows are 1.25 s
    events = [event for event in done.events if event["event"] == "progress"]
    assert events[-1]["all_moved"] == 50
    assert events[-1]["time_left"] == 0
    assert {event["processes"] for event in events} == {1}


@pytest.mark.parametrize(
    "options",
    [("--rate", "0"), ("--max-errors", "-1"), ("--max-sweeps", "0")],
    ids=" ".join,
)
def test_what_makes_no_sense(two, run, options):
    assert run("migrate", *options).code == 2


def test_unsettled_has_its_own_code(two, run, monkeypatch):
    """An application that writes in every sweep, as it looks to the engine."""
    from keyhinge_store._migrate._write_sqlite import SqliteWriter

    monkeypatch.setattr(SqliteWriter, "write", lambda self, changes, also=None: set())
    done = run("migrate", "--max-sweeps", "2", "--json")
    assert done.code == 6
    report = done.events[-1]
    assert (report["unsettled"], report["sweeps"], report["left"]) == (True, 2, 50)
    assert report["exit_code"] == 6
    assert "given up after 2 sweeps" in done.err
    assert json.loads(done.err.splitlines()[-1])["event"] == "note"


def test_the_second_one_in_sqlite_is_told(two, run, start, program):
    """It exits with 75, so that a scheduler tries again later."""
    running = start("migrate", "--json", "--rate", "10", "--batch-size", "5")
    assert json.loads(running.line())["event"] == "progress"
    done = program("migrate")
    assert done.code == 75
    assert "SQLite has one writer" in done.err
    running.send(signal.SIGTERM)
    assert running.end().code == 143
    # It has let go at once.
    assert program("migrate").code == 0


def test_status_estimate(two, run):
    """SQLite has nothing to estimate from: it counts, and says so."""
    done = run("status", "--estimate", "--json")
    assert done.code == 0
    assert (done.events[-1]["values"], done.events[-1]["estimated"]) == (50, False)
    for more in (["--html", "page.html"], ["--max-key-age", "365d"]):
        assert run("status", "--estimate", *more).code == 2
