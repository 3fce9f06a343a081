"""`keyhinge check`, and the warning that secrets aren't encrypted."""

from __future__ import annotations

import json

import pytest

PLAIN = "  plaintext:\n  local: {keyFile: keyhinge.key}\n"


def test_all_sections_or_those_named(run, project):
    project.sections("local", PLAIN)
    everything = run("check", "--no-database", "--json").events
    assert {event["section"] for event in everything if event["event"] == "finding"} == {
        "plaintext",
        "local",
    }
    one = run("check", "local", "--no-database", "--json").events
    found = {event["section"] for event in one if event["event"] == "finding"}
    assert found == {"local"}
    assert one[-1] == {
        "event": "summary",
        "purpose": "app",
        "sections": 1,
        "errors": 0,
        "exit_code": 0,
    }
    key = next(event for event in one if event.get("code") == "key")
    assert key["data"]["key_id"].startswith("ks-")


def test_an_unknown_section(run, project):
    done = run("check", "locl")
    assert done.code == 2
    assert "Did you mean 'local'?" in done.err


@pytest.mark.parametrize("damage", ["missing", "mode", "content"])
def test_a_key_file_that_cannot_be_used(damage, run, project):
    if damage == "missing":
        project.key.unlink()
    elif damage == "mode":
        project.key.chmod(0o644)
    else:
        project.key.write_text("{}")
    done = run("check")
    assert done.code == 1
    assert "keyhinge.key" in done.text
    if damage == "mode":
        assert "chmod 0600" in done.text


def test_a_broken_section_beside_a_good_one(run, project):
    project.sections("local", "  local: {keyFile: keyhinge.key}\n  other: {type: unheard-of}\n")
    done = run("check")
    assert done.code == 1
    assert "section-unusable" in done.text
    assert "round-trip" in done.text
    assert run("check", "local").code == 0


def test_only_outages_are_75(program, project, service):
    project.sections("service", "  service:\n")
    throttled = {**service, "SERVICE_THROTTLES": "1"}
    done = program("check", env=throttled)
    assert done.code == 75
    assert "try again later" in done.err
    assert program("check", env=service).code == 0
    project.sections("service", "  service:\n  local: {keyFile: none}\n")
    assert program("check", env=throttled).code == 1


@pytest.mark.parametrize(
    "arguments",
    [["check"], ["encrypt"], ["secrets", "list"], ["status", "--allow-empty"], ["store", "init"]],
    ids=" ".join,
)
def test_plaintext_as_primary_is_said_at_each_command(arguments, run, project):
    project.sections("plaintext", PLAIN)
    done = run(*arguments, stdin=b"x")
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if "doesn't encrypt" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")
    [warning] = [e for e in run(*arguments, "--json", stdin=b"x").errors if e["event"] == "warning"]
    assert warning["code"] == "keyhinge.not_encrypted"


def test_required_encryption_refuses_plaintext(run, project, monkeypatch):
    project.sections("plaintext", PLAIN)
    monkeypatch.setenv("KEYHINGE_REQUIRE_ENCRYPTION", "1")
    done = run("encrypt", stdin=b"x")
    assert done.code == 2
    assert done.out == b""


class TestPurposes:
    FINDINGS = json.dumps(
        [
            {
                "level": "error",
                "code": "may-encrypt",
                "message": "no right to encrypt",
                "data": {"path": "transit/encrypt/app"},
                "purposes": ["app", "migrate"],
            }
        ]
    )

    @pytest.fixture
    def reading(self, project, finder):
        project.sections("finder", f"  finder: {{findings: '{self.FINDINGS}'}}\n")
        return project

    @pytest.mark.parametrize(
        ("purpose", "code", "level"),
        [("app", 1, "error"), ("read", 0, "info"), ("migrate", 1, "error")],
    )
    def test_what_matters_for_it(self, purpose, code, level, run, reading):
        done = run("check", "--for", purpose, "--json")
        assert done.code == code
        [found] = [event for event in done.events if event.get("code") == "may-encrypt"]
        assert found["level"] == level
        assert found["data"] == {"path": "transit/encrypt/app"}
        assert found["purposes"] == ["app", "migrate"]
        assert done.events[-1]["purpose"] == purpose

    def test_app_if_nothing_is_said(self, run, reading):
        assert run("check").code == 1

    def test_a_reader_encrypts_nothing(self, run, reading):
        assert run("check", "--for", "read").code == 0
        assert not (reading.folder / "encrypted.log").exists()
        run("check")
        assert (reading.folder / "encrypted.log").exists()

    def test_another_word(self, run, project):
        done = run("check", "--for", "writing")
        assert done.code == 2
        assert "'app', 'read', 'migrate'" in done.err

    def test_a_migration_rewraps(self, run, project):
        codes = {event.get("code") for event in run("check", "--for", "migrate", "--json").events}
        assert "rewrap" in codes
