"""The package that a reader of the tutorial has at its end."""

from __future__ import annotations

import re
from pathlib import Path

from keyhinge_cli._scaffold import write_package

PAGE = Path(__file__).parent.parent.parent / "docs" / "tutorial" / "write-a-provider.md"
FILE = re.compile(
    r"<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


def write_tutorial(folder: Path) -> Path:
    """Write the scaffold's files and over them the page's; give the package's folder."""
    package, *_ = write_package("acme", folder, "0.1.0")
    files = {match["name"]: match["text"] for match in FILE.finditer(PAGE.read_text("utf-8"))}
    assert "keyhinge-acme/src/keyhinge_acme/__init__.py" in files
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return package
