"""The options that stand anywhere, and the rules for the configuration and the database."""

from __future__ import annotations

import sqlite3

import pytest

PLACES = [
    ["--json", "secrets", "list"],
    ["secrets", "--json", "list"],
    ["secrets", "list", "--json"],
    ["--json", "secrets", "--json", "list", "--json"],
]


@pytest.mark.parametrize("arguments", PLACES, ids=" ".join)
def test_json_stands_before_and_after(arguments, run, project):
    made = project.put(b"value")
    [event] = run(*arguments).events
    assert event["event"] == "secret"
    assert event["id"] == made


@pytest.mark.parametrize("before", [0, 1, 2])
def test_config_and_database_stand_before_and_after(before, run, project, tmp_path, monkeypatch):
    project.put(b"value")
    monkeypatch.chdir(tmp_path)
    options = ["--config", project.config, "--database", f"sqlite:///{project.database}"]
    command = ["secrets", "list"]
    done = run(*command[:before], *options, *command[before:])
    assert done.code == 0
    assert "acct_1" in done.text


def test_the_same_value_twice_is_fine_and_two_values_are_not(run, project):
    config = str(project.config)
    assert run("--config", config, "check", "--config", config).code == 0
    done = run("--config", config, "check", "--config", "other.yaml")
    assert done.code == 2
    assert "--config is given twice" in done.err


class TestConfiguration:
    def test_option_before_variable_before_folder(self, run, project, monkeypatch, tmp_path):
        project.config.rename(tmp_path / "moved.yaml")
        project.key.rename(tmp_path / "keyhinge.key")
        done = run("check")
        assert done.code == 2
        assert "config.yaml doesn't exist" in done.err
        assert "keyhinge init" in done.err
        monkeypatch.setenv("KEYHINGE_CONFIG", str(tmp_path / "moved.yaml"))
        assert run("check").code == 0
        done = run("check", "--config", "nowhere.yaml")
        assert done.code == 2
        assert "nowhere.yaml" in done.err


class TestDatabase:
    def test_there_is_no_default(self, run, project):
        project.sections("local", "  local: {keyFile: keyhinge.key}\n", store="\n")
        done = run("secrets", "list")
        assert done.code == 2
        for way in ("--database", "KEYHINGE_DATABASE", "store"):
            assert way in done.err

    def test_option_before_variable_before_file(self, run, project, monkeypatch):
        project.put(b"in the file's", account="from-file")
        for name in ("variable", "option"):
            url = f"sqlite:///{name}.db"
            assert run("store", "init", "--database", url).code == 0
            put = ["secrets", "put", "--account", f"from-{name}", "--kind", "k"]
            assert run(*put, "--database", url, stdin=b"v").code == 0
        assert "from-file" in run("secrets", "list").text
        monkeypatch.setenv("KEYHINGE_DATABASE", "sqlite:///variable.db")
        assert "from-variable" in run("secrets", "list").text
        option = run("secrets", "list", "--database", "sqlite:///option.db")
        assert "from-option" in option.text
        assert "from-variable" not in option.text

    def test_a_relative_file_of_the_configuration_starts_at_its_folder(
        self, run, project, tmp_path, monkeypatch
    ):
        project.put(b"value")
        monkeypatch.chdir(tmp_path)
        assert "acct_1" in run("secrets", "list", "--config", project.config).text
        assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]

    def test_a_missing_database_is_an_error_and_no_file(self, run, project):
        done = run("secrets", "list", "--database", "sqlite:///nowhere.db")
        assert done.code == 2
        assert "keyhinge store init" in done.err
        assert not (project.folder / "nowhere.db").exists()

    def test_a_missing_table(self, run, project):
        project.sql("DROP TABLE secrets")
        done = run("secrets", "list")
        assert done.code == 2
        assert "keyhinge store init" in done.err

    def test_a_foreign_table(self, run, project):
        sqlite3.connect(project.folder / "theirs.db").close()
        project.sql("DROP TABLE secrets")
        project.sql("CREATE TABLE secrets (id INTEGER, name TEXT)")
        for command in (["secrets", "list"], ["store", "init"], ["status"], ["migrate"]):
            done = run(*command)
            assert done.code == 2, command
            assert "isn't Keyhinge's" in done.err

    def test_a_password_in_the_arguments_is_warned_of_and_not_repeated(self, run, project):
        url = "postgresql+psycopg://user:hunter2@127.0.0.1:1/none"
        done = run("status", "--database", url)
        assert "can be seen by every user" in done.err
        assert "hunter2" not in done.err + done.text
        assert done.code == 75

    @pytest.mark.parametrize("url", ["nonsense", "oracle-of://x", "sqlite", "postgresql://[::1"])
    def test_a_url_that_is_none(self, url, run, project):
        done = run("status", "--database", url)
        assert done.code == 2
        assert done.err.startswith("error: ")


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["check", "--nonsense"],
            ["secrets"],
            ["secrets", "put"],
            ["migrate", "--batch-size", "0"],
            ["encrypt", "--context", "novalue"],
            ["encrypt", "--context", "a=1", "--context", "a=2"],
            ["completion", "powershell"],
            ["local", "show", "one", "--key-file", "two"],
            ["secrets", "get", "--account", "a"],
            ["secrets", "delete", "--account", "a", "--id", "b"],
        ],
        ids=" ".join,
    )
    def test_exits_with_2(self, arguments, run, project):
        done = run(*arguments, stdin=b"x")
        assert done.code == 2
        assert done.out == b""
        assert "Traceback" not in done.err

    def test_json_errors_are_json(self, run):
        [error] = run("nonsense", "--json").errors
        assert error["event"] == "error"
        assert error["exit_code"] == 2
        assert error["type"] == "UsageError"

    def test_a_near_command_is_suggested(self, run):
        assert "Did you mean 'migrate'?" in run("migrat").err
        assert "Did you mean 'rotate'?" in run("local", "rotat").err
        assert "Did you mean 'local rotate'?" in run("rotate").err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["secrets", "put", "--account", "a", "--kind", "k", "hunter2"],
            ["encrypt", "hunter2"],
            ["decrypt", "--context", "a=b", "hunter2"],
            ["status", "hunter2"],
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_a_secret_in_the_arguments_is_refused_and_not_repeated(self, arguments, run, project):
        done = run(*arguments, stdin=b"other")
        assert done.code == 2
        assert "never passed on the command line" in done.err
        assert "hunter2" not in done.err + done.text
        assert project.sql("SELECT count(*) FROM secrets") == [(0,)]
