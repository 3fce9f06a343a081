"""`keyhinge check`: does every section work, does what is stored open, and what will end when?"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from keyhinge_cli._exit import FAILED, TEMPORARY, finish
from keyhinge_cli._next import endings, event_of
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._session import open_keys
from keyhinge_cli._stored import stored_findings
from keyhinge_cli._text import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyhinge import Finding, KeyManager, Purpose
    from keyhinge_cli._output import Output

_PURPOSES: tuple[Purpose, ...] = ("app", "read", "migrate")


@click.command("check", cls=Command, short_help="Try sections out.")
@click.argument("sections", nargs=-1, metavar="[SECTION]...")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(_PURPOSES),
    default="app",
    show_default=True,
    help="What for: an application, somebody who only reads, or a migration.",
)
@click.option("--no-database", is_flag=True, help="Don't look at the database.")
@pass_invocation
def check(
    invocation: Invocation, sections: tuple[str, ...], purpose: Purpose, no_database: bool
) -> None:
    """Try sections out: connect, authenticate, encrypt and decrypt, and look what ends when.

    Checks every section if none is named. Where a database is known, one stored value is opened
    for each section, key and version; nothing of it is shown. The last line says what will break
    next.

    `--for read` encrypts nothing; `--for migrate` also rewraps a value.

    Exits with 1 if something is wrong, and with 75 if it is nothing but outages, which may pass by
    themselves. What is wrong with the configuration as a whole exits with 2.
    """
    if no_database and invocation.database:
        raise click.UsageError("give --database or --no-database, not both")
    with open_keys(invocation) as keys:
        _refuse_unknown(keys, sections)
        names = list(dict.fromkeys(sections or keys.sections))
        found = {name: _findings(keys, name, purpose) for name in names}
        primary = keys.primary
        if not no_database:
            for label, finding in stored_findings(invocation, keys, sections or None):
                found.setdefault(label, []).append(finding)
    _show(invocation.out, found, primary)
    errors = [each for findings in found.values() for each in findings if each.level == "error"]
    passing = all(each.data.get("retryable") is True for each in errors)
    code = (TEMPORARY if passing else FAILED) if errors else 0
    if errors:
        what = "may pass by itself: try again later" if passing else "see the lines above"
        tried = count(len(names), "section")
        invocation.out.note(f"{count(len(errors), 'error')}, {tried} tried; {what}")
    _tell_next(invocation.out, found, purpose)
    invocation.out.event(
        "summary", purpose=purpose, sections=len(names), errors=len(errors), exit_code=code
    )
    finish(code)


def _refuse_unknown(keys: KeyManager, sections: tuple[str, ...]) -> None:
    from keyhinge import ConfigError
    from keyhinge._names import suggest

    for name in sections:
        if name not in keys.sections:
            known = ", ".join(keys.sections)
            hint = suggest(name, keys.sections)
            raise ConfigError(f"there is no section {name!r}; there are {known}.{hint}")


def _findings(keys: KeyManager, name: str, purpose: Purpose) -> list[Finding]:
    from keyhinge import Finding, KeyhingeError

    try:
        return list(keys.check(name, purpose=purpose).findings)
    except KeyhingeError as error:
        # Its settings or its provider: the other sections are checked all the same.
        return [Finding("error", "section-unusable", str(error), {"error": type(error).__name__})]


def _show(out: Output, found: Mapping[str, Sequence[Finding]], primary: str) -> None:
    rows = []
    for name, findings in found.items():
        shown = f"{name} (primary)" if name == primary else name
        for finding in findings:
            rows.append([shown, finding.level, finding.code, finding.message])
            out.event(
                "finding",
                section=name,
                primary=name == primary,
                level=finding.level,
                code=finding.code,
                message=finding.message,
                data=finding.data,
                purposes=finding.purposes,
            )
    out.table(["section", "level", "code", "finding"], rows)


def _tell_next(out: Output, found: Mapping[str, Sequence[Finding]], purpose: Purpose) -> None:
    told = event_of(endings(found, purpose), datetime.now(timezone.utc))
    out.event("next", **told)
    out.line(told["message"])
