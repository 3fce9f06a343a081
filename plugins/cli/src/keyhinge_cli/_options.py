"""The options that every command takes, before and after its name."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import click

from keyhinge_cli._output import Output

__all__ = ["Command", "Group", "Invocation", "pass_invocation"]

_NO_ARGUMENTS = (
    "there is an argument too many; it isn't repeated here, in case it is a secret. Secrets are "
    "never passed on the command line, where every user of the machine and the shell's history "
    "see them: pipe them to standard input, or type them when you are asked"
)


class Invocation:
    """What was said about the whole invocation, wherever on the command line.

    Attributes:
        config: What `--config` names.
        database: What `--database` names.
        as_json: Whether `--json` was given.
    """

    def __init__(self) -> None:
        self.config: str | None = None
        self.database: str | None = None
        self.as_json = False

    @cached_property
    def out(self) -> Output:
        """Where the command writes."""
        return Output(as_json=self.as_json)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    invocation = context.ensure_object(Invocation)
    if value is None or value is False:
        return
    name = str(parameter.name)
    known = getattr(invocation, name)
    if known not in (None, False, value):
        option = parameter.opts[0]
        raise click.UsageError(f"{option} is given twice, with different values", context)
    setattr(invocation, name, value)


def shared_options() -> list[click.Parameter]:
    """Make the options that every command has."""
    return [
        click.Option(
            ["--config", "config"],
            type=click.Path(),
            metavar="FILE",
            expose_value=False,
            callback=_keep,
            help="The configuration; else KEYHINGE_CONFIG names it, else it is ./config.yaml.",
        ),
        click.Option(
            ["--database", "database"],
            metavar="URL",
            expose_value=False,
            callback=_keep,
            help="The database; else KEYHINGE_DATABASE names it, else the file's `store.url`.",
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="Write JSON, an object a line.",
        ),
    ]


class _Shared(click.Command):
    """A command with the shared options, which never repeats an argument that it didn't expect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *shared_options()]


class Command(_Shared):
    """A command of `keyhinge`."""

    # click would repeat an argument too many in its message, and it may be a secret.
    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an argument too many in our own words."""
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(_NO_ARGUMENTS, ctx)
        return rest


class Group(_Shared, click.Group):
    """A command with subcommands."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Otherwise the exit code goes by click's version.
        kwargs.setdefault("no_args_is_help", False)
        super().__init__(*args, **kwargs)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a command where there is none of this name."""
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            near = self._near(ctx, name)
            hint = f" Did you mean {near!r}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def _near(self, ctx: click.Context, name: str) -> str | None:
        # `keyhinge rotate` means `local rotate`: likelier than another command that looks like it.
        from difflib import get_close_matches

        commands = self.list_commands(ctx)
        for group in commands:
            command = self.get_command(ctx, group)
            if isinstance(command, click.Group) and name in command.list_commands(ctx):
                return f"{group} {name}"
        return next(iter(get_close_matches(name, commands, n=1)), None)
