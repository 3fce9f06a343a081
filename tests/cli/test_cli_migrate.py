"""`keyhinge migrate` and `rewrap`: what they do, say, and exit with."""

from __future__ import annotations

import pytest

from keyhinge import KeyManager
from keyhinge_cli._exit import UNSETTLED
from keyhinge_local import keyfile
from keyhinge_store import NewSecret, open_store

THREE = (
    "  plaintext:\n  local: {keyFile: keyhinge.key}\n  second: {type: local, keyFile: second.key}\n"
)


@pytest.fixture
def three(project):
    """Three sections; plaintext is the primary."""
    keyfile.init(project.folder / "second.key")
    project.sections("plaintext", THREE)
    return project


def fill(project, count):
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        store.put_many(
            NewSecret(f"acct_{number % 7}", "k", f"hunter2-{number}", f"s{number}")
            for number in range(count)
        )


def values(project):
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        found = store.get_many(info.key for info in store.list())
        return {key: outcome.value for key, outcome in found.items()}


def test_there_and_back_again(three, run):
    """Plaintext, local, second, and back: nothing changes but where it is."""
    fill(three, 100)
    before = values(three)
    assert b"kh1:plaintext:" in three.database.read_bytes()
    for primary in ("local", "second"):
        three.sections(primary, THREE)
        done = run("migrate", "--batch-size", "30")
        assert done.code == 0
        assert "moved              100" in done.text
        assert "hunter2" not in done.text + done.err
        assert values(three) == before
        assert three.sql("SELECT DISTINCT section FROM secrets") == [(primary,)]
    three.sections("plaintext", THREE)
    done = run("migrate")
    assert done.code == 2
    assert "--allow-plaintext" in done.err
    assert run("migrate", "--allow-plaintext").code == 0
    assert values(three) == before


def test_a_finished_one_finds_nothing_and_that_is_fine(three, run):
    fill(three, 3)
    three.sections("local", THREE)
    assert run("migrate", "--json").events[-1]["moved"] == 3
    done = run("migrate", "--json")
    assert done.code == 0
    assert done.events[-1]["moved"] == 0
    assert done.events[-1]["already"] == 3


def test_dry_run_writes_nothing(three, run):
    fill(three, 5)
    three.sections("local", THREE)
    before = three.sql("SELECT * FROM secrets")
    done = run("migrate", "--dry-run")
    assert done.code == 0
    assert "would move" in done.text
    assert "nothing was written" in done.err
    assert three.sql("SELECT * FROM secrets") == before


def test_json_has_progress_and_a_report(three, run):
    fill(three, 25)
    three.sections("local", THREE)
    events = run("migrate", "--json", "--batch-size", "10").events
    moved = [event["moved"] for event in events if event["event"] == "progress"]
    assert moved[:3] == [10, 20, 25]
    report = events[-1]
    assert report["event"] == "report"
    assert (report["moved"], report["left"], report["failed"]) == (25, 0, 0)
    assert report["exit_code"] == 0


def test_nothing_at_all_is_4(three, run):
    three.sections("local", THREE)
    done = run("migrate")
    assert done.code == 4
    assert "right database" in done.err
    assert run("migrate", "--allow-empty").code == 0
    assert run("rewrap").code == 4
    assert run("rewrap", "--allow-empty").code == 0


def test_from_a_section_that_has_no_rows(three, run):
    fill(three, 3)
    three.sections("local", THREE)
    assert run("migrate", "--from", "second").code == 4
    assert run("migrate", "--from", "plaintext", "--from", "second").code == 0
    done = run("migrate", "--from", "plaintext")
    assert done.code == 0
    assert "no row is under plaintext" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "nonsense"],
        ["--to", "nonsense"],
        ["--to", "second"],
        ["--from", "local"],
        ["--to", "plaintext", "--not-primary"],
    ],
    ids=" ".join,
)
def test_what_does_not_fit_is_usage(arguments, three, run):
    fill(three, 1)
    three.sections("local", THREE)
    done = run("migrate", *arguments)
    assert done.code == 2
    assert three.sql("SELECT section FROM secrets") == [("plaintext",)]


def test_to_another_than_the_primary(three, run):
    fill(three, 2)
    three.sections("local", THREE)
    assert run("migrate", "--to", "second", "--not-primary").code == 0
    assert three.sql("SELECT DISTINCT section FROM secrets") == [("second",)]


