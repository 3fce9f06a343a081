"""What `check` finds out about an `aws` section."""

from __future__ import annotations

from collections.abc import Iterator

from keyhinge import CheckReport, Finding, OperationError
from keyhinge_aws._kms import Kms


def check(kms: Kms) -> CheckReport:
    """Look at everything that can be asked; core tries the key in use out itself."""
    return CheckReport(tuple(_findings(kms)))


def _findings(kms: Kms) -> Iterator[Finding]:
    home = kms.home()
    if isinstance(home, OperationError):
        yield Finding("error", "credentials", str(home))
        return
    yield Finding("ok", "region", f"region {home}", {"region": home})
