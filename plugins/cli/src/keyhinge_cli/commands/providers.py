"""`keyhinge providers`: which providers are installed, and do they load?"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from keyhinge_cli._exit import FAILED, finish
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._session import show_logging

if TYPE_CHECKING:
    from keyhinge._discovery import InstalledProvider
    from keyhinge_cli._output import Output

_SECONDS = 30

# The providers that we publish, and the extra of `keyhinge` that brings each.
_OURS = {
    "aws": "aws",
    "local": "local",
    "openbao": "vault",
    "plaintext": "plaintext",
    "vault": "vault",
}

# What a new interpreter needs to find the same packages. A stranger's code doesn't get the rest
# of the environment, where secrets often are.
_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT", "LD_LIBRARY_PATH")

# Runs in a process of its own. The answer follows a mark that only we know, since what is
# imported may print anything.
_PROGRAM = """
import sys
if sys.path and not sys.path[0]:
    del sys.path[0]  # the current folder, which holds no installed package
import json, traceback
from importlib.metadata import entry_points
from keyhinge._discovery import GROUP, Registry
name, mark = sys.argv[1:]
trace = ""
try:
    for point in entry_points(group=GROUP, name=name):
        point.load()
except BaseException:
    trace = traceback.format_exc()
try:
    Registry().load(name)
    answer = {"status": "ok", "reason": ""}
except Exception as error:
    answer = {"status": "broken", "reason": str(error), "traceback": trace}
sys.stdout.write("\\n" + mark + json.dumps(answer) + "\\n")
"""


@click.command("providers", cls=Command, short_help="List the installed providers; try them out.")
@click.option("--load", is_flag=True, help="Try each in a process of its own.")
@click.option("--verbose", is_flag=True, help="With --load: show the traceback of a broken one.")
@pass_invocation
def providers(invocation: Invocation, load: bool, verbose: bool) -> None:
    """List the installed providers, from the packages' metadata alone.

    Exits with 1 if two packages have the same one, or if --load finds one that is broken.
    """
    from keyhinge._discovery import installed_providers

    out = invocation.out
    show_logging(out)
    found = installed_providers()
    rows = []
    broken = False
    for each in found:
        state = _state(each, found, load=load)
        status, reason = state["status"], state["reason"]
        broken = broken or bool(reason)
        rows.append([each.name, each.distribution, each.version, each.target, status])
        event = {key: state[key] for key in state if key != "traceback" or verbose}
        out.event(
            "provider",
            name=each.name,
            distribution=each.distribution,
            version=each.version,
            target=each.target,
            **event,
        )
        if reason and not out.as_json:
            out.warn(reason)
        if verbose and not out.as_json and state.get("traceback"):
            out.note(str(state["traceback"]).rstrip())
    out.table(["name", "distribution", "version", "target", "status"], rows)
    _tell_missing(out, {each.name for each in found})
    finish(FAILED if broken else 0)


def _tell_missing(out: Output, found: set[str]) -> None:
    missing = [name for name in _OURS if name not in found]
    if missing:
        extras = ",".join(dict.fromkeys(_OURS[name] for name in missing))
        none = "no provider is installed. There are" if not found else "not installed:"
        out.note(f'{none} {", ".join(missing)}; to install: pip install "keyhinge[{extras}]"')


def _state(
    provider: InstalledProvider, found: Sequence[InstalledProvider], *, load: bool
) -> dict[str, Any]:
    owners = [str(each) for each in found if each.name == provider.name]
    if len(owners) > 1:
        reason = (
            f"more than one installed package has a provider called {provider.name!r}: "
            f"{' and '.join(owners)}. Uninstall the one that you don't want"
        )
        return {"status": "conflict", "reason": reason}
    return _tried(provider) if load else {"status": "installed", "reason": ""}


def _tried(provider: InstalledProvider) -> dict[str, Any]:
    mark = secrets.token_hex(16)
    who = f"provider {provider.name!r} of {provider.distribution} {provider.version}"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _VARIABLES or name.startswith(("PYTHON", "LC_"))
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", _PROGRAM, provider.name, mark],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"{who} wasn't loaded within {_SECONDS} s"
        return {"status": "broken", "reason": reason}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(mark):
            answer: dict[str, Any] = json.loads(line[len(mark) :])
            return answer
    code = done.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return {
        "status": "broken",
        "reason": f"{who}: the process that loaded it {how}",
        "traceback": done.stderr.decode("utf-8", "replace"),
    }
