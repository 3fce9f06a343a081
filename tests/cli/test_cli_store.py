"""`keyhinge store`, `status` and `verify`; the whole way on both databases."""

from __future__ import annotations

import sqlalchemy as sa


def fill(run, database, count=3):
    for number in range(count):
        put = ["secrets", "put", "--account", f"a{number}", "--kind", "k", "--id", "s"]
        done = run(*put, "--database", database, stdin=b"v%d" % number)
        assert done.code == 0, done.err


class TestBothDatabases:
    def test_the_whole_way(self, run, project, database_url):
        at = ["--database", database_url]
        done = run("status", *at)
        assert done.code == 2
        assert "store init" in done.err
        for _ in range(2):  # the second time there is nothing to do
            assert run("store", "init", *at).code == 0
        assert run("status", *at).code == 4
        fill(run, database_url)
        [report] = run("status", *at, "--json").events
        assert (report["values"], report["stale"]) == (3, 0)
        for step in (["local", "rotate", "--activate"], ["rewrap", *at], ["verify", *at]):
            assert run(*step).code == 0
        [report] = run("status", *at, "--json").events
        assert (report["values"], report["stale"]) == (3, 0)
        assert report["labels"][0]["version"].startswith("2.")
        assert run("secrets", "get", "--account", "a1", "--id", "s", *at).out == b"v1"

    def test_the_statements_alone(self, run, project, database_url):
        done = run("store", "init", "--sql", "--database", database_url)
        assert done.code == 0
        assert done.text.startswith("CREATE TABLE secrets (")
        assert done.text.rstrip().endswith(";")
        assert run("status", "--database", database_url).code == 2  # nothing was made
        events = run("store", "init", "--sql", "--json", "--database", database_url).events
        assert "".join(f"{event['sql']};\n" for event in events) == done.text
        # Those in which migrations keep their state are among them, and can be run as they are.
        assert "CREATE UNIQUE INDEX keyhinge_run_active" in done.text
        engine = sa.create_engine(database_url)
        with engine.begin() as connection:
            for event in events:
                connection.exec_driver_sql(event["sql"])
        engine.dispose()
        assert run("migrate", "--allow-empty", "--database", database_url).code == 0


def test_sql_needs_no_server(run, project):
    done = run("store", "init", "--sql", "--database", "postgresql://nobody@127.0.0.1:1/none")
    assert done.code == 0
    assert 'COLLATE "C"' in done.text


def test_a_server_that_is_not_there_is_75(run, project):
    done = run("status", "--database", "postgresql://nobody@127.0.0.1:1/none")
    assert done.code == 75
    assert done.err.startswith("error: ")


class TestStatus:
    def test_stale_and_unconfigured_and_unencrypted(self, run, project):
        project.put(b"one")
        run("local", "rotate", "--activate")
        project.put(b"two")
        done = run("status")
        assert done.code == 0
        assert "stale" in done.text
        assert "2 values, 1 stale" in done.err
        project.sections("plaintext", "  plaintext:\n")
        done = run("status")
        assert done.code == 3
        assert "not configured" in done.text
        assert "aliases" in done.err

    def test_values_that_can_not_be_read_are_3(self, run, project):
        project.put(b"one")
        project.sql("UPDATE secrets SET version = '7'")
        done = run("status", "--json")
        assert done.code == 3
        assert (done.events[0]["unreadable"], done.events[0]["exit_code"]) == (1, 3)
        assert "keyhinge verify" in done.err

    def test_empty(self, run, project):
        assert run("status").code == 4
        assert run("status", "--allow-empty").code == 0


class TestVerify:
    def test_counts_only(self, run, project):
        project.put(b"hunter2")
        done = run("verify")
        assert done.code == 0
        assert "opened  1" in done.text
        assert "hunter2" not in done.text + done.err

    def test_a_value_that_does_not_open_is_3(self, run, project):
        good, bad = project.put(b"one"), project.put(b"two")
        project.sql("UPDATE secrets SET kind = 'other' WHERE secret_id = ?", bad)
        done = run("verify", "--json")
        assert done.code == 3
        assert (done.events[-1]["opened"], done.events[-1]["failed"]) == (1, 1)
        [warning] = done.errors
        assert [key["secret_id"] for key in warning["keys"]] == [bad]
        assert good not in done.err

    def test_empty_is_4(self, run, project):
        assert run("verify").code == 4
        assert run("verify", "--allow-empty").code == 0

    def test_an_outage_is_75(self, program, project, service):
        project.sections("service", "  service:\n")
        put = ["secrets", "put", "--account", "a", "--kind", "k"]
        assert program(*put, stdin=b"v", env=service).code == 0
        assert program("verify", env=service).code == 0
        done = program("verify", "--json", env={**service, "SERVICE_DOWN": "1"})
        assert done.code == 75
        assert done.errors[-1]["type"] == "UnavailableError"


class TestPasswords:
    URL = "postgresql+psycopg://nobody@127.0.0.1:1/none?password=hunter2"

    def test_in_the_query_of_an_argument_it_is_warned_of(self, run, project):
        done = run("status", "--database", self.URL)
        assert "can be seen by every user" in done.err
        assert "hunter2" not in done.err + done.text

    def test_it_is_not_printed(self, run, project, database_url, monkeypatch):
        url = sa.make_url(database_url)
        if url.get_backend_name() == "postgresql":
            url = url.update_query_dict({"password": "hunter2"})
        monkeypatch.setenv("KEYHINGE_DATABASE", url.render_as_string(hide_password=False))
        for options in ([], ["--json"]):
            done = run("store", "init", *options)
            assert done.code == 0, done.err
            assert "hunter2" not in done.err + done.text
