"""Every error that Keyhinge raises, in one tree.

Whatever a client library raised is never chained to these errors: such exceptions carry tokens,
request bodies and other items' plaintexts. What is worth keeping of them stands in `Failure`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import attrs

__all__ = [
    "AccessDeniedError",
    "ClosedError",
    "ConfigError",
    "Failure",
    "InvalidCiphertextError",
    "InvalidContextError",
    "InvalidPlaintextError",
    "KeyUnavailableError",
    "KeyhingeError",
    "OperationError",
    "Problem",
    "ProviderConflictError",
    "ProviderContractError",
    "ProviderError",
    "ProviderLoadError",
    "ProviderNotFoundError",
    "SecretFileError",
    "SectionNotConfiguredError",
    "ThrottledError",
    "UnavailableError",
]


def _rebuild(cls: type[KeyhingeError], message: str, state: dict[str, Any]) -> KeyhingeError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class KeyhingeError(Exception):
    """The root of the tree: catch this to catch everything that Keyhinge raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with its message alone, which loses the attributes.
        return _rebuild, (type(self), str(self), dict(self.__dict__))


@attrs.frozen
class Problem:
    """One thing that is wrong in a configuration.

    Attributes:
        path: Where it is, as in `keyManagement.vault.role`.
        message: What is wrong and what to do; never the value.
        line: The line of the file, counted from 1; None where there is no file.
        severity: "error", or "warning" for what works but is likely a mistake.
    """

    path: str
    message: str
    line: int | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        if self.line is None:
            where = self.path
        else:
            where = f"{self.path} (line {self.line})" if self.path else f"line {self.line}"
        return f"{where}: {self.message}" if where else self.message


class ConfigError(KeyhingeError):
    """The configuration is wrong; `problems` has every problem that was found, not just one."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem] | Problem | str, *, source: str = "") -> None:
        """Collect problems into one message.

        Args:
            problems: The problems, or one of them, or just a message.
            source: The file's name, for the message.
        """
        if isinstance(problems, str):
            problems = (Problem("", problems),)
        elif isinstance(problems, Problem):
            problems = (problems,)
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        head = f"{source}: " if source else ""
        if len(lines) == 1:
            super().__init__(head + lines[0])
        else:
            listing = "".join(f"\n  - {line}" for line in lines)
            super().__init__(f"{head}{len(lines)} problems in the configuration:{listing}")


class SecretFileError(ConfigError):
    """A file that holds a secret can't be read."""


class ClosedError(KeyhingeError):
    """The object was closed and can't be used any more."""


class ProviderError(KeyhingeError):
    """Something about an installed, or not installed, provider package."""


class ProviderNotFoundError(ProviderError):
    """No installed distribution has a provider of this name."""


class ProviderConflictError(ProviderError):
    """Two distributions claim the same provider name."""


class ProviderLoadError(ProviderError):
    """A provider is installed, but can't be imported or doesn't keep to the hook API."""


@attrs.frozen
class Failure:
    """What is worth knowing about the failure underneath, without anything secret.

    Attributes:
        type: The client library's exception class, by name.
        status: The HTTP status, where there was one.
        code: The service's error code, as in `ThrottlingException`.
        request_id: The service's id of the request, for its operators.
        reason: One of the provider's own constant phrases; never text from the service.
    """

    type: str = ""
    status: int | None = None
    code: str = ""
    request_id: str = ""
    reason: str = ""


class OperationError(KeyhingeError):
    """An operation on a value failed.

    Attributes:
        section: The section that was asked; None if none was.
        operation: "encrypt", "decrypt", "rewrap" …; None where it isn't known.
        retryable: Whether the same call may succeed later without any change.
        failure: What happened underneath, or None.
    """

    section: str | None
    operation: str | None
    retryable: bool
    failure: Failure | None

    _retryable = False

    def __init__(
        self,
        message: str,
        *,
        section: str | None = None,
        operation: str | None = None,
        retryable: bool | None = None,
        failure: Failure | None = None,
    ) -> None:
        super().__init__(message)
        self.section = section
        self.operation = operation
        self.retryable = self._retryable if retryable is None else retryable
        self.failure = failure

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.section}: {message}" if self.section else message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), Exception.__str__(self), dict(self.__dict__))


class InvalidCiphertextError(OperationError):
    """The value can't be opened: tampered with, truncated, moved, or bound to another context.

    There is one message for all of these, since no cipher can tell them apart.
    """

    MESSAGE = (
        "the value can't be opened. It was changed or cut short, it belongs to another row, "
        "or the context (authenticated with it, also called encryption context or associated "
        "data) isn't exactly the one that it was encrypted with"
    )

    def __init__(self, message: str = MESSAGE, **details: Any) -> None:
        super().__init__(message, **details)


class InvalidPlaintextError(OperationError):
    """The plaintext is too large, too small or not bytes."""


class InvalidContextError(OperationError):
    """The context breaks a rule, or the provider can't bind it."""


class SectionNotConfiguredError(OperationError):
    """The value names a section that the configuration doesn't have."""


class KeyUnavailableError(OperationError):
    """The key is disabled, deleted, not found, or too old to be used."""


class AccessDeniedError(OperationError):
    """The key service refused: authentication or permission."""


class ThrottledError(OperationError):
    """The key service asks for fewer requests; the same call may succeed later."""

    _retryable = True


class UnavailableError(OperationError):
    """The key service is down, sealed or too slow; the same call may succeed later."""

    _retryable = True


class ProviderContractError(OperationError):
    """A provider broke the contract: it returned rubbish or raised an error of its own."""
