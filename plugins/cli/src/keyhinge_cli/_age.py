"""What is said of `maxKeyAge`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from keyhinge_cli._text import count

if TYPE_CHECKING:
    from keyhinge_cli._output import Output
    from keyhinge_store import LabelStatus, StatusReport

__all__ = ["policy_note", "policy_words"]


def policy_words(label: LabelStatus) -> str:
    """Say whether a key version keeps the policy, and how many of its values are overdue."""
    overdue = f", {label.overdue:,} overdue" if label.overdue else ""
    return f"{label.policy or ''}{overdue}"


def policy_note(out: Output, report: StatusReport) -> None:
    """Say which sections break the policy, and of which it isn't known."""
    if report.max_key_age is None:
        return
    from keyhinge.config import duration_text

    longest = duration_text(timedelta(seconds=report.max_key_age))
    broken = _keys(report, "broken")
    if broken:
        out.warn(
            f"in use for longer than {longest}: {broken}; {count(report.overdue or 0, 'value')} "
            "overdue. Rotate the key and run `keyhinge rewrap`, or migrate",
            code="cli.key-age-broken",
        )
    unknown = _keys(report, "not known")
    if unknown:
        out.warn(
            f"it isn't known whether these were in use for longer than {longest}: {unknown}. Their "
            "values have no time of encryption (`encryptedAt` in the mapping keeps it), no key, or "
            "a section that isn't configured",
            code="cli.key-age-not-known",
        )
    if report.values and not broken and not unknown:
        out.note(f"no key version is known to be in use for longer than {longest}")


def _keys(report: StatusReport, policy: str) -> str:
    found = dict.fromkeys(
        f"{label.section} version {label.version}" if label.version else label.section
        for label in report.labels
        if label.policy == policy
    )
    return ", ".join(found)
