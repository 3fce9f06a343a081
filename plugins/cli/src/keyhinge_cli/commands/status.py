"""`keyhinge status`: under which sections, keys and versions is what is stored?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyhinge_cli._exit import NOTHING, PARTLY, finish
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._output import Output
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._text import count, moment

if TYPE_CHECKING:
    from keyhinge_store import LabelStatus, StatusReport


@click.command("status", cls=Command, short_help="Count values by section, key and version.")
@click.option("--allow-empty", is_flag=True, help="Exit with 0 if the table has no row at all.")
@pass_invocation
def status(invocation: Invocation, allow_empty: bool) -> None:
    """Count the stored values by section, key id and version; nothing is decrypted.

    A value is stale if it isn't under the key and version that the primary section encrypts with
    now: `migrate` and `rewrap` bring it there.

    Exits with 3 if there are values that can't be read: the configuration doesn't have their
    section, or value and labels differ.
    """
    out = invocation.out
    with open_keys(invocation) as keys, open_stored(invocation, keys) as store:
        report: StatusReport = plugin("store").status(store, keys)
    if not report.values:
        code = 0 if allow_empty else NOTHING
    else:
        code = PARTLY if report.unreadable or report.not_configured else 0
    columns = ["section", "key id", "version", "values", "state", "oldest"]
    out.table(columns, [_row(label) for label in report.labels])
    out.event("report", **report.to_dict(), exit_code=code)
    out.note(_summary(report))
    _warn(out, report)
    finish(code)


def _row(label: LabelStatus) -> list[str]:
    if not label.configured:
        state = "not configured"
    elif label.stale is None:
        state = "not known"
    else:
        state = "stale" if label.stale else "current"
    return [
        label.section,
        label.key_id or "-",
        label.version or "-",
        f"{label.values:,}",
        state + ("" if label.encrypts is not False else ", not encrypted"),
        moment(label.oldest),
    ]


def _summary(report: StatusReport) -> str:
    if not report.values:
        return "the table is empty (--allow-empty makes this a success)"
    stale = "not known how many" if report.stale is None else f"{report.stale:,}"
    return f"{count(report.values, 'value')}, {stale} stale; {report.primary} encrypts new ones"


def _warn(out: Output, report: StatusReport) -> None:
    if report.current is None:
        out.warn(f"the primary section doesn't tell its key now: {report.current_error}")
    if report.unencrypted:
        out.warn(
            f"{count(report.unencrypted, 'value')} not encrypted; `keyhinge migrate` moves them"
        )
    if report.not_configured:
        out.warn(
            f"{count(report.not_configured, 'value')} of sections that the configuration doesn't "
            "have: put the section back, or list the name under `aliases` of its new one"
        )
    if report.unreadable:
        out.warn(
            f"{count(report.unreadable, 'row')} can't be read, since value and labels differ; "
            "`keyhinge verify` names them"
        )
