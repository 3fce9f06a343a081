"""What the README's two commands share: a virtual environment, made with the standard library."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The store's extras are there so that the demo and its reader can try PostgreSQL and asyncio, too.
DISTRIBUTIONS = (
    "core",
    "plugins/plaintext",
    "plugins/local",
    "plugins/store[postgresql,asyncio]",
    "plugins/cli",
)
TAIL = 15  # lines of an installer's output that are worth showing


class SetupError(Exception):
    """The environment can't be made; the message says what to do about it."""


class InstallError(SetupError):
    """The environment is there, but its packages don't install."""


def main(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run one of the commands and turn what can go wrong into a message and an exit code."""
    try:
        return command(arguments)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run_nox(arguments: Sequence[str]) -> int:
    """Run nox on this repository with `arguments`; without any, all default sessions."""
    try:
        python = environment(".venv-nox", ["nox[uv]>=2025.11.12"])
    except InstallError:
        # uv has no wheel for every platform. Nox works without it, only slower.
        python = environment(".venv-nox", ["nox>=2025.11.12"])
    noxfile = str(ROOT / "noxfile.py")
    return subprocess.call([str(python), "-m", "nox", "--noxfile", noxfile, *arguments])


def run_demo(arguments: Sequence[str]) -> int:
    """Install this clone's packages and run the demonstration."""
    # One call: the extras of core point back at the plugins, and none is to come from elsewhere.
    paths = [str(ROOT / path) for path in DISTRIBUTIONS]
    python = environment(".venv", [part for path in paths for part in ("--editable", path)])
    return subprocess.call([str(python), str(ROOT / "dev" / "demo.py"), *arguments])


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of the virtual environment `name`, which has `requirements` installed.

    An environment that already has them is used as it is, without asking the network.

    Args:
        name: folder in this clone.
        requirements: arguments for ``pip install``.

    Raises:
        SetupError: there is no way to make an environment here.
        InstallError: the packages don't install.
    """
    folder = ROOT / name
    stamp = folder / "keyhinge-stamp"
    wanted = fingerprint(requirements)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and works(python):
        return python
    print(f"Setting up {name} (once, less than a minute) ...", flush=True)
    try:
        venv.EnvBuilder(clear=True, symlinks=os.name != "nt", with_pip=False).create(folder)
    except OSError as error:
        msg = f"{folder} can't be made: {error.strerror}. Is the clone writable?"
        raise SetupError(msg) from None
    install(installer(python), requirements)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def fingerprint(requirements: Sequence[str]) -> str:
    """Return what changes when an environment has to be made anew."""
    digest = hashlib.sha256(repr((platform.python_version(), str(ROOT), *requirements)).encode())
    for project in sorted(
        [ROOT / "core" / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    ):
        digest.update(project.read_bytes())
    return digest.hexdigest()


def works(python: Path) -> bool:
    """Tell whether `python` still starts: the one that it was made from may be gone."""
    return python.exists() and subprocess.call([str(python), "-I", "-c", ""]) == 0


def installer(python: Path) -> list[str]:
    """Return the command that installs packages for `python`, which has no pip yet.

    Debian and Ubuntu ship Python without ensurepip. There, the system's pip or uv can do it from
    outside.
    """
    if importlib.util.find_spec("ensurepip"):
        run(
            [str(python), "-I", "-m", "ensurepip", "--default-pip"],
            "pip can't be put into the new environment.",
        )
        return [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    pip = [sys.executable, "-I", "-m", "pip", "--python", str(python)]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0:
        return [*pip, "install", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", str(python)]
    version = ".".join(platform.python_version_tuple()[:2])
    msg = (
        "This Python can't make virtual environments: `ensurepip` is missing, which Debian and\n"
        "Ubuntu keep in a package of its own. Install it, then run the same line again:\n"
        f"    sudo apt install python{version}-venv"
    )
    raise SetupError(msg)


def install(command: Sequence[str], requirements: Sequence[str]) -> None:
    """Install `requirements` with `command`, quietly unless it fails."""
    run(
        [*command, "--quiet", *requirements],
        "The packages could not be installed. They come from PyPI: is it reachable from here,\n"
        "perhaps through a proxy (HTTPS_PROXY) or a mirror (PIP_INDEX_URL)?",
    )


def run(command: Sequence[str], failure: str) -> None:
    """Run `command`; show the end of what it said, and `failure`, only if it fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise InstallError("\n".join([*done.stdout.splitlines()[-TAIL:], "", failure]))
