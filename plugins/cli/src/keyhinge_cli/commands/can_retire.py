"""`keyhinge can-retire`: does anything stored still need a section, a key or a version?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyhinge_cli._exit import DONE, NO, NOTHING, finish
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._output import Output
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._text import moment

if TYPE_CHECKING:
    from keyhinge_store import Retirement, TableRetirement

_COLUMNS = ("table", "values under it", "unreadable rows", "fenced", "migration under way")


@click.command("can-retire", cls=Command, short_help="Is a section, key or version needed still?")
@click.argument("section")
@click.option("--key", metavar="ID", help="Only values under this key id.")
@click.option("--version", metavar="VERSION", help="Only values under this version.")
@click.option(
    "--without-fence",
    is_flag=True,
    help="Exit with 0 if there is no value now, though nothing keeps one from coming back.",
)
@click.option("--allow-empty", is_flag=True, help="Don't mind if there is no value at all.")
@pass_invocation
def can_retire(
    invocation: Invocation,
    /,
    *,
    section: str,
    key: str | None,
    version: str | None,
    without_fence: bool,
    allow_empty: bool,
) -> None:
    """Tell whether a stored value still needs a SECTION, or a key or version of it.

    The answer is "no", "none" with the moment that this was so, or "fenced". Only "fenced" lasts:
    the database refuses such values (see `keyhinge fence`). The SECTION needn't be in the
    configuration any more. Nothing is decrypted. Values of sections that build on it count, too.

    It speaks of live rows. The key is still needed until all backups from before that moment are
    gone.

    Exits with 0 for "fenced", and with 5 otherwise; with --without-fence also with 0 for "none".
    """
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as stored:
        found: Retirement = plugin("store").can_retire(
            stored, section, key=key, version=version, keys=keys
        )
    code = _code(found, without_fence=without_fence, allow_empty=allow_empty)
    out.event("retirement", **found.to_dict(), exit_code=code)
    out.table(_COLUMNS, [_row(table) for table in found.tables])
    out.line(_verdict(found))
    _explain(out, found, code)
    finish(code)


def _code(found: Retirement, *, without_fence: bool, allow_empty: bool) -> int:
    if found.grade == "fenced":
        return DONE
    if found.grade == "no" or not without_fence:
        return NO
    empty = all(table.empty for table in found.tables)
    return NOTHING if empty and not allow_empty else DONE


def _row(table: TableRetirement) -> list[str]:
    marks = (table.found, table.unreadable, table.fenced, table.running)
    return [table.table, *("yes" if mark else "no" for mark in marks)]


def _what(found: Retirement) -> str:
    parts = [f"section {found.section}"]
    parts += [] if found.key_id is None else [f"key {found.key_id}"]
    parts += [] if found.version is None else [f"version {found.version}"]
    return ", ".join(parts)


def _verdict(found: Retirement) -> str:
    what, when = _what(found), moment(found.at)
    if found.grade == "fenced":
        return f"fenced: at {when} no value was under {what}, and the database takes none any more"
    if found.grade == "none":
        return f"none at {when}: no value was under {what}, but one may come back"
    return f"no: at {when} {what} was still needed, or nobody can tell"


def _explain(out: Output, found: Retirement, code: int) -> None:
    if found.reason:
        out.warn(found.reason)
    for table in found.tables:
        if table.reason:
            out.warn(f"{table.table}: {table.reason}")
        for name in table.above:
            out.warn(f"{table.table}: values of {name!r} are made with it, and need it")
        for name in table.unclear:
            out.warn(
                f"{table.table}: values of {name!r}, which builds on it, may need it: their key "
                "ids don't name the section below"
            )
        for trigger in table.broken:
            out.warn(
                f"{table.table}: the fence {trigger} doesn't count: it is disabled, or not as "
                "`keyhinge fence add` makes it"
            )
        if table.unreadable:
            out.warn(
                f"{table.table}: there are rows that can't be read, and might be under it; "
                "`keyhinge verify` names them"
            )
    if code == NOTHING:
        out.note("there is no value at all: is this the right database? (--allow-empty)")
    if found.grade == "none":
        out.note(_advice(found))
    if found.grade != "no":
        out.note(
            "this speaks of live rows only: the key is still needed until all backups from before "
            "that moment are gone"
        )


def _advice(found: Retirement) -> str:
    if any(table.running for table in found.tables):
        return "a migration is under way: ask again when it is finished"
    if all(table.fenced for table in found.tables):
        return "ask again"
    options = "" if found.key_id is None else f" --key {found.key_id}"
    options += "" if found.version is None else f" --version {found.version}"
    return f"only a fence makes it last: `keyhinge fence add {found.section}{options}`"
