"""What the generators share: docstrings in Google style become Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap

SECTIONS = {"Args": "Arguments", "Raises": "Raises", "Returns": "Returns", "Attributes": "Fields"}
_ENTRY = re.compile(r"(?P<name>\*{0,2}\w+): (?P<text>.+)", re.DOTALL)


def paragraphs(text: str | None) -> str:
    """Turn a docstring into Markdown: its sections become lists under a bold word."""
    parts: list[str] = []
    for block in inspect.cleandoc(text or "").split("\n\n"):
        head, _, rest = block.partition("\n")
        name = head.removesuffix(":")
        if name in SECTIONS and head.endswith(":"):
            parts.append(f"**{SECTIONS[name]}**\n\n{_entries(textwrap.dedent(rest))}")
        else:
            parts.append(block)
    return "\n\n".join(parts)


def first_paragraph(text: str | None) -> str:
    """Return a docstring's first paragraph in one line."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def cell(text: str) -> str:
    """Escape what would end a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *[[cell(text) for text in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _entries(text: str) -> str:
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    found = [_ENTRY.fullmatch(item) for item in items]
    if not all(found):
        return " ".join(item.strip() for item in items)
    return "\n".join(f"- `{match['name']}`: {match['text']}" for match in found if match)
