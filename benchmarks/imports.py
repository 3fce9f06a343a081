"""What starting costs: ``import keyhinge`` and ``keyhinge --help``, against what they stand on.

The targets are ratios, measured in one run, in turns: the best of several new processes each.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
COMMAND = str(Path(sys.executable).with_name("keyhinge"))
# what is measured, its command; what it is measured against; the ratio to stay below
MEASURED = [
    (
        "import keyhinge",
        [sys.executable, "-c", "import keyhinge"],
        "import attrs, cattrs, yaml, pluggy",
        1.3,
    ),
    ("keyhinge --help", [COMMAND, "--help"], "import click", 3.0),
]


def milliseconds(command: list[str]) -> float:
    """Return how long `command` takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Measure, and print one line for each target."""
    print(f"{'':28}{'ms':>8}{'base ms':>9}{'ratio':>7}{'target':>8}")
    for name, command, imports, target in MEASURED:
        base = [sys.executable, "-c", imports]
        pairs = [(milliseconds(command), milliseconds(base)) for _ in range(ROUNDS)]
        own, other = min(own for own, _ in pairs), min(other for _, other in pairs)
        print(f"{name:28}{own:8.0f}{other:9.0f}{own / other:7.2f}{'≤ ' + str(target):>8}")


if __name__ == "__main__":
    main()
