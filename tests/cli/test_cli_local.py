"""`keyhinge local`."""

from __future__ import annotations

import json
import stat

import pytest

TWO = "  local: {keyFile: keyhinge.key}\n  spare: {type: local, keyFile: keys/spare.key}\n"


def test_init_makes_what_the_section_names(run, project):
    project.sections("local", TWO)
    done = run("local", "init", "spare")
    assert done.code == 2
    assert "folder" in done.err
    (project.folder / "keys").mkdir()
    done = run("local", "init", "spare")
    assert done.code == 0
    path = project.folder / "keys/spare.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "Back up" in done.err
    again = run("local", "init", "spare")
    assert again.code == 2
    assert "never overwritten" in again.err


def test_rotate_activate_show(run, project):
    done = run("local", "rotate")
    assert done.code == 0
    assert "keyhinge local activate" in done.err
    [info] = run("local", "show", "--json").events
    assert [version["active"] for version in info["versions"]] == [True, False]
    done = run("local", "activate")
    assert done.code == 0
    assert "keyhinge rewrap" in done.err
    [info] = run("local", "show", "--json").events
    assert info["active"].startswith("2.")
    assert run("local", "activate", "--version", "1").code == 0
    assert run("local", "rotate", "--activate", "--json").events[0]["active"].startswith("3.")
    assert run("local", "activate", "--version", "9").code == 2


def test_no_key_is_shown(run, project):
    run("local", "rotate")
    keys = [each["key"] for each in json.loads(project.key.read_text())["versions"]]
    for command in ("show", "activate", "rotate"):
        for options in ([], ["--json"]):
            done = run("local", command, *options)
            assert not [key for key in keys if key in done.text + done.err]


def test_a_file_by_its_path_needs_no_configuration(run, tmp_path):
    path = tmp_path / "work" / "own.key"
    for command in ("init", "rotate", "activate", "show"):
        assert run("local", command, "--key-file", path).code == 0


@pytest.mark.parametrize(
    ("sections", "arguments", "word"),
    [
        (TWO, ["show"], "name one of them: local, spare"),
        (TWO, ["show", "spar"], "there is no section 'spar'"),
        ("  local:\n    type: plaintext\n", ["show"], "no `local` section"),
        ("  local:\n    type: plaintext\n", ["show", "local"], "of the type 'plaintext'"),
        ("  local: {key: '{}'}\n", ["rotate"], "in `key`, not in a file"),
        ("  local: {keyFil: x}\n", ["show"], "keyFil"),
    ],
)
def test_a_section_that_has_no_file(sections, arguments, word, run, project):
    project.sections("local", sections)
    done = run("local", *arguments)
    assert done.code == 2
    assert word in done.err


def test_a_missing_file(run, project):
    project.key.unlink()
    for command in ("show", "rotate", "activate"):
        done = run("local", command)
        assert done.code == 2
        assert "doesn't exist" in done.err


def test_a_file_that_others_can_read(run, project):
    project.key.chmod(0o644)
    before = project.key.read_text()
    done = run("local", "rotate")
    assert done.code == 2
    assert "chmod 0600" in done.err
    assert project.key.read_text() == before
