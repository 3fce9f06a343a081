"""What `check` tells about an `envelope` section."""

from __future__ import annotations

from keyhinge import CheckReport, Finding, SectionClient
from keyhinge_local.envelope._counters import Counters
from keyhinge_local.envelope._settings import EnvelopeSettings


def check(
    client: SectionClient, settings: EnvelopeSettings, counters: Counters, kept: int
) -> CheckReport:
    """Tell which section wraps the data keys, for how long one works, and what was counted."""
    numbers = counters.as_dict()
    counted = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return CheckReport(
        (
            Finding(
                "info",
                "wrapping",
                f"data keys are wrapped by the section {client.name!r}; one that is revoked there "
                f"works in this process for {settings.max_age} at most",
                {"over": client.name, "max_age": settings.max_age_seconds},
            ),
            Finding(
                "info",
                "data-keys",
                f"data keys in memory: {kept}; counted since the section was opened: {counted}",
                {"kept": kept, **numbers},
            ),
        )
    )
