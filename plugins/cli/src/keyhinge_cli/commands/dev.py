"""`keyhinge dev`: for authors of providers."""

from __future__ import annotations

from pathlib import Path

import click

from keyhinge_cli._options import Group, Invocation, pass_invocation

_NEXT = """\

It works as it is: it encrypts with a key from its settings. Try it out, in {folder}:

  pip install --editable . --group test
  python -m pytest

Then put your own service's client in its place, in {provider}. The tutorial goes through it:
{tutorial}"""

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
