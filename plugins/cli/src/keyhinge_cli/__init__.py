"""The keyhinge command: check, encrypt, store, migrate and rotate."""

from keyhinge_cli._main import cli, main

__all__ = ["cli", "main"]
