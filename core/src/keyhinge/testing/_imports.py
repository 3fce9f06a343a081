"""Which modules does a provider import before its first operation? Found out in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from keyhinge.testing._case import skip

__all__ = ["imported_early"]

# The settings come through standard input: an argument list can be read by every user.
_PROGRAM = """
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]
before = set(sys.modules)
from importlib import import_module
from keyhinge import KeyManager
target = import_module(job["module"])
if job["attribute"]:
    target = getattr(target, job["attribute"])
if job["config"] is not None:
    providers = {job["type"]: target} if job["type"] else None
    KeyManager.open(job["config"], providers=providers, environ=job["environ"]).close()
early = [name for name in job["names"] if name in sys.modules and name not in before]
sys.stdout.write("\\n" + json.dumps(early))
"""


def imported_early(job: Mapping[str, Any], seconds: float) -> list[str]:
    """Import and configure a provider in a new process; give what it imported of `names`.

    Args:
        job: The provider, the names to look for, the configuration and the environment for
            `KeyManager.open` (with None it is only imported).
        seconds: How long that may take.
    """
    module, attribute = _place_of(job["provider"])
    given = {
        "path": [*sys.path, *_roots(module)],
        "module": module.__name__,
        "attribute": attribute,
        "names": list(job["names"]),
        "config": job["config"],
        "environ": job["environ"],
        "type": job.get("type", "provider-under-test"),
    }
    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps(given, default=str),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        # The last line alone: the others may hold settings.
        last = done.stderr.strip().rpartition("\n")[2].partition(":")[0]
        msg = f"a new process can't import and configure it ({last})"
        raise AssertionError(msg)
    found: list[str] = json.loads(done.stdout.rpartition("\n")[2])
    return found


def _place_of(provider: object) -> tuple[ModuleType, str]:
    """Find what to import to get at a provider: a module, and the name in it."""
    if isinstance(provider, ModuleType):
        return provider, ""
    module = sys.modules.get(type(provider).__module__)
    for name, member in vars(module).items() if module else ():
        if member is provider and module is not None:
            return module, name
    skip("the provider is neither a module nor an attribute of its class's module")
    raise AssertionError


def _roots(module: ModuleType) -> list[str]:
    """Give the folder that a module's full name starts at; it may not be on the path."""
    if not module.__file__:
        return []
    path = Path(module.__file__)
    depth = module.__name__.count(".") + (path.stem == "__init__")
    return [str(path.parents[depth])]
