"""`keyhinge check`: does every section work?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keyhinge_cli._exit import FAILED, TEMPORARY, finish
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._session import open_keys
from keyhinge_cli._text import count

if TYPE_CHECKING:
    from keyhinge import Finding, KeyManager


@click.command("check", cls=Command, short_help="Try sections out.")
@click.argument("sections", nargs=-1, metavar="[SECTION]...")
@pass_invocation
def check(invocation: Invocation, sections: tuple[str, ...]) -> None:
    """Try sections out: connect, authenticate, encrypt and decrypt, and look what ends when.

    Checks every section if none is named. Exits with 1 if something is wrong, and with 75 if it
    is nothing but outages, which may pass by themselves.
    """
    out = invocation.out
    with open_keys(invocation) as keys:
        _refuse_unknown(keys, sections)
        names = dict.fromkeys(sections or keys.sections)
        found = {name: _findings(keys, name) for name in names}
        primary = keys.primary
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
            )
    out.table(["section", "level", "code", "finding"], rows)
    errors = [each for findings in found.values() for each in findings if each.level == "error"]
    passing = all(each.data.get("retryable") is True for each in errors)
    code = (TEMPORARY if passing else FAILED) if errors else 0
    out.event("summary", sections=len(found), errors=len(errors), exit_code=code)
    if errors:
        what = "may pass by itself: try again later" if passing else "see the lines above"
        out.note(f"{count(len(errors), 'error')} in {count(len(found), 'section')}; {what}")
    finish(code)


def _refuse_unknown(keys: KeyManager, sections: tuple[str, ...]) -> None:
    from keyhinge import ConfigError
    from keyhinge._names import suggest

    for name in sections:
        if name not in keys.sections:
            known = ", ".join(keys.sections)
            hint = suggest(name, keys.sections)
            raise ConfigError(f"there is no section {name!r}; there are {known}.{hint}")


def _findings(keys: KeyManager, name: str) -> tuple[Finding, ...]:
    from keyhinge import Finding, KeyhingeError

    try:
        return keys.check(name).findings
    except KeyhingeError as error:
        # Its settings or its provider: the other sections are checked all the same.
        return (Finding("error", "section-unusable", str(error), {"error": type(error).__name__}),)
