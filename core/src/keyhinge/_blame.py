"""Who is to blame: turning what a provider did wrong into an error that holds nothing secret."""

from __future__ import annotations

from keyhinge._errors import (
    AccessDeniedError,
    ClosedError,
    ConfigError,
    Failure,
    OperationError,
    ProviderContractError,
    UnavailableError,
)

__all__ = ["Blame"]


class Blame:
    """Makes the errors of one section.

    Args:
        section: Its name.
        distribution: The package of its provider.
    """

    __slots__ = ("_distribution", "_section")

    def __init__(self, section: str, distribution: str) -> None:
        self._section = section
        self._distribution = distribution

    def error(self, failure: Exception, operation: str) -> OperationError:
        """Turn what a provider raised into an error of ours that holds nothing secret."""
        if isinstance(failure, OperationError):
            failure.section = failure.section or self._section
            failure.operation = failure.operation or operation
            # What is chained, and the frames it was raised in, may hold tokens and plaintexts.
            failure.__cause__ = failure.__context__ = None
            return failure.with_traceback(None)
        kind = type(failure).__name__
        if isinstance(failure, ConfigError):  # a secret's file that can't be read, say
            return AccessDeniedError(str(failure), section=self._section, operation=operation)
        if isinstance(failure, ClosedError):
            return UnavailableError(
                "was closed meanwhile", section=self._section, operation=operation
            )
        # Client libraries are imported at the first operation: one that is missing is found there.
        missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
        what = f"it raised {kind}" + (f" (no module named {missing!r})" if missing else "")
        return self.rubbish(operation, what, Failure(type=kind))

    def rubbish(
        self, operation: str, what: str, failure: Failure | None = None
    ) -> ProviderContractError:
        """Make the error for a provider that broke the contract."""
        message = (
            f"the provider of {self._distribution} broke its contract in {operation}: {what}. "
            "This is a bug in that package; please report it there"
        )
        return ProviderContractError(
            message, section=self._section, operation=operation, failure=failure
        )
