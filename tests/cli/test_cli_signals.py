"""Real signals to a running migration."""

from __future__ import annotations

import json
import signal

import pytest

from keyhinge import KeyManager
from keyhinge_store import NewSecret, open_store

BOTH = "  service:\n  local: {keyFile: keyhinge.key}\n"
MOVE = ("migrate", "--json", "--batch-size", "10")


@pytest.fixture
def filled(project):
    """100 secrets under `local`, and the slow service as the primary."""
    with KeyManager.open(project.config) as keys, open_store(keys) as store:
        store.put_many(NewSecret("a", "k", f"v{number}", f"s{number}") for number in range(100))
    project.sections("service", BOTH)
    return project


def sections(project):
    return dict(project.sql("SELECT section, count(*) FROM secrets GROUP BY section"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_the_batch(number, code, filled, start, program, service):
    running = start(*MOVE, env={**service, "SERVICE_SECONDS": "0.01"})
    assert json.loads(running.line())["event"] == "progress"
    running.send(number)
    done = running.end()
    assert done.code == code
    report = done.events[-1]
    assert report["interrupted"] is True
    assert report["exit_code"] == code
    assert 0 < report["moved"] < 100
    assert sections(filled) == {"service": report["moved"], "local": report["left"]}
    assert "Run the same command again" in done.err
    # Again, and it goes on.
    done = program(*MOVE, env=service)
    assert done.code == 0
    assert done.events[-1]["moved"] == 100 - report["moved"]
    assert sections(filled) == {"service": 100}
    assert program("verify", env=service).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_at_once(number, code, filled, start, program, service):
    """Even while a key service keeps it waiting."""
    running = start("migrate", env={**service, "SERVICE_SECONDS": "20", "SERVICE_SAYS": "1"})
    assert running.error_line() == "encrypting\n"
    running.send(number)
    assert "stopping after this batch" in running.error_line()
    running.send(number)
    done = running.end()
    assert done.code == code
    assert "Traceback" not in done.err
    assert sections(filled) == {"local": 100}
    assert program("migrate", env=service).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_other_commands_end_in_order(number, code, project, start, service):
    project.sections("service", BOTH)
    running = start(
        "check", "--json", env={**service, "SERVICE_SECONDS": "20", "SERVICE_SAYS": "1"}
    )
    assert running.error_line() == "encrypting\n"
    running.send(number)
    done = running.end()
    assert done.code == code
    assert "Traceback" not in done.err


def test_killed_in_the_middle_it_goes_on(filled, start, program, service):
    running = start(*MOVE, env={**service, "SERVICE_SECONDS": "0.01"})
    assert json.loads(running.line())["event"] == "progress"
    running.send(signal.SIGKILL)
    running.end()
    moved = sections(filled)["service"]
    assert 0 < moved < 100
    done = program(*MOVE, env=service)
    assert done.code == 0
    assert done.events[-1]["moved"] == 100 - moved
    assert sections(filled) == {"service": 100}
    done = program("secrets", "get", "--account", "a", "--id", "s42", env=service)
    assert done.out == b"v42"
