"""The packages that only some commands need."""

from __future__ import annotations

import importlib
from typing import Any

from keyhinge_cli._exit import USAGE, CliError

__all__ = ["is_installed", "keyfile", "plugin"]


def plugin(extra: str, module: str = "") -> Any:
    """Import a package of ours that may not be installed.

    Args:
        extra: The extra of `keyhinge` that brings it, as in "store".
        module: The module; the package itself if empty.

    Raises:
        CliError: It isn't installed; the message has the pip line.
    """
    package = f"keyhinge_{extra}"
    try:
        return importlib.import_module(f"{package}{module}")
    except ModuleNotFoundError as error:
        missing = error.name or package
    if missing == package:
        why = f"keyhinge-{extra} isn't installed"
    else:
        why = f"keyhinge-{extra} can't be imported, since there is no module {missing!r}"
    message = f'this command needs keyhinge-{extra}, and {why}: pip install "keyhinge[{extra}]"'
    raise CliError(message, USAGE)


def is_installed(extra: str) -> bool:
    """Tell whether a package of ours is installed, without importing it."""
    from importlib.util import find_spec

    return find_spec(f"keyhinge_{extra}") is not None


def keyfile() -> Any:
    """Import what makes and changes key files."""
    return plugin("local", ".keyfile")
