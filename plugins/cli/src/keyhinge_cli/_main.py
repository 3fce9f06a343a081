"""The command itself: which commands there are, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from keyhinge_cli._exit import FAILED, INTERRUPTED, TERMINATED, code_of, is_ours
from keyhinge_cli._options import Group
from keyhinge_cli._output import Output
from keyhinge_cli._signals import Terminated, terminable

__all__ = ["cli", "main", "run"]

# Each command, and the module that has it. Only the one that is called is imported.
_COMMANDS = {
    "init": "init",
    "providers": "providers",
    "config": "config",
    "check": "check",
    "encrypt": "crypt",
    "decrypt": "crypt",
    "secrets": "secrets",
    "store": "store",
    "migrate": "migrate",
    "rewrap": "migrate",
    "runs": "runs",
    "verify": "verify",
    "status": "status",
    "report": "report",
    "can-retire": "can_retire",
    "fence": "fence",
    "local": "local",
    "dev": "dev",
    "completion": "completion",
}

_BUG = (
    "this is a bug: {name}. Set KEYHINGE_TRACEBACK=1 and run it again to see where; look for "
    "secrets in that text before you report it"
)


class LazyGroup(Group):
    """The group of all commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands, in the order in which they are used."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        name = cmd_name.replace("-", "_")
        found = getattr(import_module(f"keyhinge_cli.commands.{module}"), name)
        return found if isinstance(found, click.Command) else None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="keyhinge-cli", prog_name="keyhinge")
def cli() -> None:
    """Keep an application's secrets encrypted in its database, and move them between keys.

    Start with `keyhinge init`. --config, --database and --json may also stand behind a command.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 some rows failed, 4 no table or row
    matched at all, 5 the answer is no, 6 a migration came to no end, 75 temporary (try again),
    130 and 143 interrupted (run it again to go on).
    """


def main() -> NoReturn:
    """Run the command with the process's arguments, and exit."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A locale that lacks a character must not end a command half-way.
            reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        code = code or FAILED
        _drop_output()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What stands behind the command's name; help is meant if there is nothing.

    Returns:
        The exit code.
    """
    fallback = Output(as_json="--json" in arguments)
    try:
        with terminable():
            result = cli.main(
                list(arguments) or ["--help"], prog_name="keyhinge", standalone_mode=False
            )
    except click.ClickException as error:
        return _usage(error, fallback)
    except (KeyboardInterrupt, click.Abort):
        fallback.error("interrupted", exit_code=INTERRUPTED)
        return INTERRUPTED
    except Terminated:
        fallback.error("terminated", exit_code=TERMINATED)
        return TERMINATED
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        return _failed(error, fallback)
    return result if isinstance(result, int) else 0


def _usage(error: click.ClickException, fallback: Output) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message()
    if context is not None and not fallback.as_json:
        click.echo(context.get_usage(), err=True)
        message += f"\nTry '{context.command_path} --help'."
    fallback.error(message, type="UsageError", exit_code=error.exit_code)
    return error.exit_code


def _failed(error: Exception, out: Output) -> int:
    code = code_of(error)
    if os.environ.get("KEYHINGE_TRACEBACK"):
        from traceback import print_exception

        print_exception(error)
    name = type(error).__name__
    if not is_ours(error):
        system = isinstance(error, OSError) and error.errno
        message = f"the operating system says: {os.strerror(system)}" if system else _BUG
        out.error(message.format(name=name), type=name, exit_code=code)
        return code
    fields: dict[str, Any] = {"type": name, "exit_code": code}
    fields["retryable"] = getattr(error, "retryable", False) is True
    problems = getattr(error, "problems", ())
    if problems:
        fields["problems"] = [
            {"path": each.path, "line": each.line, "message": each.message} for each in problems
        ]
    out.error(str(error), **fields)
    return code


def _open_missing_streams() -> None:
    """Open the streams that the caller closed (as `>&-` does), on nothing.

    Python has no object for them then; and the next file or connection that is opened would get
    the number, and with it what is written to that stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
        setattr(sys, name, stream)


def _drop_output() -> None:
    """Make nobody complain, at exit, about output that nobody reads."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
    except (OSError, ValueError):
        return
