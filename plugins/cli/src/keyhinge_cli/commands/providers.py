"""`keyhinge providers`: which providers are installed, and do they load?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import FAILED, finish
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._session import show_logging

if TYPE_CHECKING:
    from keyhinge._discovery import InstalledProvider
    from keyhinge_cli._output import Output

# The providers that we publish, and the extra of `keyhinge` that brings each.
_OURS = {
    "aws": "aws",
    "local": "local",
    "openbao": "vault",
    "plaintext": "plaintext",
    "vault": "vault",
}

# What is only told with --verbose, and what it is called for people.
_DETAILS = {
    "location": "imported from",
    "folder": "installed in",
    "api": "hook API",
    "settings": "settings",
    "capabilities": "capabilities",
    "needs": "needs",
}


@click.command("providers", cls=Command, short_help="List the installed providers; try them out.")
@click.option("--load", is_flag=True, help="Try each in a process of its own.")
@click.option(
    "--verbose",
    is_flag=True,
    help="Tell what belongs into a bug report; with --load also the traceback of a broken one.",
)
@pass_invocation
def providers(invocation: Invocation, load: bool, verbose: bool) -> None:
    """List the installed providers, from the packages' metadata alone.

    Exits with 1 if two packages have the same one, or if --load finds one that is broken.
    """
    from keyhinge._discovery import installed_providers

    out = invocation.out
    show_logging(out)
    found = installed_providers()
    states = [_state(each, found, load=load, verbose=verbose) for each in found]
    if verbose:
        _tell_environment(out)
    rows = []
    for each, state in zip(found, states, strict=True):
        rows.append([each.name, each.distribution, each.version, each.target, state["status"]])
        out.event(
            "provider",
            name=each.name,
            distribution=each.distribution,
            version=each.version,
            target=each.target,
            **state,
        )
    out.table(["name", "distribution", "version", "target", "status"], rows)
    for each, state in zip(found, states, strict=True):
        _tell_more(out, each, state, verbose=verbose)
    _tell_missing(out, {each.name for each in found})
    finish(FAILED if any(state["reason"] for state in states) else 0)


def _tell_missing(out: Output, found: set[str]) -> None:
    missing = [name for name in _OURS if name not in found]
    if missing:
        extras = ",".join(dict.fromkeys(_OURS[name] for name in missing))
        none = "no provider is installed. There are" if not found else "not installed:"
        out.note(f'{none} {", ".join(missing)}; to install: pip install "keyhinge[{extras}]"')


def _state(
    provider: InstalledProvider, found: Sequence[InstalledProvider], *, load: bool, verbose: bool
) -> dict[str, Any]:
    """Tell how it is with a provider: `status`, `reason`, and more of it with --verbose."""
    owners = [str(each) for each in found if each.name == provider.name]
    state: dict[str, Any] = {"status": "installed", "reason": ""}
    if len(owners) > 1:
        reason = (
            f"more than one installed package has a provider called {provider.name!r}: "
            f"{' and '.join(owners)}. Uninstall the one that you don't want"
        )
        state = {"status": "conflict", "reason": reason}
    elif load:
        from keyhinge_cli._loading import load_apart

        state = load_apart(provider)
    if not verbose:
        return {key: state[key] for key in ("status", "reason")}
    from keyhinge_cli._bug_report import installed_needs, package_folder

    needs = installed_needs(provider.distribution)
    return {**state, "folder": package_folder(provider.distribution), "needs": needs}


def _tell_environment(out: Output) -> None:
    from keyhinge_cli._bug_report import environment

    facts = environment()
    out.event("environment", **facts)
    out.line(
        f"keyhinge {facts['keyhinge']} (hook API {facts['api']}), "
        f"keyhinge-cli {facts['keyhinge_cli']}"
    )
    out.line(f"{facts['implementation']} {facts['python']} in {facts['prefix']}")
    out.line(facts["platform"])
    out.line(f"needs {_shown(facts['needs'])}")
    out.line()


def _tell_more(
    out: Output, provider: InstalledProvider, state: Mapping[str, Any], *, verbose: bool
) -> None:
    """Write for people what the table has no room for."""
    if out.as_json:
        return
    if verbose:
        out.line()
        out.line(f"{provider.name}  {provider}")
        for key, label in _DETAILS.items():
            if state.get(key) is not None:
                out.line(f"  {label:13}  {_shown(state[key])}")
    if state["reason"]:
        out.warn(state["reason"])
    if verbose and state.get("traceback"):
        out.note(str(state["traceback"]).rstrip())


def _shown(fact: Any) -> str:
    """Write a fact for people."""
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {_shown(value)}" for name, value in fact.items())
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, int):
        return f"{fact:,}"
    return "none" if fact is None else str(fact)
