"""`keyhinge completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click

from keyhinge_cli._options import Command

_SHELLS = ["bash", "zsh", "fish"]


@click.command("completion", cls=Command, short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL.

    \b
    bash: keyhinge completion bash > ~/.local/share/bash-completion/completions/keyhinge
    zsh:  keyhinge completion zsh > "${fpath[1]}/_keyhinge"
    fish: keyhinge completion fish > ~/.config/fish/completions/keyhinge.fish
    """  # noqa: D301 - \b tells click to leave these lines alone
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    root = context.find_root().command
    if kind is not None:
        click.echo(kind(root, {}, "keyhinge", "_KEYHINGE_COMPLETE").source())
