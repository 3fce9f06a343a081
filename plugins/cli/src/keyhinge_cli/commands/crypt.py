"""`keyhinge encrypt` and `decrypt`: single values, from standard input to standard output."""

from __future__ import annotations

import base64
import sys
from typing import Any

import click

from keyhinge_cli._input import read_secret, read_text
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._output import Output, is_terminal
from keyhinge_cli._session import open_keys

__all__ = ["decrypt", "encrypt", "show_plaintext"]


def _entry(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    """Split entries at their first equals sign; core checks keys and values."""
    entries: dict[str, str] = {}
    for entry in given:
        key, separator, value = entry.partition("=")
        if not separator or not key:
            raise click.BadParameter("an entry has the form KEY=VALUE", context, parameter)
        if key in entries:
            raise click.BadParameter("two entries have the same key", context, parameter)
        entries[key] = value
    return entries


_context = click.option(
    "--context",
    multiple=True,
    callback=_entry,
    metavar="KEY=VALUE",
    help="What is authenticated with the value (repeatable). It isn't secret.",
)


@click.command("encrypt", cls=Command, short_help="Encrypt standard input.")
@_context
@click.option("--section", metavar="NAME", help="The section; the primary if missing.")
@click.option("--raw", is_flag=True, help="Take standard input's bytes as they are.")
@pass_invocation
def encrypt(
    invocation: Invocation, context: dict[str, str], section: str | None, raw: bool
) -> None:
    """Encrypt standard input, and print the encrypted value as text.

    The newline at the end of a single line is dropped; several lines are kept as they are. On a
    terminal the value is asked for, hidden.
    """
    with open_keys(invocation) as keys:
        value = keys.encrypt(read_secret(raw=raw), context=context, section=section)
    text = value.to_text()
    invocation.out.line(text)
    invocation.out.event(
        "encrypted",
        value=text,
        section=value.section,
        key_id=value.key_id,
        version=value.version,
    )


@click.command("decrypt", cls=Command, short_help="Decrypt standard input.")
@_context
@pass_invocation
def decrypt(invocation: Invocation, context: dict[str, str]) -> None:
    """Decrypt an encrypted value from standard input, and print it as it is.

    The section that made the value decrypts it; the context must be the same as before. With
    --json, what isn't UTF-8 text is printed in base64.
    """
    from keyhinge import EncryptedValue

    with open_keys(invocation) as keys:
        value = EncryptedValue.from_text(read_text("an encrypted value"))
        plaintext = keys.decrypt(value, context=context)
    show_plaintext(invocation.out, "decrypted", plaintext, section=value.section)


def show_plaintext(out: Output, event: str, plaintext: bytes, **fields: Any) -> None:
    """Print a secret, to whoever asked for it.

    Args:
        out: Where to.
        event: The event's name, with `--json`.
        plaintext: The secret. Its bytes are written as they are; only on a terminal a newline
            is added.
        fields: What else the event has.
    """
    if out.as_json:
        out.event(event, **fields, **_encoded(plaintext))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(plaintext)
    if is_terminal(sys.stdout) and not plaintext.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _encoded(plaintext: bytes) -> dict[str, str]:
    try:
        return {"encoding": "utf-8", "value": plaintext.decode("utf-8")}
    except UnicodeDecodeError:
        return {"encoding": "base64", "value": base64.b64encode(plaintext).decode("ascii")}
