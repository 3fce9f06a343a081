"""`keyhinge migrate` and `rewrap`: moving stored values while applications go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import (
    NOTHING,
    PARTLY,
    TEMPORARY,
    UNSETTLED,
    USAGE,
    CliError,
    code_of,
    finish,
)
from keyhinge_cli._failures import show_failures
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._output import Output
from keyhinge_cli._plugins import plugin
from keyhinge_cli._progress import progress
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._signals import Stop, stoppable
from keyhinge_cli._staged import check_staged, is_monetrs, run_staged, staged_options
from keyhinge_cli._text import asked, count

if TYPE_CHECKING:
    from keyhinge_store import MigrationReport

_STOPPING = (
    "stopping after this batch; what is moved stays moved (a second signal ends at once, which "
    "loses nothing either)"
)

_HALF_MOVED = (
    "monetr decrypts every row with the one provider that it is configured for, so it couldn't "
    "read this table while it is half moved. Prepare the values beside it (--staged), or stop "
    "monetr and say so (--monetr-stopped)"
)
_STAGED = ("staged", "swap", "abandon", "leave_failed", "while_connected", "lock_seconds")

_Move = Callable[..., "MigrationReport"]


def _common(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--allow-empty", is_flag=True, help="Exit with 0 if there is no such row at all."
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(1, 10_000),
            default=1000,
            show_default=True,
            help="Rows in a batch: one call to each key service and one transaction.",
        ),
        click.option(
            "--patience",
            type=click.FloatRange(min=0),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="For how long a key service that is down or throttles is tried again.",
        ),
        click.option(
            "--max-sweeps",
            type=click.IntRange(1),
            metavar="N",
            help="Give up after going N times through the table because applications keep "
            "using rows; 10 if missing.",
        ),
        click.option(
            "--retry-failed",
            is_flag=True,
            help="Try only the rows that failed in the last run to this target.",
        ),
        click.option(
            "--max-errors", type=click.IntRange(0), metavar="N", help="Stop if more rows fail."
        ),
        click.option(
            "--rate",
            type=click.FloatRange(min=0, min_open=True),
            metavar="ROWS",
            help="At most so many rows a second, for all processes together.",
        ),
        click.option("--dry-run", is_flag=True, help="Do everything but write."),
    ):
        command = option(command)
    return command


@click.command("migrate", cls=Command, short_help="Move stored values to another section.")
@click.option(
    "--from",
    "source",
    multiple=True,
    metavar="SECTION",
    help="Move from this section (repeatable); from all others if missing.",
)
@click.option("--to", "target", metavar="SECTION", help="Move to it; to the primary if missing.")
@click.option("--not-primary", is_flag=True, help="Let --to be another section than the primary.")
@click.option("--allow-plaintext", is_flag=True, help="Let --to be one that doesn't encrypt.")
@click.option(
    "--monetr-stopped",
    is_flag=True,
    help="Move the rows of a table of monetr's in place; it can't read it meanwhile.",
)
@_common
@staged_options
@click.pass_context
@pass_invocation
def migrate(
    invocation: Invocation,
    context: click.Context,
    /,
    *,
    source: tuple[str, ...],
    target: str | None,
    not_primary: bool,
    allow_plaintext: bool,
    allow_empty: bool,
    monetr_stopped: bool,
    **how: Any,
) -> None:
    """Bring the stored values of other sections to the primary section, or to another one.

    Applications go on reading and writing meanwhile. It can be stopped at any time, by Ctrl-C or
    SIGTERM, and run again to go on. Started several times, on any machines, with PostgreSQL the
    processes share the work. Each new value is opened once more before it is written.

    With --staged the new values are prepared beside the table, which stays as it is until
    `--staged --swap` puts all of them into it in one transaction.
    """
    staged = {name: how.pop(name) for name in _STAGED}
    if check_staged(context):
        names = ("batch_size", "patience", "max_errors")
        staged |= {name: how[name] for name in names}
        staged |= {"target": target, "allow_plaintext": allow_plaintext}
        del staged["staged"]
        run_staged(invocation, allow_empty=allow_empty, **staged)
        return
    options = {
        "source": source or None,
        "target": target,
        "not_primary": not_primary,
        "allow_plaintext": allow_plaintext,
        **how,
    }
    move, mixing = plugin("store").migrate, not monetr_stopped
    _run(invocation, move, options, allow_empty=allow_empty, mixing=mixing)


@click.command("rewrap", cls=Command, short_help="Bring stored values to the newest key version.")
@click.argument("section", required=False)
@click.option(
    "--new-data-keys",
    is_flag=True,
    help="Encrypt every value anew, under data keys made for this run: a data key may have leaked.",
)
@_common
@pass_invocation
def rewrap(
    invocation: Invocation,
    /,
    *,
    section: str | None,
    new_data_keys: bool,
    allow_empty: bool,
    **how: Any,
) -> None:
    """Bring the stored values of a SECTION (the primary) to its newest key version.

    Like `migrate`, it runs beside applications, and can be stopped and run again.

    Values of a section with data keys, such as `envelope`, have these wrapped anew and stay
    encrypted under them. When a data key may have leaked, restart your applications first, and
    then run it with --new-data-keys.
    """
    options = {"section": section, "new_data_keys": new_data_keys, **how}
    _run(invocation, plugin("store").rewrap, options, allow_empty=allow_empty)


def _run(
    invocation: Invocation,
    move: _Move,
    options: dict[str, Any],
    *,
    allow_empty: bool,
    mixing: bool = False,
) -> None:
    out = invocation.out
    stopped: Exception | None = None
    with (
        open_keys(invocation) as keys,
        open_stored(invocation, keys) as store,
        stoppable(lambda: out.urgent(_STOPPING)) as stop,
        progress(out) as on_progress,
    ):
        if mixing and not options["dry_run"] and is_monetrs(store):
            raise CliError(_HALF_MOVED, USAGE)
        try:
            report = move(store, keys, **options, stop=stop, on_progress=on_progress)
        except plugin("store").MigrationStoppedError as error:
            stopped, report = error, error.report
    for warning in report.warnings:
        out.warn(warning)
    code = _code(report, stop, stopped, allow_empty=allow_empty)
    _show(out, report, code)
    if stopped is not None:
        raise stopped  # its message says how to go on
    advice = _advice(report, code)
    if advice:
        out.note(advice)
    finish(code)


def _code(
    report: MigrationReport, stop: Stop, stopped: Exception | None, *, allow_empty: bool
) -> int:
    if stopped is not None:
        return code_of(stopped)
    if report.interrupted and stop.code is not None:
        return stop.code
    if report.matched_nothing:
        return 0 if allow_empty else NOTHING
    if report.failed or (report.left and report.settled):
        # What a run that tried failures alone leaves wasn't among them: again leaves it, too.
        return PARTLY
    if report.unsettled:
        return UNSETTLED
    # Applications held some rows, or changed them, each time: nothing failed, nothing is done.
    return TEMPORARY if report.left and not report.dry_run else 0


def _show(out: Output, report: MigrationReport, code: int) -> None:
    out.event("report", **report.to_dict(), exit_code=code)
    if report.dry_run:
        first = ["would move", f"{report.verified:,}"]
    else:
        first = ["moved", f"{report.moved:,}"]
    rows = [
        first,
        ["left", f"{report.left:,}"],
        ["failed", f"{report.failed:,}"],
        ["already there", f"{report.already:,}"],
        ["rows in the table", f"{report.rows:,}"],
    ]
    if report.run is not None and report.run.moved != report.moved:
        rows.insert(1, ["moved by the whole run", f"{report.run.moved:,}"])
    for section, calls in report.calls.items():
        rows.append([f"calls to {section}", asked(calls.batches, calls.values)])
    if report.price is not None:
        rows.append(["price of the calls to AWS KMS", _dollars(report.price)])
    if report.run_id is not None:
        rows.append(["run", str(report.run_id)])
    out.table([report.operation, f"{_way(report)} {_target(report)}"], rows)
    show_failures(out, "left as it was", report.failures, report.failed)


def _dollars(price: float) -> str:
    return "less than $0.01" if price < 0.01 else f"${price:,.2f}"


def _target(report: MigrationReport) -> str:
    key = report.target_key
    if key is None:
        return report.target
    which = f"version {key.version}" if key.version else f"key {key.key_id}"
    return f"{report.target}, {which}"


def _way(report: MigrationReport) -> str:
    return "in" if report.operation == "new-data-keys" else "to"


def _advice(report: MigrationReport, code: int) -> str:
    if report.interrupted:
        return "interrupted: nothing is lost. Run the same command again to go on"
    if code == NOTHING:
        return (
            "no row matched at all: is this the right database, and the right section? "
            "(--allow-empty makes this a success)"
        )
    if code == PARTLY:
        return ". ".join(_partly(report))
    if report.unsettled:
        again = "begin anew" if report.operation == "new-data-keys" else "go on"
        return f"given up after {report.sweeps} sweeps: {report.reason}. Run it again to {again}"
    if code == TEMPORARY:
        return "applications were using the rows that are left; run the same command again"
    if report.dry_run:
        return "dry run: nothing was written; the real run makes the same calls to key services"
    if not report.matched and report.operation == "new-data-keys":
        return "nothing was left to do in this run" if report.already else ""
    if not report.matched and report.source:
        return f"nothing to do: no row is under {' or '.join(report.source)}"
    if not report.matched:
        return f"nothing to do: all is at {_target(report)} already"
    return ""


def _partly(report: MigrationReport) -> Iterator[str]:
    if report.failed:
        yield (
            "the rows above are as they were; `keyhinge verify` tells which of them still open. "
            "When they are mended, --retry-failed tries them alone"
        )
    if report.left and report.settled:
        rows = count(report.left, "more row")
        yield (
            f"{rows} to be moved that the earlier run hasn't named as failed, or never got to: "
            "start it without --retry-failed to move all that is left"
        )
