"""`keyhinge config`: is the file right, what may stand in it, and what is in force?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from keyhinge_cli._exit import USAGE, finish
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._plugins import is_installed, plugin
from keyhinge_cli._session import quiet_logging, read_config
from keyhinge_cli._text import count

if TYPE_CHECKING:
    from keyhinge import Problem
    from keyhinge.config import Configuration, SettingView


@click.group("config", cls=Group)
def config() -> None:
    """Check and show the configuration."""


@config.command("check")
@pass_invocation
def check(invocation: Invocation) -> None:
    """List every problem of the file, also in sections that nothing uses yet.

    Connects nowhere; `keyhinge check` does.
    """
    out = invocation.out
    quiet_logging()
    configuration = read_config(invocation)
    problems = _problems(invocation, configuration)
    problems.sort(key=lambda problem: problem.line or 0)
    rows = []
    for each in problems:
        rows.append([str(each.line or ""), each.severity, each.path, each.message])
        out.event(
            "problem",
            severity=each.severity,
            path=each.path,
            line=each.line,
            message=each.message,
        )
    out.table(["line", "severity", "where", "problem"], rows)
    errors = sum(each.severity == "error" for each in problems)
    warnings = len(problems) - errors
    out.event("summary", source=configuration.source, errors=errors, warnings=warnings)
    found = f"{count(errors, 'error')}, {count(warnings, 'warning')}"
    out.note(f"{configuration.source}: {found if problems else 'nothing is wrong'}")
    finish(USAGE if errors else 0)


def _problems(invocation: Invocation, configuration: Configuration) -> list[Problem]:
    from keyhinge import Problem, ProviderError
    from keyhinge._discovery import Registry

    registry = Registry()
    problems = list(configuration.problems)
    for name, block in configuration.sections.items():
        settings = None
        try:
            settings = registry.load(block.type).settings
        except ProviderError as error:
            problems.append(Problem(f"keyManagement.{name}", str(error), block.node.line))
        problems += configuration.check_section(name, settings)
    if is_installed("store"):
        problems += configuration.check_block("store", plugin("store").StoreSettings)
    if not any(problem.severity == "error" for problem in problems):
        problems += _when_opened(invocation)
    return problems


def _when_opened(invocation: Invocation) -> list[Problem]:
    """Find what only shows when the sections are put together: circles, observers, options."""
    from keyhinge import ConfigError, KeyhingeError, KeyManager, Problem

    found: list[Problem] = []
    try:
        with KeyManager.open(invocation.config) as keys:
            for name in keys.sections:
                try:
                    keys.capabilities(name)
                except ConfigError as error:
                    found += error.problems
                except KeyhingeError as error:
                    found.append(Problem(f"keyManagement.{name}", str(error)))
            if not keys.capabilities().encrypts:
                message = "the primary section doesn't encrypt; secrets stand readable"
                found.append(Problem("keyManagement.provider", message, severity="warning"))
    except ConfigError as error:
        found += error.problems
    except KeyhingeError as error:
        found.append(Problem("keyManagement", str(error)))
    return found


@config.command("schema")
@pass_invocation
def schema(invocation: Invocation) -> None:
    """Print the JSON Schema of the whole file, for editors, with every installed provider."""
    from keyhinge import ProviderError
    from keyhinge._discovery import Registry
    from keyhinge.config import json_schema

    registry = Registry()
    providers: dict[str, type] = {}
    for name in registry.names():
        try:
            providers[name] = registry.load(name).settings
        except ProviderError as error:
            invocation.out.warn(f"left out of the schema: {error}", provider=name)
    blocks = {"store": plugin("store").StoreSettings} if is_installed("store") else {}
    made = json_schema(providers, blocks=blocks)
    json.dump(made, sys.stdout, indent=None if invocation.as_json else 2)
    sys.stdout.write("\n")


@config.command("show")
@click.option("--origin", is_flag=True, help="Also tell where each value comes from.")
@pass_invocation
def show(invocation: Invocation, origin: bool) -> None:
    """Print the effective values, without secrets."""
    out = invocation.out
    quiet_logging()
    configuration = read_config(invocation)
    rows = []
    for path, view in _views(invocation, configuration):
        rows.append([path, view.value, view.origin] if origin else [path, view.value])
        fields = {"origin": view.origin} if origin else {}
        out.event("setting", path=path, value=view.value, **fields)
    out.table(["key", "value", "from"] if origin else ["key", "value"], rows)
    if configuration.errors:
        wrong = count(len(configuration.errors), "problem")
        out.warn(f"the file has {wrong}; `keyhinge config check` lists everything that is wrong")


def _views(invocation: Invocation, configuration: Configuration) -> list[tuple[str, SettingView]]:
    from keyhinge import ProviderError
    from keyhinge._discovery import Registry

    registry = Registry()
    found = [(f"keyManagement.{view.key}", view) for view in configuration.describe_options()]
    for name, block in configuration.sections.items():
        try:
            settings = registry.load(block.type).settings
        except ProviderError as error:
            invocation.out.warn(f"the section {name!r} can't be shown: {error}", section=name)
            continue
        views = configuration.describe(name, settings)
        found += [(f"keyManagement.{name}.{view.key}", view) for view in views]
    if is_installed("store"):
        views = configuration.describe_block("store", plugin("store").StoreSettings)
        found += [(f"store.{view.key}", view) for view in views]
    return found
