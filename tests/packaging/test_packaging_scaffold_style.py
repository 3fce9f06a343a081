"""The linter and the type checker have nothing to say about generated code.

They are installed where types are checked, so that is where this runs.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.packaging._tutorial import write_tutorial

from keyhinge_cli._scaffold import write_package

pytestmark = pytest.mark.skipif(
    not (find_spec("mypy") and find_spec("ruff")),
    reason="runs in the nox session `typing`, which has mypy and ruff",
)


# The longest name too: it must not make a line that the formatter would break.
@pytest.fixture(params=["x", "acme", "a-name-as-long-as-they-may-be-32", "the tutorial's"])
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a generated package."""
    if request.param == "the tutorial's":
        return write_tutorial(tmp_path)
    return write_package(request.param, tmp_path, "0.1.0")[0]


def run(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_passes(package):
    """As a stranger has it: no settings, so ruff's own defaults."""
    run("ruff", "check", "--isolated", ".", cwd=package)
    run("ruff", "format", "--isolated", "--check", ".", cwd=package)


def test_mypy_passes(package):
    """Strictly, with core's own types."""
    others = [file.name for file in package.glob("*.py")]
    run("mypy", "--strict", "--cache-dir", "../cache", "src", "tests", *others, cwd=package)
