"""Writing a file as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from keyhinge_cli._exit import CliError

__all__ = ["write_page"]


def write_page(path: str, text: str) -> None:
    """Write a page, so that nobody ever reads half of one.

    Raises:
        CliError: It can't be written.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    problem = ""
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")  # a pipe, or /dev/stdout
            return
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else type(error).__name__
        with contextlib.suppress(OSError):
            beside.unlink()
    if problem:
        msg = f"{path} can't be written: {problem}"
        raise CliError(msg)
