"""Errors: one shape, the right exit code, nothing secret, no traceback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import keyhinge
import keyhinge_store
from keyhinge_cli._exit import CliError, code_of, is_ours
from keyhinge_local import KeyFileError

SECRET = "hunter2-not-to-be-seen"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (keyhinge.ConfigError("x"), 2),
        (keyhinge.SecretFileError("x"), 2),
        (keyhinge.ProviderNotFoundError("x"), 2),
        (keyhinge.ProviderConflictError("x"), 2),
        (keyhinge.ProviderLoadError("x"), 2),
        (keyhinge.InvalidContextError("x"), 2),
        (keyhinge.InvalidCiphertextError(), 1),
        (keyhinge.InvalidPlaintextError("x"), 1),
        (keyhinge.SectionNotConfiguredError("x"), 1),
        (keyhinge.KeyUnavailableError("x"), 1),
        (keyhinge.AccessDeniedError("x"), 1),
        (keyhinge.ProviderContractError("x"), 1),
        (keyhinge.ThrottledError("x"), 75),
        (keyhinge.UnavailableError("x"), 75),
        (keyhinge.UnavailableError("x", retryable=False), 1),
        (keyhinge.ClosedError("x"), 1),
        (keyhinge_store.SecretNotFoundError("x"), 1),
        (keyhinge_store.NotTextError("x"), 1),
        (keyhinge_store.DatabaseError("x"), 1),
        (keyhinge_store.DatabaseUnavailableError("x"), 75),
        (keyhinge_store.MigrationRunningError("x"), 75),
        (keyhinge_store.DatabaseMissingError("x"), 2),
        (keyhinge_store.TableMissingError("x"), 2),
        (keyhinge_store.ForeignTableError("x"), 2),
        (keyhinge_store.DowngradeError("x"), 2),
        (keyhinge_store.FencedError("x", section="s", table="t"), 2),
        (keyhinge_store.FenceError("x"), 5),
        (keyhinge_store.MappingError("x", []), 2),
        (keyhinge_store.MigrationError("x"), 2),
        (keyhinge_store.MigrationStoppedError("x", report=None, retryable=True), 75),
        (keyhinge_store.MigrationStoppedError("x", report=None, retryable=False), 1),
        (KeyFileError("denied", "x", "y"), 2),
        (KeyFileError("io", "x", "y"), 1),
        (CliError("x"), 1),
        (CliError("x", 4), 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_its_code(error, code):
    assert code_of(error) == code
    assert is_ours(error)


def test_a_strangers_error_is_not_ours():
    error = RuntimeError("x")
    error.retryable = True  # type: ignore[attr-defined]
    assert code_of(error) == 1
    assert not is_ours(error)


def test_every_error_class_was_looked_at():
    """A new one must be put into the table above."""
    known = {type(p.values[0]) if hasattr(p, "values") else type(p[0]) for p in _table()}
    bases = {
        keyhinge.KeyhingeError,
        keyhinge.ProviderError,
        keyhinge.OperationError,
        keyhinge_store.StoreError,
        keyhinge_store.DuplicateSecretError,  # batches only
    }
    found = {
        each
        for module in (keyhinge, keyhinge_store)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, keyhinge.KeyhingeError)
    }
    assert found - known - bases == set()


def _table():
    [mark] = [m for m in test_each_error_has_its_code.pytestmark if m.name == "parametrize"]
    return mark.args[1]


class TestUnexpected:
    def test_the_text_of_a_strangers_exception_is_not_shown(self, run, project, monkeypatch):
        def broken(*_args, **_kwargs):
            raise RuntimeError(SECRET)

        monkeypatch.setattr("keyhinge.KeyManager.encrypt", broken)
        done = run("encrypt", stdin=b"x")
        assert done.code == 1
        assert "RuntimeError" in done.err
        assert "KEYHINGE_TRACEBACK=1" in done.err
        assert SECRET not in done.err
        assert "Traceback" not in done.err
        monkeypatch.setenv("KEYHINGE_TRACEBACK", "1")
        assert "Traceback" in run("encrypt", stdin=b"x").err


def test_json_lists_a_configurations_problems(run, project):
    project.sections("local", "  local: {keyFile: 1, nonsense: 2}\n")
    done = run("check", "--json")
    assert done.out == b""
    [error] = done.errors
    assert error["type"] == "ConfigError"
    assert {problem["path"] for problem in error["problems"]} == {
        "keyManagement.local.keyFile",
        "keyManagement.local.nonsense",
    }
    assert all(problem["line"] == 3 for problem in error["problems"])


def test_a_reader_that_goes_away_is_no_drama(start, project):
    running = start("config", "schema")
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert running.process.stderr is not None
    err = running.process.stderr.read()
    assert running.process.wait(30) == 1
    assert err == b""


def test_a_full_disk_is_told(script, project):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [script, "config", "show"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"error: the operating system says: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [
        ("status", ">&-", 0),
        ("status", "2>&-", 0),
        ("status", "<&- >&- 2>&-", 0),
        ("secrets put --account a --kind k", "<&-", 2),
        ("nonsense", ">&- 2>&-", 2),
    ],
)
def test_streams_that_the_shell_closed(script, project, store_something, arguments, closed, code):
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" {arguments} {closed}', script], capture_output=True, check=False
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"bug" not in done.stderr


@pytest.fixture
def store_something(run, project):
    """Put one secret into the store, so that `status` has something to count."""
    assert run("secrets", "put", "--account", "a", "--kind", "k", stdin=b"v").code == 0


def test_no_command_shows_a_secret(run, project):
    """One secret through everything; only `get` and `decrypt` may print it."""
    value = SECRET.encode()
    seen = [run("init")]
    value_text = run("encrypt", "--context", "a=b", stdin=value)
    put = ["secrets", "put", "--account", "acct_1", "--kind", "k", "--id", "s"]
    run_these = [
        put,
        ["--json", *put],
        ["secrets", "list"],
        ["secrets", "list", "--json"],
        ["check"],
        ["status"],
        ["status", "--json"],
        ["verify"],
        ["local", "rotate", "--activate"],
        ["rewrap", "--dry-run", "--json"],
        ["rewrap"],
        ["migrate"],
        ["config", "show", "--origin"],
        ["decrypt", "--context", "a=c"],
        ["secrets", "put", "--account", "acct_1", "--kind", "k", "--id", "t" * 2000],
        ["secrets", "put", "--account", "acct_1", "--kind", "k", SECRET],
        ["encrypt", SECRET],
        ["secrets", "delete", "--account", "acct_1", "--id", "s", "--yes"],
    ]
    seen.append(value_text)
    for arguments in run_these:
        stdin = value_text.out if arguments[0] == "decrypt" else value
        seen.append(run(*arguments, stdin=stdin))
    key_text = project.key.read_text()
    for done in seen:
        assert SECRET not in done.text
        assert SECRET not in done.err
    assert SECRET.encode() not in project.database.read_bytes()
    assert '"key"' in key_text
    assert run("decrypt", "--context", "a=b", stdin=value_text.out).out == value
