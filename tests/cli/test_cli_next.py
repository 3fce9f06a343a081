"""The last line of `keyhinge check`: what will break next, and when."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from keyhinge import Finding
from keyhinge_cli._next import endings, event_of, sentence

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=timezone.utc)
TOKEN = {"expires": "2026-11-26T10:00:00Z", "breaks": "the token ends"}
CERTIFICATE = {"expires": "2026-12-06T10:00:00Z", "breaks": "the TLS client certificate ends"}


def told(*findings, purpose="app"):
    return sentence(endings({"vault": findings}, purpose), NOW)


def finding(expires, breaks="the token ends", **more):
    return Finding("info", "token", "about a token", {"expires": expires, "breaks": breaks}, **more)


def test_nothing():
    assert told() == "Nothing is known to end by itself."
    assert told(Finding("ok", "token", "renews itself", {"ttl": 60})) == told()


def test_the_earliest_of_all_sections():
    found = {
        "vault": [Finding("ok", "certificate", "c", CERTIFICATE)],
        "aws": [Finding("warning", "token", "t", TOKEN)],
    }
    assert sentence(endings(found, "app"), NOW) == (
        "What breaks next: in 2 days (2026-11-26 10:00 UTC) the token ends, in the section aws."
    )


@pytest.mark.parametrize(
    ("after", "span"),
    [
        (timedelta(days=12), "12 days"),
        (timedelta(days=3000), "3,000 days"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(seconds=30), "less than two minutes"),
    ],
)
def test_how_long(after, span):
    assert f"next: in {span} (" in told(finding((NOW + after).isoformat()))


@pytest.mark.parametrize(
    "text", ["2026-11-26T11:00:00+01:00", "2026-11-26T10:00:00", "2026-11-26T10:00:00z"]
)
def test_times_are_told_in_utc(text):
    assert "(2026-11-26 10:00 UTC)" in told(finding(text))


@pytest.mark.parametrize(
    "text", ["soon", "", None, 12, "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]
)
def test_what_is_no_time_is_left_out(text):
    assert told(finding(text)) == told()


@pytest.mark.parametrize(
    ("clause", "past"),
    [
        ("the token ends", "the token has ended"),
        ("the material expires", "the material has expired"),
        ("the key is deleted for good", "the key has been deleted for good"),
        ("nobody knows the password", "nobody knows the password"),
    ],
)
def test_what_has_ended(clause, past):
    assert told(finding("2026-11-21T10:00:00Z", clause)) == (
        f"Broken for 3 days, since 2026-11-21 10:00 UTC: {past}, in the section vault."
    )


def test_what_has_ended_does_not_hide_what_comes_next():
    text = told(
        finding("2026-11-24T10:00:00Z", "the license ends"),
        finding("2026-11-20T10:00:00Z"),
        Finding("ok", "certificate", "c", CERTIFICATE),
    )
    assert "the license has ended" in text
    assert "(and 1 more)" in text
    assert text.endswith(
        "what breaks next: in 12 days (2026-12-06 10:00 UTC) the TLS client certificate ends, "
        "in the section vault."
    )


def test_only_what_matters_for_the_purpose():
    writes = finding(TOKEN["expires"], purposes=("app", "migrate"))
    assert "the token ends" in told(writes)
    assert told(writes, purpose="read") == told()


def test_a_finding_without_a_clause():
    assert "what token tells of ends" in told(
        Finding("ok", "token", "t", {"expires": TOKEN["expires"]})
    )


def test_for_programs():
    event = event_of(endings({"vault": [finding(TOKEN["expires"])]}, "app"), NOW)
    assert event["ended"] == []
    assert event["next"] == {
        "expires": datetime(2026, 11, 26, 10, 0, tzinfo=timezone.utc),
        "section": "vault",
        "code": "token",
        "breaks": "the token ends",
        "seconds": 172_800,
    }


class TestCommand:
    def test_the_last_line(self, run, project, finder):
        data = {**CERTIFICATE, "expires": "2999-01-01T00:00:00Z"}
        findings = [{"level": "ok", "code": "certificate", "message": "c", "data": data}]
        project.sections("finder", f"  finder: {{findings: '{json.dumps(findings)}'}}\n")
        done = run("check")
        assert done.code == 0
        last = done.text.splitlines()[-1]
        assert last.startswith("What breaks next: in ")
        assert last.endswith(
            "(2999-01-01 00:00 UTC) the TLS client certificate ends, in the section finder."
        )
        [event] = [each for each in run("check", "--json").events if each["event"] == "next"]
        assert event["message"] == last
        assert event["next"]["expires"] == "2999-01-01T00:00:00Z"

    def test_nothing_ends(self, run, project):
        assert run("check").text.splitlines()[-1] == "Nothing is known to end by itself."
        events = run("check", "--json").events
        assert [each["event"] for each in events[-2:]] == ["next", "summary"]
        assert (events[-2]["next"], events[-2]["ended"]) == (None, [])

    def test_with_an_error_too(self, run, project):
        project.key.unlink()
        done = run("check")
        assert done.code == 1
        assert done.text.splitlines()[-1] == "Nothing is known to end by itself."
