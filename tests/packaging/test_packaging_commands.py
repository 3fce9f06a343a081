"""The README's two commands: what they do before they can rely on anything."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

COMMANDS = ["quickstart.py", "test.py"]


@pytest.mark.parametrize("command", COMMANDS)
def test_parses_on_any_python(command, root):
    """An old Python must get as far as the message, so the script has no newer syntax."""
    source = (root / "dev" / command).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 4))
    assert source.isascii()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_old_python_is_told_what_to_do(command, root):
    """Python 3.9 ends with one clear message and nothing written."""
    path = str(root / "dev" / command)
    program = (
        "import sys, runpy\n"
        "sys.version_info = (3, 9, 2, 'final', 0)\n"
        f"runpy.run_path({path!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Keyhinge needs Python 3.10 or newer; this is Python 3.9.\nRun the same line"
    )


def test_a_python_without_ensurepip_is_told_what_to_install(root, tmp_path):
    """Where venv lacks ensurepip and nothing stands in for it, the message names the package."""
    program = (
        "import importlib.util, shutil, sys\n"
        f"sys.path.insert(0, {str(root / 'dev')!r})\n"
        "import _bootstrap\n"
        "importlib.util.find_spec = lambda name: None\n"
        "shutil.which = lambda name: None\n"
        f"sys.executable = {str(tmp_path / 'python-without-pip')!r}\n"
        "def no_pip(*args, **kwargs):\n"
        "    return _bootstrap.subprocess.CompletedProcess(args, 1)\n"
        "_bootstrap.subprocess.run = no_pip\n"
        "command = lambda arguments: _bootstrap.installer(_bootstrap.Path('python')) and 0\n"
        "sys.exit(_bootstrap.main(command, []))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"sudo apt install python{version}-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_ci_runs_the_readmes_test_command(root):
    """What CI runs is what a reader is told to run."""
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert 'exec python3 dev/test.py "$@"' in script
