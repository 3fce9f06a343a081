"""Rewrites the generated parts of pages that people read in a clone, where nothing was built.

    python dev/generated.py

Between two marks such a page has the text itself, where other pages include it at each build. A
test fails when it is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_generators"))

import hooks  # noqa: E402
import rules  # noqa: E402

PAGES = [DOCS / "reference" / "hooks.md"]
PART = re.compile(
    r"(?P<head><!-- generated: (?P<name>\S+) -->\n).*?(?P<foot>^<!-- end -->$)",
    re.DOTALL | re.MULTILINE,
)


def renewed(page: Path) -> str:
    """Give a page's text with its generated parts as they should be."""
    parts = hooks.generate() | rules.generate()
    return PART.sub(
        lambda match: f"{match['head']}\n{parts[match['name']].strip()}\n\n{match['foot']}",
        page.read_text(encoding="utf-8"),
    )


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(renewed(each), encoding="utf-8")
