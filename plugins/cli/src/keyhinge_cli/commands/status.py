"""`keyhinge status`: under which sections, keys and versions is what is stored?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from keyhinge_cli._age import policy_note, policy_words
from keyhinge_cli._exit import NO, NOTHING, PARTLY, USAGE, CliError, finish
from keyhinge_cli._files import write_page
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._output import Output
from keyhinge_cli._outside import outside_note, outside_rows
from keyhinge_cli._parameters import as_duration
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._text import count, moment

if TYPE_CHECKING:
    from keyhinge import KeyManager
    from keyhinge_store import LabelStatus, RunInfo, SecretStore, StatusReport, Tables


@click.command("status", cls=Command, short_help="Count values by section, key and version.")
@click.option("--allow-empty", is_flag=True, help="Exit with 0 if the table has no row at all.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page, too.")
@click.option(
    "--max-key-age",
    callback=as_duration,
    metavar="AGE",
    help="For how long a key version may be in use, as in 365d; else the file's `maxKeyAge`.",
)
@click.option(
    "--estimate",
    is_flag=True,
    help="Estimate large tables in PostgreSQL from a sample; not with --html or --max-key-age.",
)
@pass_invocation
def status(
    invocation: Invocation,
    allow_empty: bool,
    html: str | None,
    max_key_age: timedelta | None,
    estimate: bool,
) -> None:
    """Count the stored values by section, key id and version; nothing is decrypted.

    A value is stale if it isn't under the key and version that the primary section encrypts with
    now: `migrate` and `rewrap` bring it there.

    Exits with 3 if there are values that can't be read: the configuration doesn't have their
    section, or value and labels differ. With a maximum age, exits with 5 if a key version is older,
    or if that isn't known.
    """
    out = invocation.out
    if estimate and (html is not None or max_key_age is not None):
        msg = "--estimate looks at a sample: it can't make the page, nor judge ages"
        raise CliError(msg, USAGE)
    with open_keys(invocation) as keys, open_stored(invocation, keys) as store:
        report: StatusReport = plugin("store").status(
            store, keys, max_key_age=max_key_age, estimate=estimate
        )
        page = None if html is None else _page(store, keys, report)
    if html is not None and page is not None:
        write_page(html, page)
    code = _code(report, allow_empty=allow_empty)
    columns = ["section", "key id", "version", "values", "state", "oldest"]
    if report.max_key_age is not None:
        columns += ["maxKeyAge"]
    rows = [_row(label) for label in report.labels]
    out.table(columns, [*rows, *outside_rows(report, len(columns))])
    out.event("report", **report.to_dict(), exit_code=code)
    out.note(_summary(report))
    _warn(out, report)
    finish(code)


def _code(report: StatusReport, *, allow_empty: bool) -> int:
    if not report.values:
        return 0 if allow_empty else NOTHING
    if report.unreadable or report.not_configured:
        return PARTLY
    return 0 if report.policy in (None, "kept") else NO


def _page(store: SecretStore | Tables, keys: KeyManager, report: StatusReport) -> str:
    from keyhinge_cli._html import status_page

    library = plugin("store")
    latest: dict[str, RunInfo] = {}
    verification: RunInfo | None = None
    for each in library.runs(store):  # the newest first
        if each.operation == "verify":
            verification = verification or each
        elif each.subject not in latest or each.state == "active":
            latest[each.subject] = each
    migrations = [library.run(store, each.run_id) for each in latest.values()]
    return status_page(report, library.ages(store, keys), migrations, verification)


def _row(label: LabelStatus) -> list[str]:
    if not label.configured:
        state = "not configured"
    elif label.stale is None:
        state = "not known"
    else:
        state = "stale" if label.stale else "current"
    row = [
        label.section,
        label.key_id or "-",
        label.version or "-",
        f"{label.values:,}",
        state + ("" if label.encrypts is not False else ", not encrypted"),
        moment(label.oldest),
    ]
    return row if label.policy is None else [*row, policy_words(label)]


def _summary(report: StatusReport) -> str:
    if not report.values:
        return "the table is empty (--allow-empty makes this a success)"
    stale = "not known how many" if report.stale is None else f"{report.stale:,}"
    about = "estimated from a sample: about " if report.estimated else ""
    return (
        f"{about}{count(report.values, 'value')}, {stale} stale; {report.primary} encrypts new ones"
    )


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
    outside_note(out, report)
    policy_note(out, report)
