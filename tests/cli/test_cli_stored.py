"""`keyhinge check` with a database: one stored value of each kind is opened, none is shown."""

from __future__ import annotations

import pytest


def stored(done):
    return [event for event in done.events if event.get("code") == "stored-value"]


def database(done):
    [found] = [event for event in done.events if event.get("code") == "database"]
    return found


def test_one_for_each_section_key_and_version(run, project):
    for _ in range(2):
        for number in range(3):
            project.put(b"hunter2", account=f"acct_{number}")
        run("local", "rotate", "--activate")
    done = run("check", "--json")
    assert done.code == 0, done.text
    found = stored(done)
    assert [event["level"] for event in found] == ["ok", "ok"]
    assert {event["section"] for event in found} == {"local"}
    assert {event["data"]["version"].split(".")[0] for event in found} == {"1", "2"}
    for event in found:
        assert set(event["data"]) == {"section", "key_id", "version", "table", "values"}
        assert event["data"]["key_id"].startswith("ks-")
        assert (event["data"]["table"], event["data"]["values"]) == ("secrets", 3)
    text = run("check").text
    assert "opened one of 3 values under key ks-" in text
    assert "hunter2" not in text + done.text


def test_both_databases(run, project, database_url):
    at = ["--database", database_url]
    absent = run("check", "--json", *at)
    assert absent.code == 0
    assert database(absent)["level"] == "info"
    assert database(absent)["section"] == "store"
    assert run("status", *at).code == 2  # it wasn't made
    assert run("store", "init", *at).code == 0
    [empty] = stored(run("check", "--json", *at))
    assert empty["level"] == "info"
    put = ["secrets", "put", "--account", "a", "--kind", "k", *at]
    assert run(*put, stdin=b"hunter2").code == 0
    [found] = stored(run("check", "--json", *at))
    assert found["level"] == "ok"


def test_a_reader_opens_values_too(run, project):
    project.put(b"v")
    [found] = stored(run("check", "--for", "read", "--json"))
    assert found["level"] == "ok"


def test_a_section_that_is_not_configured(run, project):
    project.put(b"hunter2")
    project.sections("second", "  second: {type: local, keyFile: keyhinge.key}\n")
    done = run("check", "--json")
    assert done.code == 1
    [found] = stored(done)
    assert (found["section"], found["level"], found["primary"]) == ("local", "error", False)
    assert found["data"]["configured"] is False
    assert found["data"]["error"] == "SectionNotConfiguredError"
    assert "aliases" in found["message"]
    project.sections("second", "  second: {type: local, keyFile: keyhinge.key, aliases: [local]}\n")
    assert run("check").code == 0


def test_only_values_of_the_sections_that_are_named(run, project):
    project.sections("local", "  plaintext:\n  local: {keyFile: keyhinge.key}\n")
    project.put(b"v")
    [found] = stored(run("check", "local", "--json"))
    assert (found["section"], found["level"]) == ("local", "ok")
    [found] = stored(run("check", "plaintext", "--json"))
    assert (found["section"], found["level"]) == ("store", "info")
    assert "1 of others" in found["message"]


def test_a_value_that_does_not_open(run, project):
    secret = project.put(b"hunter2")
    project.sql("UPDATE secrets SET kind = 'other'")
    done = run("check", "--json")
    assert done.code == 1
    [found] = stored(done)
    assert found["level"] == "error"
    assert found["data"]["key"]["secret_id"] == secret
    [(ciphertext,)] = project.sql("SELECT secret FROM secrets")
    for text in (done.text, run("check").text):
        assert ciphertext not in text
        assert "hunter2" not in text


def test_an_outage_of_the_key_service_is_75(program, project, service):
    project.sections("service", "  service:\n")
    put = ["secrets", "put", "--account", "a", "--kind", "k"]
    assert program(*put, stdin=b"v", env=service).code == 0
    done = program("check", "--json", env={**service, "SERVICE_DOWN": "1"})
    assert done.code == 75
    [found] = stored(done)
    assert found["data"]["retryable"] is True


class TestDatabase:
    OUT = "postgresql://nobody@127.0.0.1:1/none"

    def test_an_outage_is_a_finding(self, run, project):
        done = run("check", "--json", "--database", self.OUT)
        assert done.code == 75
        found = database(done)
        assert (found["section"], found["level"]) == ("store", "error")
        assert found["data"] == {"error": "DatabaseUnavailableError", "retryable": True}
        assert [event["code"] for event in done.events if event.get("section") == "local"]

    def test_it_can_be_left_out(self, run, project, monkeypatch):
        monkeypatch.setenv("KEYHINGE_DATABASE", self.OUT)
        assert run("check").code == 75
        done = run("check", "--no-database", "--json")
        assert done.code == 0
        assert {event["section"] for event in done.events if "section" in event} == {"local"}

    def test_not_both(self, run, project):
        assert run("check", "--no-database", "--database", self.OUT).code == 2

    def test_none_is_named(self, run, project):
        project.sections("local", "  local: {keyFile: keyhinge.key}\n", store="other: 1\n")
        done = run("check", "--json")
        assert done.code == 0
        assert {event["section"] for event in done.events if "section" in event} == {"local"}

    def test_an_absent_file_is_not_made(self, run, project):
        project.database.unlink()
        done = run("check", "--json")
        assert done.code == 0
        assert database(done)["level"] == "info"
        assert "store init" in database(done)["message"]
        assert not project.database.exists()

    def test_an_absent_table_is_not_made(self, run, project):
        project.sql("DROP TABLE secrets")
        assert database(run("check", "--json"))["level"] == "info"
        assert project.sql("SELECT name FROM sqlite_master") == []

    def test_the_table_of_another_program(self, run, project):
        project.sql("DROP TABLE secrets")
        project.sql("CREATE TABLE secrets (id integer)")
        done = run("check", "--json")
        assert done.code == 1
        assert database(done)["data"]["error"] == "ForeignTableError"

    @pytest.mark.parametrize("block", ["store: {url: 'mysql://db/app'}", "store: {ulr: x}"])
    def test_a_block_that_is_wrong(self, block, run, project):
        project.sections("local", "  local: {keyFile: keyhinge.key}\n", store=block + "\n")
        done = run("check", "--json")
        assert done.code == 1
        assert database(done)["data"] == {"error": "ConfigError", "retryable": False}
