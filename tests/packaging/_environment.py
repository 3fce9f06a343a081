"""A new virtual environment that built packages are installed into, without the network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


class Environment:
    """A virtual environment with exactly the given wheels, and their dependencies of this one.

    Args:
        folder: Where to make it.
        wheels: What to install.
    """

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        pip += ["--python", str(self.python), "install", "--no-deps", "--no-index"]
        done = subprocess.run([*pip, *wheels], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        # pytest, click and the like come from the environment that the tests run in. A plain line
        # puts it behind, so that nothing of ours comes from there.
        (self.site,) = folder.glob("lib/*/site-packages")
        behind = sysconfig.get_path("purelib")
        (self.site / "behind.pth").write_text(f"{behind}\n", encoding="utf-8")

    def run(
        self, *arguments: str, cwd: Path, stdin: str = "", fails: bool = False, **environ: str
    ) -> str:
        """Run this environment's Python; give what it printed."""
        # A stranger has pytest, and not the plugins that are installed here.
        inherited = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KEYHINGE", "PYTHON", "PYTEST", "COV"))
        }
        done = subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env={**inherited, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout
