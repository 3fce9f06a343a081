"""`keyhinge dev`: for authors of providers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import FAILED, TEMPORARY, USAGE, CliError, finish
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._session import quiet_logging, read_config
from keyhinge_cli._text import count

if TYPE_CHECKING:
    from keyhinge.testing import Result
    from keyhinge_cli._output import Output

_NEXT = """\

It works as it is: it encrypts with a key from its settings. Try it out, in {folder}:

  pip install --upgrade pip  # groups need 25.1
  pip install --editable . --group test
  python -m pytest

Then put your own service's client in its place, in {provider}.
The tutorial in Keyhinge's documentation goes through it: {tutorial}"""

_COSTS = (
    "This encrypts and decrypts some two thousand test values with the section {section!r}. Its "
    "real key service is called, many times at once, which may cost money and count against a "
    "limit. Nothing is stored, and no key is changed."
)
_NO_PYTEST = "this command needs pytest, and that isn't installed: pip install pytest"
_TUTORIAL = "docs/tutorial/write-a-provider.md"


@click.group("dev", cls=Group)
def dev() -> None:
    """Write a provider of your own, and test one."""


@dev.command("new-provider")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to make keyhinge-NAME in; the current one if missing.",
)
@pass_invocation
def new_provider(invocation: Invocation, name: str, directory: Path) -> None:
    """Write a package with a provider called NAME into the folder keyhinge-NAME.

    It installs and passes the conformance tests at once. An existing folder is left alone.
    """
    from keyhinge_cli._scaffold import check_name, write_package

    check_name(name)
    _warn_of_another(invocation, name)
    folder, *made = write_package(name, directory, _core_version())
    for file in made:
        invocation.out.line(str(file))
    invocation.out.event("package", name=name, folder=folder, files=made)
    invocation.out.note(_NEXT.format(folder=folder, provider=made[1], tutorial=_TUTORIAL))


def _core_version() -> str:
    from importlib.metadata import version

    return version("keyhinge")


def _warn_of_another(invocation: Invocation, name: str) -> None:
    from keyhinge._discovery import installed_providers

    for each in installed_providers():
        if each.name == name:
            invocation.out.warn(
                f"{each} is installed and has a provider called {name!r}, too: with both "
                "installed, no section can use either",
                code="cli.name-taken",
            )


@dev.command("conformance")
@click.argument("section")
@click.option(
    "--other",
    metavar="SECTION",
    help="A section of the same provider with another key, to try each other's values.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long a case may take.",
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@pass_invocation
def conformance(
    invocation: Invocation, section: str, other: str | None, timeout: float, yes: bool
) -> None:
    """Run the conformance tests of providers against a configured SECTION.

    Its real key service is called. Each case that fails names the rule of the hook reference that
    is broken, and each broken rule is told with its reason and its remedy. Exits with 1 if a case
    fails, and with 75 if the key service doesn't answer.
    """
    out = invocation.out
    run = _kit()
    quiet_logging()
    configuration = read_config(invocation)
    # Before anybody is asked: it says what is wrong with the configuration.
    results = run(configuration, section, other=other, timeout=timeout)
    if not yes:
        _confirm(section)
    failed = _summarise(out, section, _told(out, _begun(results)))
    finish(FAILED if failed else 0)


def _kit() -> Any:
    try:
        from keyhinge.testing import conformance_of
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
    else:
        return conformance_of
    raise CliError(_NO_PYTEST, USAGE)


def _confirm(section: str) -> None:
    costs = _COSTS.format(section=section)
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here: say --yes. {costs}")
    if not click.confirm(f"{costs}\nGo on?", err=True):
        raise CliError("nothing was tried", FAILED)


def _begun(results: Iterator[Result]) -> Iterator[Result]:
    """Run the first case, which shows whether the key service can be used at all."""
    from keyhinge import OperationError

    try:
        first = next(results)
    except OperationError as error:
        if error.retryable:
            msg = f"the service can't be reached: {error}. No case was run: try again later"
            raise CliError(msg, TEMPORARY) from None
        msg = f"the service doesn't let it encrypt: {error}. No case was run"
        raise CliError(msg, FAILED) from None
    return chain([first], results)


def _told(out: Output, results: Iterator[Result]) -> list[Result]:
    """Run the cases, telling programs of each as it is done and people of all of them."""
    found = []
    for each in results:
        found.append(each)
        out.event(
            "case",
            case=each.case,
            rule=each.rule,
            outcome=each.outcome,
            message=each.message,
            link=each.link,
        )
    rows = []
    for each in found:
        case = each.case.removeprefix("test_").replace("_", " ")
        rows.append([case, each.rule, each.outcome, each.message])
    out.table(["case", "rule", "outcome", "message"], rows)
    return found


def _summarise(out: Output, section: str, found: list[Result]) -> int:
    """Say what came of it all; give the number of cases that failed."""
    from keyhinge.testing import RULES

    outcomes = [each.outcome for each in found]
    numbers = {each: outcomes.count(each) for each in ("passed", "failed", "skipped")}
    broken = {each.rule for each in found if each.outcome == "failed"}
    rules = [rule for rule in RULES if rule in broken]
    out.event("summary", section=section, **numbers, broken=rules)
    out.line()
    shown = ", ".join(f"{number} {outcome}" for outcome, number in numbers.items())
    out.line(f"{count(len(found), 'case')}: {shown}")
    for rule in rules:
        out.line()
        for line in RULES[rule].explain().splitlines():
            out.line(line)
    return numbers["failed"]