def test_a_bad_row_is_3_and_the_rest_moves(three, run):
    three.sections("second", THREE)
    fill(three, 10)
    three.sql("UPDATE secrets SET kind = 'stolen' WHERE secret_id = 's4'")
    three.sections("local", THREE)
    done = run("migrate", "--json")
    assert done.code == 3
    report = done.events[-1]
    assert (report["moved"], report["failed"], report["left"]) == (9, 1, 0)
    [warning] = done.errors[:1]
    assert [key["secret_id"] for key in warning["keys"]] == ["s4"]
    assert three.sql("SELECT secret_id FROM secrets WHERE section = 'second'") == [("s4",)]
    text = run("migrate")
    assert text.code == 3
    assert "s4" in text.err


def test_rows_that_fail_for_the_same_reason_are_named_together(three, run):
    three.sections("second", THREE)
    fill(three, 10)
    three.sql("UPDATE secrets SET kind = 'stolen'")
    three.sections("local", THREE)
    done = run("migrate")
    assert done.code == 3
    assert "secret_id 's0' and 9 more" in done.err
    assert done.err.count("left as it was") == 1


class TestRewrap:
    def test_to_the_newest_version(self, project, run):
        fill(project, 10)
        before = values(project)
        run("local", "rotate", "--activate")
        done = run("rewrap")
        assert done.code == 0
        assert "version 2." in done.text
        assert "moved              10" in done.text
        assert values(project) == before
        assert run("rewrap").code == 0

    def test_a_section_by_name(self, three, run):
        three.sections("second", THREE)
        fill(three, 2)
        three.sections("plaintext", THREE)
        run("local", "rotate", "second", "--activate")
        assert run("rewrap", "second", "--json").events[-1]["moved"] == 2
        assert run("rewrap").code == 2  # plaintext has no versions
        assert run("rewrap", "nonsense").code == 2


class TestNewDataKeys:
    ENVELOPE = "  envelope: {over: local}\n  local: {keyFile: keyhinge.key}\n"

    def test_what_it_says(self, project, run):
        project.sections("envelope", self.ENVELOPE)
        fill(project, 10)
        before, rows = values(project), project.sql("SELECT secret FROM secrets")
        assert run("rewrap").code == 0
        assert project.sql("SELECT secret FROM secrets") == rows
        dry = run("rewrap", "--new-data-keys", "--dry-run")
        assert dry.code == 0
        assert "would move         10" in dry.text
        assert project.sql("SELECT secret FROM secrets") == rows
        done = run("rewrap", "--new-data-keys")
        assert done.code == 0
        assert done.text.splitlines()[0].split() == ["new-data-keys", "in", "envelope"]
        assert "moved              10" in done.text
        assert not set(project.sql("SELECT secret FROM secrets")) & set(rows)
        assert values(project) == before
        assert "new-data-keys secrets in envelope" in run("runs").text
        assert "new-data-keys secrets in envelope" in run("runs", "show", "2").text
        [report] = run("rewrap", "envelope", "--new-data-keys", "--json").events[-1:]
        assert (report["operation"], report["moved"], report["exit_code"]) == (
            "new-data-keys",
            10,
            0,
        )

    def test_exit_codes(self, project, run):
        project.sections("envelope", self.ENVELOPE)
        assert run("rewrap", "--new-data-keys").code == 4
        assert run("rewrap", "--new-data-keys", "--allow-empty").code == 0
        refused = run("rewrap", "local", "--new-data-keys")
        assert refused.code == 2
        assert "These do: envelope" in refused.err
        assert run("rewrap", "--new-data-keys", "--retry-failed").code == 2
        fill(project, 3)
        project.sql("UPDATE secrets SET kind = 'stolen' WHERE secret_id = 's1'")
        assert run("rewrap", "--new-data-keys").code == 3
        project.sql("DELETE FROM secrets WHERE secret_id = 's1'")
        given_up = run("rewrap", "--new-data-keys", "--max-sweeps", "1")
        assert given_up.code == UNSETTLED
        assert "Run it again to begin anew" in given_up.err
        assert run("rewrap", "--new-data-keys").code == 0


def test_a_throttling_service_is_75_and_nothing_is_lost(program, run, project, service):
    fill(project, 5)
    before = values(project)
    project.sections("service", "  service:\n  local: {keyFile: keyhinge.key}\n")
    throttled = {**service, "SERVICE_THROTTLES": "1"}
    done = program("migrate", "--patience", "0.1", "--json", env=throttled)
    assert done.code == 75
    assert done.events[-1]["event"] == "report"
    assert done.events[-1]["exit_code"] == 75
    [error] = done.errors
    assert error["retryable"] is True
    project.sections("local", "  local: {keyFile: keyhinge.key}\n")
    assert values(project) == before
    project.sections("service", "  service:\n  local: {keyFile: keyhinge.key}\n")
    assert program("migrate", env=service).code == 0
