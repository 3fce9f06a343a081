"""`keyhinge migrate --staged`: prepare beside the table, swap everything in at once, or drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import NOTHING, PARTLY, code_of, finish
from keyhinge_cli._failures import show_failures
from keyhinge_cli._options import Invocation
from keyhinge_cli._output import Output
from keyhinge_cli._plugins import plugin
from keyhinge_cli._progress import progress
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._signals import Stop, stoppable
from keyhinge_cli._text import asked, count

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyhinge import KeyManager
    from keyhinge_store import SecretStore, StagedReport, Tables

__all__ = ["check_staged", "is_monetrs", "run_staged", "staged_options"]

_STOPPING = "stopping after this batch; the table is as it was, and what is prepared stays prepared"
_UNFIT = {
    "source": "everything that isn't at the target has to go, or the application couldn't read it",
    "not_primary": "the application's provider is changed after the swap",
    "dry_run": "preparing changes nothing in the table",
    "retry_failed": "preparing again tries what failed before",
    "max_sweeps": "there is one sweep",
    "rate": "there is no limit on speed here",
    "monetr_stopped": "monetr is stopped before the swap",
}
_NEEDED = ("swap", "abandon", "leave_failed", "while_connected", "lock_seconds")


def staged_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to `migrate`."""
    for option in (
        click.option(
            "--lock-seconds",
            type=click.FloatRange(min=0, min_open=True),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="With --swap: for how long others may be kept from writing to the table.",
        ),
        click.option(
            "--while-connected",
            is_flag=True,
            help="With --swap: although others are connected to the database, which aren't the "
            "application.",
        ),
        click.option(
            "--leave-failed",
            is_flag=True,
            help="With --swap: leave rows as they are that can't be opened.",
        ),
        click.option("--abandon", is_flag=True, help="With --staged: drop what is prepared."),
        click.option(
            "--swap",
            is_flag=True,
            help="With --staged: put the prepared values into the table. Stop the application "
            "before.",
        ),
        click.option(
            "--staged",
            is_flag=True,
            help="Prepare the new values beside the table, for an application that can't read one "
            "that is half moved, as monetr can't.",
        ),
    ):
        command = option(command)
    return command


def check_staged(context: click.Context) -> bool:
    """Tell whether `--staged` was given; refuse what doesn't go together.

    Raises:
        UsageError: Something doesn't.
    """
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    option = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
    if not context.params["staged"]:
        for name in _NEEDED:
            if name in given:
                msg = f"{option[name]} is a part of --staged"
                raise click.UsageError(msg, context)
        return False
    for name, reason in _UNFIT.items():
        if name in given:
            msg = f"{option[name]} doesn't go with --staged: {reason}"
            raise click.UsageError(msg, context)
    if context.params["swap"] and context.params["abandon"]:
        msg = "--swap and --abandon are opposites"
        raise click.UsageError(msg, context)
    for name in ("leave_failed", "while_connected", "lock_seconds"):
        if name in given and not context.params["swap"]:
            msg = f"{option[name]} goes with --swap"
            raise click.UsageError(msg, context)
    return True


def is_monetrs(store: SecretStore | Tables) -> bool:
    """Tell whether a table is monetr's own."""
    columns = getattr(store, "columns", ())
    return any(column.mapping.encoding == "monetr" for column in columns)


def run_staged(
    invocation: Invocation,
    *,
    swap: bool,
    abandon: bool,
    while_connected: bool,
    allow_empty: bool,
    **options: Any,
) -> None:
    """Do one of the three, and say what comes next."""
    out = invocation.out
    stopped: Exception | None = None
    with (
        open_keys(invocation) as keys,
        open_stored(invocation, keys) as store,
        stoppable(lambda: out.urgent(_STOPPING)) as stop,
        progress(out) as on_progress,
    ):
        if abandon:
            _abandon(out, plugin("store").abandon_staged(store))
            return
        try:
            report: StagedReport = plugin("store").migrate_staged(
                store,
                keys,
                swap=swap,
                alone=swap and not while_connected,
                stop=stop,
                on_progress=on_progress,
                **options,
            )
        except plugin("store").MigrationStoppedError as error:
            stopped, report = error, error.report
        who = "monetr" if is_monetrs(store) else "the application"
        advice = _advice(report, keys, who, swap=swap, plain=options["allow_plaintext"])
    for warning in report.warnings:
        out.warn(warning)
    code = _code(report, stop, stopped, allow_empty=allow_empty)
    _show(out, report, code)
    if stopped is not None:
        raise stopped  # its message says how to go on
    out.note(advice)
    finish(code)


def _abandon(out: Output, report: StagedReport) -> None:
    out.event("report", **report.to_dict(), exit_code=0)
    out.note(
        f"{count(report.dropped, 'prepared value')} for {report.target!r} dropped; the table is "
        "as it was"
    )


def _code(report: StagedReport, stop: Stop, stopped: Exception | None, *, allow_empty: bool) -> int:
    if stopped is not None:
        return code_of(stopped)
    if report.interrupted and stop.code is not None:
        return stop.code
    if not report.rows:
        return 0 if allow_empty else NOTHING
    return PARTLY if report.failed else 0


def _show(out: Output, report: StagedReport, code: int) -> None:
    out.event("report", **report.to_dict(), exit_code=code)
    rows = [
        ["ready", f"{report.ready:,} of {report.matched:,}"],
        ["made now", f"{report.made:,}"],
        ["failed", f"{report.failed:,}"],
        ["rows in the table", f"{report.rows:,}"],
    ]
    if report.state == "swapped":
        rows.insert(0, ["swapped", f"{report.swapped:,}"])
        rows.append(["table locked", f"{report.locked:.1f} seconds"])
        if report.left:
            rows.append(["left as they were", f"{report.left:,}"])
        if report.run_id is not None:
            rows.append(["run", str(report.run_id)])
    for section, calls in report.calls.items():
        rows.append([f"calls to {section}", asked(calls.batches, calls.values)])
    if report.price is not None:
        rows.append(["price of the calls to AWS KMS", f"${report.price:,.4f}"])
    out.table(["migrate --staged", f"to {report.target}"], rows)
    show_failures(out, "can't be moved", report.failures, report.failed)


def _advice(report: StagedReport, keys: KeyManager, who: str, *, swap: bool, plain: bool) -> str:
    target = report.target
    if report.interrupted:
        return "interrupted: the table is as it was. Run the same command again to go on"
    if report.state == "swapped":
        here = "" if keys.primary == target else ", here too if this is another file"
        return (
            f"swapped. Before you start {who}, set `keyManagement.provider` to {target!r} in its "
            f"configuration{here}. Then `keyhinge verify` opens every value once more"
        )
    if swap:
        return (
            "not swapped, the table is as it was: the rows above can't be opened, or not be "
            f"stored, so {who} couldn't read them afterwards. Mend or delete them and try again; "
            "or leave them as they are with --leave-failed"
        )
    if not report.matched:
        return f"nothing to do: all is at {target} already (--to names another section)"
    command = "keyhinge migrate --staged --swap" + (" --allow-plaintext" if plain else "")
    return (
        f"{report.ready:,} of {count(report.matched, 'row')} ready; the table is as it was. Next:\n"
        f"  1. stop {who}\n"
        f"  2. {command}\n"
        f"  3. set `keyManagement.provider` to {target!r} in the configuration of {who}\n"
        f"  4. start {who}\n"
        "Until then, this command may be run again to prepare what has changed; "
        "`keyhinge migrate --staged --abandon` drops it all"
    )
