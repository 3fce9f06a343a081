"""`keyhinge local`: making, rotating and showing key files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import USAGE, CliError
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._plugins import keyfile, plugin
from keyhinge_cli._session import read_config
from keyhinge_cli._text import moment

if TYPE_CHECKING:
    from keyhinge.config import Configuration

_BACKUP = (
    "Back up {path} now, apart from the database: without it, nothing that it encrypts can be "
    "read again."
)


@click.group("local", cls=Group)
def local() -> None:
    """Make, rotate and show the key file of a `local` section."""


def _named(command: Callable[..., None]) -> Callable[..., None]:
    option = click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The key file itself; then no configuration is read.",
    )
    return click.argument("section", required=False)(option(command))


@local.command("init")
@_named
@pass_invocation
def init(invocation: Invocation, section: str | None, key_file: Path | None) -> None:
    """Make the key file that a SECTION names; never over an existing file."""
    path, _ = _file(invocation, section, key_file)
    _show(invocation, keyfile().init(path))
    invocation.out.note("\n" + _BACKUP.format(path=path))


@local.command("rotate")
@_named
@click.option("--activate", is_flag=True, help="Let it encrypt at once: for one host only.")
@pass_invocation
def rotate(
    invocation: Invocation, section: str | None, key_file: Path | None, activate: bool
) -> None:
    """Add a key version to a SECTION's file. It only decrypts until it is activated."""
    path, group = _file(invocation, section, key_file)
    _show(invocation, keyfile().rotate(path, activate=activate, allow_group_read=group))
    note = "\n" + _BACKUP.format(path=path)
    if activate:
        note += "\nThen `keyhinge rewrap` brings the stored values to the new version."
    else:
        note += (
            "\nThen copy the file to every host that has it, and only when it is everywhere: "
            "`keyhinge local activate`, and `keyhinge rewrap` for the stored values."
        )
    invocation.out.note(note)


@local.command("activate")
@_named
@click.option("--version", type=click.IntRange(min=1), help="The version; the newest if missing.")
@pass_invocation
def activate(
    invocation: Invocation, section: str | None, key_file: Path | None, version: int | None
) -> None:
    """Let the newest key version of a SECTION's file encrypt, or another one."""
    path, group = _file(invocation, section, key_file)
    _show(invocation, keyfile().activate(path, version=version, allow_group_read=group))
    invocation.out.note("\n`keyhinge rewrap` brings the stored values to this version.")


@local.command("show")
@_named
@pass_invocation
def show(invocation: Invocation, section: str | None, key_file: Path | None) -> None:
    """Show the versions of a SECTION's key file, but not the keys."""
    path, group = _file(invocation, section, key_file)
    _show(invocation, keyfile().show(path, allow_group_read=group))


def _show(invocation: Invocation, info: Any) -> None:
    out = invocation.out
    rows = []
    versions = []
    for each in info.versions:
        rows.append([each.label, moment(each.created), "yes" if each.active else ""])
        versions.append(
            {
                "number": each.number,
                "version": each.label,
                "created": each.created,
                "active": each.active,
            }
        )
    out.event("key_file", path=info.path, key_id=info.key_id, active=info.active, versions=versions)
    out.line(f"key file  {info.path}")
    out.line(f"key id    {info.key_id}")
    out.line()
    out.table(["version", "created", "encrypts"], rows)


def _file(invocation: Invocation, section: str | None, key_file: Path | None) -> tuple[Path, bool]:
    """Find the key file that is meant, and whether its group may read it."""
    if key_file is not None:
        if section is not None:
            raise click.UsageError("give a SECTION or --key-file, not both")
        return key_file, False
    configuration = read_config(invocation)
    name = section or _only_section(configuration)
    if name not in configuration.sections:
        known = ", ".join(configuration.sections) or "none"
        raise CliError(f"there is no section {name!r}; there are: {known}", USAGE)
    kind = configuration.sections[name].type
    if kind != "local":
        raise CliError(f"the section {name!r} is of the type {kind!r}, not 'local'", USAGE)
    settings = configuration.structure_section(name, plugin("local").LocalSettings)
    if settings.key_file is None:
        message = (
            f"the section {name!r} has its keys in `key`, not in a file: change the file that "
            "this comes from, with --key-file"
        )
        raise CliError(message, USAGE)
    return configuration.base_dir / settings.key_file, settings.allow_group_read


def _only_section(configuration: Configuration) -> str:
    names = [name for name, block in configuration.sections.items() if block.type == "local"]
    if len(names) == 1:
        return names[0]
    if names:
        message = f"there are several `local` sections; name one of them: {', '.join(names)}"
    elif configuration.errors:
        from keyhinge import ConfigError

        raise ConfigError(configuration.errors, source=configuration.source)
    else:
        message = "the configuration has no `local` section; name the file with --key-file"
    raise CliError(message, USAGE)
