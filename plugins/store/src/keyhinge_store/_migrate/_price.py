"""What the key service charges for a migration."""

from __future__ import annotations

from collections.abc import Mapping

from keyhinge import KeyManager
from keyhinge_store._migrate._report import KeyCalls

__all__ = ["kms_price"]

# US dollars for so many requests to a symmetric key, beyond the free ones of a month.
# Source: https://aws.amazon.com/kms/pricing/, "API requests".
_DOLLARS, _REQUESTS = 0.03, 10_000


def kms_price(keys: KeyManager, calls: Mapping[str, KeyCalls]) -> float | None:
    """Give what AWS KMS charges for calls, in US dollars; None if it wasn't asked.

    KMS has no batches: each value is one request.
    """
    types = {name: section.type for name, section in keys.configuration.sections.items()}
    values = [asked.values for name, asked in calls.items() if types.get(name) == "aws"]
    return sum(values) * _DOLLARS / _REQUESTS if values else None
