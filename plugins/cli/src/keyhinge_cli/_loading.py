"""Trying an installed provider out in a process of its own, since its import may do anything."""

from __future__ import annotations

import inspect
import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyhinge._discovery import InstalledProvider

__all__ = ["facts_of", "load_apart"]

SECONDS = 30

# What a new interpreter needs to find the same packages. A stranger's code doesn't get the rest
# of the environment, where secrets often are.
_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT", "LD_LIBRARY_PATH")

# The answer follows a mark that only we know, since what is imported may print anything.
_PROGRAM = """
import sys
if sys.path and not sys.path[0]:
    del sys.path[0]  # the current folder, which holds no installed package
import json, traceback
from importlib.metadata import entry_points
from keyhinge._discovery import GROUP, Registry
from keyhinge_cli._loading import facts_of
name, mark = sys.argv[1:]
trace, facts = "", {}
try:
    for point in entry_points(group=GROUP, name=name):
        facts = facts_of(point.load())
except BaseException:
    trace = traceback.format_exc()
try:
    Registry().load(name)
    answer = {"status": "ok", "reason": "", **facts}
except Exception as error:
    answer = {"status": "broken", "reason": str(error), "traceback": trace, **facts}
sys.stdout.write("\\n" + mark + json.dumps(answer, default=str) + "\\n")
"""


def load_apart(provider: InstalledProvider) -> dict[str, Any]:
    """Import a provider in a new process and check it against the hook API.

    Args:
        provider: An installed provider, the only one of its name.

    Returns:
        `status` ("ok" or "broken"), `reason` (for people; empty where it is ok), for a broken one
        `traceback` (which may show anything), and what `facts_of` tells where it could be imported.
    """
    mark = secrets.token_hex(16)
    who = f"provider {provider.name!r} of {provider}"
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
            timeout=SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": "broken", "reason": f"{who} wasn't loaded within {SECONDS} s"}
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


def facts_of(module: object) -> dict[str, Any]:
    """Tell what an entry point's target says about itself, as far as it does.

    Args:
        module: A module, or an instance; right or wrong.

    Returns:
        `api`, `settings` and `location` as text or number, and `capabilities` as a mapping; None
        for what can't be told.
    """
    settings = getattr(module, "keyhinge_settings", None)
    api = getattr(module, "keyhinge_api", None)
    where = module if inspect.ismodule(module) else sys.modules.get(type(module).__module__)
    return {
        "api": api if type(api) is int else None,
        "settings": (
            f"{settings.__module__}.{settings.__qualname__}" if inspect.isclass(settings) else None
        ),
        "location": getattr(where, "__file__", None),
        "capabilities": _capabilities(module),
    }


def _capabilities(module: object) -> dict[str, Any] | None:
    """Read the capabilities off the class that `keyhinge_configure` says it returns, if it does.

    Only a configured section has them for certain: a provider may set them for each instance.
    """
    from keyhinge import Capabilities

    configure: Any = getattr(module, "keyhinge_configure", None)
    try:
        kind = inspect.get_annotations(configure, eval_str=True).get("return")
    except Exception:  # noqa: BLE001 - what isn't imported when it runs is often named there
        return None
    found = inspect.getattr_static(kind, "capabilities", None)
    if not isinstance(found, Capabilities):
        return None
    return {name: getattr(found, name) for name in inspect.signature(Capabilities).parameters}
