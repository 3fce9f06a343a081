"""What happens before a command runs: help, versions, completion, what is loaded and missing."""

from __future__ import annotations

import sys

import click
import pytest

from keyhinge_cli import cli

HEAVY = {
    "asyncio",
    "attr",
    "cattrs",
    "cryptography",
    "keyhinge",
    "keyhinge_local",
    "keyhinge_store",
    "pluggy",
    "rich",
    "sqlalchemy",
    "yaml",
}
COMMANDS = {
    *("init", "providers", "config", "check", "encrypt", "decrypt", "secrets", "store"),
    *("migrate", "rewrap", "runs", "verify", "status", "report", "can-retire", "fence"),
    *("local", "dev", "completion"),
}


def loaded_by(python, *arguments):
    done = python(
        "import sys\nfrom keyhinge_cli._main import run\n"
        "assert run(sys.argv[1:]) == 0\nsys.stderr.write(' '.join(sys.modules))",
        *arguments,
    )
    assert done.code == 0, done.err
    return set(done.err.split())


@pytest.mark.parametrize("arguments", [["--help"], ["secrets", "put", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(python, arguments):
    """Help has to be quick; by names, since times vary."""
    loaded = loaded_by(python, *arguments)
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_the_heavy_modules_would_be_seen(python):
    """The test above would be worth nothing if the names were wrong."""
    assert {"keyhinge", "attr", "yaml"} <= loaded_by(python, "config", "schema")


def test_every_command_of_the_table_is_there_and_imports():
    context = click.Context(cli)
    assert set(cli.list_commands(context)) == COMMANDS
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help


def every_command(command, path=()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from every_command(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in every_command(cli)], ids=" ".join)
def test_each_command_has_help_and_the_shared_options(path, run):
    done = run(*path, "--help")
    assert done.code == 0
    assert done.err == ""
    for option in ("--config", "--database", "--json"):
        assert option in done.text


def test_short_help_is_not_cut(run):
    assert "..." not in run("--help").text.partition("Commands:")[2]


def test_no_arguments_is_help(run):
    done = run()
    assert done.code == 0
    assert "Commands:" in done.text


def test_version(program):
    done = program("--version")
    assert done.code == 0
    assert done.text.startswith("keyhinge, version ")


@pytest.mark.parametrize("module", ["keyhinge_cli", "keyhinge"])
def test_runs_as_a_module(module, python):
    program = f"import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module({module!r}, "
    done = python(program + "run_name='__main__', alter_sys=True)")
    assert done.code == 0, done.err
    assert done.text.startswith("keyhinge, version ")


def test_core_alone_says_what_to_install(python):
    done = python(
        "import runpy, sys; sys.modules['keyhinge_cli'] = None\n"
        "runpy.run_module('keyhinge', run_name='__main__', alter_sys=True)"
    )
    assert done.code == 2
    assert done.out == b""
    assert 'pip install "keyhinge[cli,' in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("shell", "mark"), [("bash", "complete -"), ("zsh", "#compdef keyhinge")])
def test_completion_script(shell, mark, run):
    done = run("completion", shell)
    assert done.code == 0
    assert mark in done.text
    assert "_KEYHINGE_COMPLETE" in done.text


def test_completion_completes(program):
    env = {
        "_KEYHINGE_COMPLETE": "bash_complete",
        "COMP_WORDS": "keyhinge secrets g",
        "COMP_CWORD": "2",
    }
    assert program(env=env).text.split() == ["plain,get"]


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("store", ["secrets", "list"]),
        ("store", ["status"]),
        ("store", ["migrate"]),
        ("local", ["local", "show", "--key-file", "x"]),
        ("local", ["init", "--directory", "."]),
    ],
)
def test_a_missing_package_is_named_with_its_pip_line(extra, arguments, run, monkeypatch, project):
    for name in [f"keyhinge_{extra}", f"keyhinge_{extra}.keyfile"]:
        monkeypatch.setitem(sys.modules, name, None)
    for path in (project.config, project.key, project.database):
        path.rename(path.with_suffix(".old"))
    project.config.with_suffix(".old").rename("other.yaml")
    config = [] if arguments[0] == "init" else ["--config", "other.yaml"]
    done = run(*arguments, *config)
    assert done.code == 2
    assert f'pip install "keyhinge[{extra}]"' in done.err
    assert not project.config.exists()
