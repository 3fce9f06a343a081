"""`keyhinge report`: what an auditor asks for after a rotation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from keyhinge_cli._age import policy_note, policy_words
from keyhinge_cli._exit import NOTHING, USAGE, CliError, finish
from keyhinge_cli._files import write_page
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._outside import outside_note, outside_rows
from keyhinge_cli._parameters import as_duration, as_end, as_start
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._text import count, moment

if TYPE_CHECKING:
    from keyhinge_store import AuditReport, RunEvidence


@click.command("report", cls=Command, short_help="Tell what runs did, and which keys are in use.")
@click.option(
    "--since",
    required=True,
    callback=as_start,
    metavar="DATE",
    help="The first day, or moment, of the time that is reported (UTC).",
)
@click.option(
    "--until",
    callback=as_end,
    metavar="DATE",
    help="Its last day, or the moment behind it (UTC); now if missing.",
)
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page, too.")
@click.option(
    "--max-key-age",
    callback=as_duration,
    metavar="AGE",
    help="For how long a key version may be in use, as in 365d; else the file's `maxKeyAge`.",
)
@click.option("--allow-empty", is_flag=True, help="Exit with 0 if there is no row and no run.")
@pass_invocation
def report(
    invocation: Invocation,
    /,
    *,
    since: datetime,
    until: datetime | None,
    html: str | None,
    max_key_age: timedelta | None,
    allow_empty: bool,
) -> None:
    """Tell which runs there were in a time (migrations, verifications), and what is stored now.

    For each run: who ran it and when, how many values were under which key before and after, how
    many were moved, verified and failed. Nothing is decrypted, and no value is shown.

    Exits with 0 whatever it finds; `keyhinge status` is what alarms.
    """
    if until is not None and until <= since:
        msg = "--until is before --since"
        raise CliError(msg, USAGE)
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as store:
        found: AuditReport = plugin("store").report(
            store, keys, since=since, until=until, max_key_age=max_key_age
        )
    if html is not None:
        from keyhinge_cli._html import report_page

        write_page(html, report_page(found))
    empty = not found.status.values and not found.runs
    code = NOTHING if empty and not allow_empty else 0
    out.event("report", **found.to_dict(), exit_code=code)
    columns = ["run", "what", "started", "by", "state", "moved", "verified", "failed"]
    out.table(columns, [_run(each) for each in found.runs])
    for each in found.runs:
        out.table([f"run {each.run.run_id}", "key id", "version", "before", "after"], _labels(each))
    columns = ["section", "key id", "version", "values", "oldest", "maxKeyAge"]
    out.table(columns, [*_stored(found), *outside_rows(found.status, len(columns))])
    out.note(
        f"{count(len(found.runs), 'run')} from {moment(found.since)} to {moment(found.until)}; "
        f"{count(found.status.values, 'value')} stored now"
    )
    outside_note(out, found.status)
    policy_note(out, found.status)
    finish(code)


def _run(each: RunEvidence) -> list[str]:
    run = each.run
    return [
        str(run.run_id),
        f"{run.operation} {run.table}" + (f" to {run.target}" if run.target else ""),
        moment(run.started_at),
        run.started_by,
        run.state,
        f"{run.moved:,}" if run.target else "-",
        f"{each.verified:,}",
        f"{run.failed:,}",
    ]


def _labels(each: RunEvidence) -> list[list[str]]:
    return [
        [
            label.section,
            label.key_id or "-",
            label.version or "-",
            "-" if label.before is None else f"{label.before:,}",
            "-" if label.after is None else f"{label.after:,}",
        ]
        for label in each.labels
    ]


def _stored(found: AuditReport) -> list[list[str]]:
    return [
        [
            label.section,
            label.key_id or "-",
            label.version or "-",
            f"{label.values:,}",
            moment(label.oldest) or "not known",
            policy_words(label) or "-",
        ]
        for label in found.status.labels
    ]
