"""The table of this repository's distributions, from their metadata."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent


def generate() -> dict[str, str]:
    """Return the table as ``distributions.md``."""
    rows = ["| install | import | what it is | depends on |", "| --- | --- | --- | --- |"]
    for file in [ROOT / "core/pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        name = project["name"]
        needs = ", ".join(f"`{requirement}`" for requirement in project["dependencies"])
        rows.append(
            f"| `{name}` | `{name.replace('-', '_')}` | {project['description']} | {needs} |"
        )
    return {"distributions.md": "\n".join(rows) + "\n"}
