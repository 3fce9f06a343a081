"""`keyhinge encrypt` and `decrypt`."""

from __future__ import annotations

import base64

import pytest

from keyhinge import EncryptedValue


def encrypt(run, data, *arguments):
    done = run("encrypt", *arguments, stdin=data)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"token", b"token"),
        (b"token\n", b"token"),
        (b"token\r\n", b"token"),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"\n\n", b"\n\n"),
        ("tökén\n".encode(), "tökén".encode()),
        (b" padded \n", b" padded "),
    ],
)
def test_round_trip_drops_the_newline_of_a_single_line(given, kept, run, project):
    value = encrypt(run, given)
    assert EncryptedValue.from_text(value.decode().strip()).section == "local"
    done = run("decrypt", stdin=value)
    assert done.code == 0
    assert done.out == kept


@pytest.mark.parametrize("data", [b"", b"\n", b"\x00\xff\n", bytes(range(256))])
def test_raw_keeps_every_byte(data, run, project):
    assert run("decrypt", stdin=encrypt(run, data, "--raw")).out == data


@pytest.mark.parametrize(("data", "word"), [(b"", "empty"), (b"\n", "empty"), (b"\xff", "UTF-8")])
def test_what_is_not_text_needs_raw(data, word, run, project):
    done = run("encrypt", stdin=data)
    assert done.code == 2
    assert word in done.err
    assert "--raw" in done.err


def test_context_is_bound(run, project):
    value = encrypt(run, b"token", "--context", "account=a=b", "--context", "kind=k")
    assert run("decrypt", "--context", "kind=k", "--context", "account=a=b", stdin=value).code == 0
    for wrong in ([], ["--context", "kind=k"], ["--context", "account=x", "--context", "kind=k"]):
        done = run("decrypt", *wrong, stdin=value)
        assert done.code == 1
        assert done.out == b""
        assert "context" in done.err


def test_a_context_that_breaks_a_rule_is_usage(run, project):
    assert run("encrypt", "--context", "keyhinge=x", stdin=b"v").code == 2
    assert run("encrypt", "--context", "a=", stdin=b"v").code == 2


def test_section(run, project):
    project.sections(
        "local", "  local: {keyFile: keyhinge.key}\n  spare: {type: local, keyFile: keyhinge.key}\n"
    )
    assert encrypt(run, b"x", "--section", "spare").startswith(b"kh1:spare:")
    done = run("encrypt", "--section", "spar", stdin=b"x")
    assert done.code == 2
    assert "Did you mean 'spare'?" in done.err


def test_json(run, project):
    [event] = run("encrypt", "--json", stdin=b"token").events
    assert event["section"] == "local"
    done = run("decrypt", "--json", stdin=event["value"].encode())
    assert done.events == [
        {"event": "decrypted", "section": "local", "encoding": "utf-8", "value": "token"}
    ]
    value = encrypt(run, b"\xff\x00", "--raw")
    [event] = run("decrypt", "--json", stdin=value).events
    assert event["encoding"] == "base64"
    assert base64.b64decode(event["value"]) == b"\xff\x00"


@pytest.mark.parametrize(
    "text",
    [b"nonsense", b"kh1:", b"kh1:local:::", b"\xff\xfe", b"kh1:local:a:b:!!!!", b"k" * 100_000],
    ids=range(6),
)
def test_hostile_values(text, run, project):
    done = run("decrypt", stdin=text)
    assert done.code == 1
    assert done.out == b""
    assert done.err.startswith("error: ")
    assert len(done.err) < 1000


def test_every_changed_character_is_refused(run, project):
    value = bytearray(encrypt(run, b"token").strip())
    for index in range(0, len(value), 7):
        changed = value[:]
        changed[index] ^= 1
        done = run("decrypt", stdin=bytes(changed))
        assert done.code == 1, index
        assert done.out == b""


def test_a_value_of_a_section_that_is_gone(run, project):
    value = encrypt(run, b"token")
    project.sections("other", "  other: {type: local, keyFile: keyhinge.key}\n")
    done = run("decrypt", stdin=value)
    assert done.code == 1
    assert "aliases" in done.err


def test_a_planted_plaintext_value_is_not_believed(run, project):
    planted = b"kh1:plaintext:::" + base64.b64encode(b"Pplanted")
    done = run("decrypt", stdin=planted)
    assert done.code == 1
    assert done.out == b""
    assert "planted" not in done.err


def test_throttling_is_75(program, project, service):
    project.sections("service", "  service:\n")
    done = program("encrypt", "--json", stdin=b"x", env={**service, "SERVICE_THROTTLES": "1"})
    assert done.code == 75
    [error] = done.errors
    assert error["type"] == "ThrottledError"
    assert error["retryable"] is True
    assert error["exit_code"] == 75
