"""`keyhinge fence`: letting the database refuse what was retired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import NOTHING, finish
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._output import Output
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._text import count

if TYPE_CHECKING:
    from keyhinge_store import Fence

_COLUMNS = ("table", "column", "section", "key id", "version", "state", "trigger")


def _which(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("section"),
        click.option("--key", metavar="ID", help="Only values under this key id."),
        click.option("--version", metavar="VERSION", help="Only values under this version."),
        click.option("--sql", is_flag=True, help="Print the statements instead; changes nothing."),
        click.option(
            "--patience",
            type=click.FloatRange(min=0),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="For how long the tables' locks are tried for, briefly each time.",
        ),
    ):
        command = option(command)
    return command


@click.group("fence", cls=Group, short_help="Let the database refuse values that were retired.")
def fence() -> None:
    """Let the database refuse values under a section, key or version that was retired.

    A fence is a trigger on each table that has values. What it refuses is never shown.
    """


@fence.command("add")
@_which
@click.option(
    "--hold",
    type=click.FloatRange(min=0, min_open=True),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="For how long applications may have to wait with writing, while the table is looked at.",
)
@pass_invocation
def add(invocation: Invocation, /, *, section: str, sql: bool, **how: Any) -> None:
    """Refuse values under a SECTION from now on, in all tables of the configuration.

    Exits with 5, and changes nothing, where there is such a value still, or where other values
    would be refused, too.
    """
    out = invocation.out
    if sql:
        _print(invocation, section, how, remove=False)
        return
    with open_keys(invocation) as keys, open_stored(invocation, keys) as stored:
        made = plugin("store").add_fence(stored, section, keys=keys, **how)
    _show(out, made)
    out.note(
        f"{count(len(made), 'column')} fenced. From now on the database refuses such values; "
        "`keyhinge can-retire` says so"
    )


@fence.command("remove")
@_which
@pass_invocation
def remove(invocation: Invocation, /, *, section: str, sql: bool, **how: Any) -> None:
    """Remove the fences for exactly this SECTION, key and version, in all tables.

    Exits with 4 if there was none.
    """
    out = invocation.out
    if sql:
        _print(invocation, section, how, remove=True)
        return
    with open_keys(invocation) as keys, open_stored(invocation, keys) as stored:
        gone = plugin("store").remove_fence(stored, section, keys=keys, **how)
    for each in gone:
        out.event("fence_removed", **each.to_dict())
        out.note(f"{each.table}.{each.column} isn't fenced any more: {each.trigger} is gone")
    if not gone:
        out.note("there is no such fence on these tables; `keyhinge fence show` lists all")
        finish(NOTHING)


@fence.command("show")
@click.argument("section", required=False)
@pass_invocation
def show(invocation: Invocation, section: str | None) -> None:
    """List the fences of the database, or those for one SECTION, as the database has them."""
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as stored:
        found = plugin("store").fences(stored)
    wanted = [each for each in found if section in (None, each.section)]
    _show(out, wanted)
    if not wanted:
        out.note("there is no such fence" if section else "there is no fence")
    if not all(each.enabled for each in wanted):
        out.warn(
            "a fence is disabled, or doesn't see all rows of its table; `keyhinge fence add` makes "
            "it anew"
        )
    if any(each.intact is False for each in wanted):
        out.warn(
            "a fence has another condition than `keyhinge fence add` gives it, so it may let "
            "values pass; `keyhinge fence add` makes it anew"
        )


def _print(invocation: Invocation, section: str, how: dict[str, Any], *, remove: bool) -> None:
    out = invocation.out
    which = {name: how[name] for name in ("key", "version")}
    with open_keys(invocation) as keys, open_stored(invocation, keys) as stored:
        made = plugin("store").fence_statements(stored, section, keys=keys, remove=remove, **which)
    for statement in made:
        out.event("statement", sql=statement)
        if not out.as_json:
            click.echo(f"{statement};")
    if not remove:
        out.note("whether a value is in its way, `keyhinge can-retire` tells afterwards")


def _show(out: Output, found: Sequence[Fence]) -> None:
    for each in found:
        out.event("fence", **each.to_dict())
    out.table(_COLUMNS, [_line(each) for each in found])


def _line(each: Fence) -> list[str]:
    return [
        each.table,
        each.column,
        each.section,
        "all" if each.key_id is None else each.key_id,
        "all" if each.version is None else each.version,
        _state(each),
        each.trigger,
    ]


def _state(each: Fence) -> str:
    if not each.enabled:
        return "off"
    return "changed" if each.intact is False else "on"
