"""On a terminal: prompts, colours, tables and bars."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time

import pytest

from keyhinge import KeyManager
from keyhinge_store import NewSecret, open_store


class Terminal:
    """The program with a terminal for all of its streams."""

    def __init__(self, script, *arguments, env=None):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [script, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **(env or {})},
        )
        os.close(slave)
        self.seen = b""

    def expect(self, text):
        # Prompts with their last blank: before that the echo is on, and what is typed gets lost.
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._read()

    def type(self, text):
        os.write(self._master, text)

    def end(self):
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(30)

    def _read(self):
        try:
            more = os.read(self._master, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.seen += more
        return bool(more)


@pytest.fixture
def terminal(script):
    """Starts the program on a terminal."""
    started = []

    def start(*arguments, env=None):
        started.append(Terminal(script, *arguments, env=env))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


PUT = ["secrets", "put", "--account", "a", "--kind", "k", "--id", "s"]


def test_a_secret_is_asked_for_twice_and_hidden(terminal, project, run):
    shown = terminal(*PUT)
    shown.expect(b"Value: ")
    shown.type(b"hunter2\n")
    shown.expect(b"Repeat for confirmation: ")
    shown.type(b"hunter2\n")
    assert shown.end() == 0
    assert b"hunter2" not in shown.seen
    assert run("secrets", "get", "--account", "a", "--id", "s").out == b"hunter2"


def test_two_values_that_differ_are_asked_for_again(terminal, project):
    shown = terminal(*PUT)
    shown.expect(b"Value: ")
    shown.type(b"one\n")
    shown.expect(b"Repeat for confirmation: ")
    shown.type(b"two\n")
    shown.expect(b"do not match")
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 130
    assert project.sql("SELECT count(*) FROM secrets") == [(0,)]


def test_get_adds_a_newline_on_a_terminal(terminal, project):
    made = project.put(b"token")
    shown = terminal("secrets", "get", "--account", "acct_1", "--id", made)
    assert shown.end() == 0
    assert shown.seen == b"token\r\n"


def test_delete_asks(terminal, project):
    made = project.put(b"token")
    for answer, code in [(b"n\n", 1), (b"y\n", 0)]:
        shown = terminal("secrets", "delete", "--account", "acct_1", "--id", made)
        shown.expect(b"[y/N]")
        shown.type(answer)
        assert shown.end() == code
        assert project.sql("SELECT count(*) FROM secrets") == [(code,)]


def test_tables_are_coloured_and_cut_nothing(terminal, project, run):
    account = "[red]" + "x" * 150
    project.put(b"v", account=account)
    shown = terminal("secrets", "list")
    assert shown.end() == 0
    assert b"\x1b[" in shown.seen
    assert shown.seen.count(b"x") >= 150
    assert b"[red]" in shown.seen
    assert "\x1b" not in run("secrets", "list").text


def test_no_color(terminal, project):
    shown = terminal("providers", env={"NO_COLOR": "1"})
    assert shown.end() == 0
    assert b"\x1b[3" not in shown.seen
    shown = terminal("check", "--config", "none.yaml", env={"NO_COLOR": "1"})
    assert shown.end() == 2
    assert b"\x1b" not in shown.seen


def test_a_bar_shows_how_far_a_migration_is(terminal, project, service):
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        store.put_many(NewSecret("a", "k", f"v{number}", f"s{number}") for number in range(60))
    project.sections("service", "  service:\n  local: {keyFile: keyhinge.key}\n")
    env = {**service, "SERVICE_SECONDS": "0.02"}
    shown = terminal("migrate", "--batch-size", "10", env=env)
    assert shown.end() == 0
    assert b"/60" in shown.seen
    assert b"rows/s" in shown.seen
    assert b"moved" in shown.seen


def test_the_conformance_tests_ask_first(terminal, project):
    shown = terminal("dev", "conformance", "local")
    shown.expect(b"Go on? [y/N]: ")
    shown.type(b"n\n")
    assert shown.end() == 1
    assert b"may cost money" in shown.seen
    assert b"nothing was tried" in shown.seen
