"""What `check` finds out about a `vault` or `openbao` section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyhinge import CheckReport

if TYPE_CHECKING:
    from keyhinge_vault._provider import VaultProvider

__all__ = ["check"]


def check(provider: VaultProvider) -> CheckReport:  # noqa: ARG001 - not looked at yet
    """Look at everything."""
    return CheckReport()
