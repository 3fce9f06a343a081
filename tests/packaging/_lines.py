"""How long a program is, as a reader counts."""

from __future__ import annotations

import ast
from pathlib import Path


def lines_of_code(file: Path) -> int:
    """Count the lines of a Python or TOML file that aren't blank, a comment or a docstring."""
    text = file.read_text(encoding="utf-8")
    prose: set[int] = set()
    if file.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = node.body[0]
                if ast.get_docstring(node) is not None and first.end_lineno is not None:
                    prose |= set(range(first.lineno, first.end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in prose
        for number, line in enumerate(text.splitlines(), start=1)
    )
