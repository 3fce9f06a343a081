"""Exit codes, and which error gets which."""

from __future__ import annotations

from typing import Any

import click

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NO",
    "NOTHING",
    "PARTLY",
    "TEMPORARY",
    "TERMINATED",
    "UNSETTLED",
    "USAGE",
    "CliError",
    "code_of",
    "finish",
    "is_ours",
]

DONE = 0
FAILED = 1
USAGE = 2
PARTLY = 3
NOTHING = 4
NO = 5
UNSETTLED = 6
TEMPORARY = 75
INTERRUPTED = 130
TERMINATED = 143

# By name, since importing the classes would load what a command may not need. What is wrong with
# the configuration, with what was typed, or with what is installed: trying again won't help.
_USAGE_ERRORS = frozenset(
    {
        "ConfigError",
        "DatabaseMissingError",
        "DowngradeError",
        "FencedError",
        "ForeignTableError",
        "InvalidContextError",
        "MigrationError",
        "ProviderError",
        "TableMissingError",
    }
)
# The question was fine; the answer is no.
_NO_ERRORS = frozenset({"FenceError"})
# Derived from one of these, but over by itself.
_PASSING_ERRORS = frozenset({"MigrationRunningError", "MigrationStoppedError"})


class CliError(Exception):
    """An error that a command found itself.

    Attributes:
        message: What is wrong and what to do next; nothing secret.
        code: The exit code.
    """

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def finish(code: int) -> None:
    """End the command with an exit code, if that isn't 0."""
    if code:
        raise click.exceptions.Exit(code)


def is_ours(error: BaseException) -> bool:
    """Tell whether an error is one that Keyhinge raises on purpose, so that its text is safe."""
    return isinstance(error, CliError) or "KeyhingeError" in _names(error)


def code_of(error: BaseException) -> int:
    """Give the exit code of an error.

    Args:
        error: Any exception.

    Returns:
        2 for configuration and usage, 5 where the answer is no, 75 for what may pass by itself,
        otherwise 1.
    """
    if isinstance(error, CliError):
        return error.code
    names = _names(error)
    if "KeyFileError" in names and getattr(error, "kind", "") == "io":
        return FAILED  # a disk or a lock, not what was asked for
    if not names.isdisjoint(_NO_ERRORS):
        return NO
    if names.isdisjoint(_PASSING_ERRORS) and not names.isdisjoint(_USAGE_ERRORS):
        return USAGE
    retryable: Any = getattr(error, "retryable", False)
    return TEMPORARY if is_ours(error) and retryable is True else FAILED


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
