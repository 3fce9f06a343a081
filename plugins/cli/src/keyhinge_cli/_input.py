"""Taking secrets and encrypted values in: from standard input or a prompt, never from arguments."""

from __future__ import annotations

import sys

import click

from keyhinge_cli._exit import FAILED, USAGE, CliError

__all__ = ["read_secret", "read_text", "single_line"]

_MAX_BYTES = 64 * 1024 * 1024
_EMPTY = (
    "standard input is empty, so there is no value; did the command before the pipe fail? "
    "(--raw takes an empty value)"
)


def read_secret(*, raw: bool, what: str = "Value") -> bytes:
    """Read a secret.

    Args:
        raw: Take standard input's bytes as they are. Otherwise it must be text, and the newline
            at the end of a single line is dropped.
        what: What the prompt on a terminal asks for.

    Raises:
        CliError: It is empty, too large, or not text.
    """
    if sys.stdin.isatty() and not raw:
        typed: str = click.prompt(what, hide_input=True, confirmation_prompt=True, err=True)
        return typed.encode("utf-8", "surrogateescape")
    data = _read_all()
    if raw:
        return data
    data = single_line(data)
    if not data:
        raise CliError(_EMPTY, USAGE)
    if not _is_utf8(data):
        message = "standard input isn't UTF-8 text; --raw takes its bytes as they are"
        raise CliError(message, USAGE)
    return data


def read_text(what: str) -> str:
    """Read an encrypted value from standard input, without the white space around it.

    Args:
        what: What it is called, in messages.

    Raises:
        CliError: It is empty, too large or not text.
    """
    if sys.stdin.isatty():
        click.echo(f"Paste {what}, then Enter and Ctrl-D:", err=True)
    data = _read_all(2 * _MAX_BYTES).strip()
    if not data:
        raise CliError(f"standard input is empty; {what} was expected", USAGE)
    # Text that isn't ASCII can't be one; the parser says so.
    return data.decode("ascii", "replace")


def single_line(data: bytes) -> bytes:
    """Drop the newline that ends a single line; keep several lines as they are."""
    for newline in (b"\r\n", b"\n"):
        if data.endswith(newline):
            line = data[: -len(newline)]
            return data if b"\n" in line else line
    return data


def _read_all(limit: int = _MAX_BYTES) -> bytes:
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise CliError(f"standard input has more than {limit >> 20} MiB", FAILED)
    return data


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
