"""`keyhinge runs`: which migrations there were, who works on one, and ending one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyhinge_cli._failures import show_failures
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._output import Output
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._text import count, moment

if TYPE_CHECKING:
    from keyhinge_store import RunInfo

_COLUMNS = ("run", "state", "what", "moved", "failed", "started", "by")


@click.group(
    "runs", cls=Group, invoke_without_command=True, short_help="List migrations; show or end one."
)
@click.pass_context
@pass_invocation
def runs(invocation: Invocation, context: click.Context) -> None:
    """List the migrations and verifications of this database; show one, or end one for all."""
    if context.invoked_subcommand is not None:
        return
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as store:
        found = plugin("store").runs(store)
    for each in found:
        out.event("run", **each.to_dict())
    out.table(_COLUMNS, [_line(each) for each in found])
    if not found:
        out.note("no migration has run in this database yet")


@runs.command("show")
@click.argument("number", type=int)
@pass_invocation
def show(invocation: Invocation, number: int) -> None:
    """Show the run with a NUMBER: who works on it, how far it is, and which rows failed."""
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as store:
        found = plugin("store").run(store, number)
    out.event("run", **found.to_dict())
    out.table(["run", str(found.run_id)], _details(found))
    show_failures(out, "left as it was", found.failures, found.failed)
    _advise(out, found)


@runs.command("abandon")
@click.argument("number", type=int)
@pass_invocation
def abandon(invocation: Invocation, number: int) -> None:
    """End the run with a NUMBER for all processes that work on it. What is moved stays moved."""
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as store:
        found = plugin("store").abandon(store, number)
    out.event("run", **found.to_dict())
    out.note(
        f"run {number} is ended: {count(found.moved, 'row')} moved, and nothing lost. Processes "
        "that worked on it stop; the next migration finds what is left"
    )


def _line(found: RunInfo) -> list[str]:
    return [
        str(found.run_id),
        found.state,
        f"{found.operation} {found.table} {_direction(found)}".rstrip(),
        f"{found.moved:,} of {found.matched:,}" if found.target else "-",
        f"{found.failed:,}",
        moment(found.started_at),
        found.started_by,
    ]


def _direction(found: RunInfo) -> str:
    if not found.target:
        return ""  # a verification
    source = f"from {', '.join(found.source)} " if found.source else ""
    version = f", version {found.target_key[1]}" if found.target_key else ""
    again = f" (what failed in run {found.retry_of})" if found.retry_of else ""
    if found.operation == "new-data-keys":
        return f"in {found.target}{again}"
    return f"{source}to {found.target}{version}{again}"


def _details(found: RunInfo) -> list[list[str]]:
    state = ["state", f"{found.state}: {found.reason}" if found.reason else found.state]
    if not found.target:
        return [
            state,
            ["what", f"{found.operation} {found.table}"],
            ["opened", f"{found.already:,} of {found.matched:,}"],
            ["failed", f"{found.failed:,}"],
            ["started", f"{moment(found.started_at)} by {found.started_by}"],
            ["ended", moment(found.ended_at)],
        ]
    rows = [
        state,
        ["what", f"{found.operation} {found.table} {_direction(found)}"],
        ["moved", f"{found.moved:,} of {found.matched:,}"],
        ["failed", f"{found.failed:,}"],
        ["already there", f"{found.already:,}"],
        ["found changed, deleted, locked", f"{found.changed:,}, {found.gone:,}, {found.busy:,}"],
        ["sweep", f"{found.sweep} of at most {found.max_sweeps}"],
        ["rate", "no limit" if found.rate is None else f"{found.rate:,g} rows a second"],
        ["started", f"{moment(found.started_at)} by {found.started_by}"],
        ["ended", moment(found.ended_at)],
    ]
    for each in found.participants:
        who = f"{each.name} by {each.actor}"
        moved = f"since {moment(each.joined_at)}, {count(each.moved, 'row')}"
        rows.append(["took part", f"{who} {moved}"])
    for process in found.processes:
        at_work = "silent" if process.silent else "at work"
        until = f"lease until {moment(process.lease_until)}"
        rows.append(["process", f"{process.name} {at_work}, {until}"])
    return rows


def _advise(out: Output, found: RunInfo) -> None:
    if found.state == "active" and not any(not each.silent for each in found.processes):
        out.note(
            "nobody works on it now. Run the same command again to go on, or end it with "
            f"`keyhinge runs abandon {found.run_id}`"
        )
