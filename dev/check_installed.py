"""Check that exactly the given distributions of Keyhinge are installed, and that they import.

``python -I dev/check_installed.py [--editable-allowed] keyhinge keyhinge-local``
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path


def problems(expected: set[str], *, editable_allowed: bool) -> list[str]:
    """Return what is wrong with this environment, one sentence each."""
    installed = {
        dist.name: dist.version
        for dist in metadata.distributions()
        if dist.name.startswith("keyhinge")
    }
    found = []
    if set(installed) != expected:
        found.append(f"installed are {sorted(installed)}, not {sorted(expected)}")
    if len(set(installed.values())) > 1:
        found.append(f"the versions differ: {installed}")
    for name in sorted(expected & set(installed)):
        module = importlib.import_module(name.replace("-", "_"))
        folder = Path(str(module.__file__)).parent
        if not editable_allowed and not folder.is_relative_to(sys.prefix):
            found.append(f"{name} comes from {folder}, which is outside of this environment")
        if not (folder / "py.typed").is_file():
            found.append(f"{name} has no py.typed")
        if not getattr(module, "__all__", None):
            found.append(f"{name} exports nothing in __all__")
    return found


if __name__ == "__main__":
    names = {argument for argument in sys.argv[1:] if not argument.startswith("--")}
    if found := problems(names, editable_allowed="--editable-allowed" in sys.argv):
        sys.exit("\n".join(found))
    print("installed and importable:", *sorted(names))
