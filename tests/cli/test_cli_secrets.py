"""`keyhinge secrets`."""

from __future__ import annotations

import pytest

PUT = ["secrets", "put", "--account", "acct_1", "--kind", "plaid"]
ONE = ["--account", "acct_1"]


def test_put_get_list_delete(run, project):
    done = run(*PUT, stdin=b"token\n")
    assert done.code == 0
    made = done.text.strip()
    assert done.text == f"{made}\n"
    assert b"token" not in project.database.read_bytes()
    done = run("secrets", "get", *ONE, "--id", made)
    assert done.out == b"token"
    listed = run("secrets", "list")
    assert made in listed.text
    assert "token" not in listed.text
    done = run("secrets", "delete", *ONE, "--id", made, "--yes")
    assert done.code == 0
    assert run("secrets", "list").text == ""


def test_an_id_of_ones_own_is_replaced(run, project):
    for value in (b"one", b"two"):
        assert run(*PUT, "--id", "mine", stdin=value).text == "mine\n"
    assert run("secrets", "get", *ONE, "--id", "mine").out == b"two"


def test_several_lines_and_bytes(run, project):
    run(*PUT, "--id", "lines", stdin=b"a\nb\n")
    run(*PUT, "--id", "bytes", "--raw", stdin=b"\xff\n")
    assert run("secrets", "get", *ONE, "--id", "lines").out == b"a\nb\n"
    assert run("secrets", "get", *ONE, "--id", "bytes").out == b"\xff\n"
    [event] = run("secrets", "get", *ONE, "--id", "bytes", "--json").events
    assert event["value"] == "/wo="


def test_named_by_kind(run, project):
    run(*PUT, "--id", "a", stdin=b"first")
    assert run("secrets", "get", *ONE, "--kind", "plaid").out == b"first"
    run(*PUT, "--id", "b", stdin=b"second")
    done = run("secrets", "get", *ONE, "--kind", "plaid")
    assert done.code == 1
    assert "--id: a, b" in done.err
    assert run("secrets", "get", *ONE, "--kind", "plaid", "--id", "b").out == b"second"
    assert run("secrets", "get", *ONE, "--kind", "other", "--id", "b").code == 1
    assert run("secrets", "delete", *ONE, "--kind", "plaid", "--yes").code == 1
    assert run("secrets", "list").text.count("plaid") == 2


@pytest.mark.parametrize("command", [["get"], ["delete", "--yes"]])
def test_what_is_not_there(command, run, project):
    done = run("secrets", *command, *ONE, "--id", "none")
    assert done.code == 1
    assert done.out == b""
    assert "has no secret 'none'" in done.err


def test_delete_without_a_terminal_needs_yes(run, project):
    made = project.put(b"token")
    done = run("secrets", "delete", *ONE, "--id", made, stdin=b"y\n")
    assert done.code == 2
    assert "--yes" in done.err
    assert run("secrets", "get", *ONE, "--id", made).code == 0


def test_list_filters_and_json(run, project):
    for account, kind in [("a", "x"), ("a", "y"), ("b", "x")]:
        project.put(b"v", account, kind)
    assert len(run("secrets", "list", "--account", "a", "--json").events) == 2
    assert len(run("secrets", "list", "--kind", "x", "--json").events) == 2
    [event] = run("secrets", "list", "--account", "a", "--kind", "y", "--json").events
    assert set(event) == {
        *("event", "account", "id", "kind", "section", "key_id", "version"),
        *("encrypted_at", "created_at", "updated_at"),
    }
    assert run("secrets", "list", "--account", "none").err == "there is no such secret\n"


def test_list_of_more_than_a_page(run, project, monkeypatch):
    monkeypatch.setattr("keyhinge_cli.commands.secrets._PAGE", 2)
    made = {project.put(b"v") for _ in range(5)}
    assert {event["id"] for event in run("secrets", "list", "--json").events} == made
    text = run("secrets", "list").text
    assert all(each in text for each in made)
    assert text.count("account") == 1


def test_hostile_names_do_not_steer_the_terminal(run, project):
    run(
        "secrets",
        "put",
        "--account",
        "\x1b[31m[red]",
        "--kind",
        "k\nk",
        "--id",
        "i\u202e",
        stdin=b"v",
    )
    done = run("secrets", "list")
    assert done.code == 0
    assert "\x1b" not in done.text
    assert "\u202e" not in done.text
    assert len(done.text.splitlines()) == 2
    [event] = run("secrets", "list", "--json").events
    assert event["account"] == "\x1b[31m[red]"


@pytest.mark.parametrize("bad", ["", "x" * 2000, "a\x00b", "\udcff"])
def test_ids_that_break_a_rule(bad, run, project):
    done = run("secrets", "put", "--account", bad, "--kind", "k", stdin=b"v")
    assert done.code == 2
    assert project.sql("SELECT count(*) FROM secrets") == [(0,)]


def test_a_value_copied_to_another_row_does_not_decrypt(run, project):
    first, second = project.put(b"one"), project.put(b"two")
    project.sql(
        "UPDATE secrets SET secret = (SELECT secret FROM secrets WHERE secret_id = ?) "
        "WHERE secret_id = ?",
        first,
        second,
    )
    done = run("secrets", "get", *ONE, "--id", second)
    assert done.code == 1
    assert done.out == b""
    assert run("secrets", "get", *ONE, "--id", first).out == b"one"


def test_a_downgrade_needs_a_word(run, project):
    run(*PUT, "--id", "a", stdin=b"one")
    project.sections("plaintext", "  plaintext:\n  local: {keyFile: keyhinge.key}\n")
    done = run(*PUT, "--id", "a", stdin=b"two")
    assert done.code == 2
    assert run("secrets", "get", *ONE, "--id", "a").out == b"one"
    assert run(*PUT, "--id", "a", "--allow-plaintext", stdin=b"two").code == 0
    assert run("secrets", "get", *ONE, "--id", "a").out == b"two"
