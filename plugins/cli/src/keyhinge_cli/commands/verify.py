"""`keyhinge verify`: does every stored value open?"""

from __future__ import annotations

import click

from keyhinge_cli._exit import NOTHING, PARTLY, finish
from keyhinge_cli._failures import show_failures
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._plugins import plugin
from keyhinge_cli._session import open_keys, open_stored
from keyhinge_cli._signals import stoppable
from keyhinge_cli._text import count


@click.command("verify", cls=Command, short_help="Open every stored value; print counts only.")
@click.option("--allow-empty", is_flag=True, help="Exit with 0 if the table has no row at all.")
@pass_invocation
def verify(invocation: Invocation, allow_empty: bool) -> None:
    """Open every stored value, and print how many opened; never a value.

    Exits with 3 if one doesn't.
    """
    out = invocation.out

    def on_progress(values: int, failed: int) -> None:
        out.event("progress", values=values, failed=failed)

    with (
        open_keys(invocation) as keys,
        open_stored(invocation, keys) as store,
        stoppable(lambda: out.urgent("stopping after this batch")) as stop,
    ):
        report = plugin("store").verify(store, keys, on_progress=on_progress, stop=stop)
    if report.interrupted and stop.code is not None:
        code = stop.code
    elif report.values == 0:
        code = 0 if allow_empty else NOTHING
    else:
        code = PARTLY if report.failed else 0
    out.event("report", **report.to_dict(), exit_code=code)
    rows = [["opened", f"{report.opened:,}"], ["failed", f"{report.failed:,}"]]
    if report.plaintexts:
        rows.append(["plaintexts, not migrated yet", f"{report.plaintexts:,}"])
    rows += [[f"  {reason}", f"{number:,}"] for reason, number in report.reasons.items()]
    out.table(["verify", count(report.values, "value")], rows)
    show_failures(out, "doesn't open", report.failures, report.failed)
    if report.interrupted:
        out.note("interrupted: the values after these weren't opened")
    elif code == NOTHING:
        out.note("the table is empty: is this the right database? (--allow-empty accepts that)")
    finish(code)
