"""What will break next, and when: one sentence of everything that the findings know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from keyhinge import Finding, Purpose

__all__ = ["Ending", "endings", "event_of", "sentence"]

_NOTHING = "Nothing is known to end by itself."
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# How a clause reads when it is too late.
_PAST = {"ends": "has ended", "expires": "has expired", "is deleted": "has been deleted"}
_PRESENT = re.compile(rf"\b({'|'.join(_PAST)})\b")


class Ending(NamedTuple):
    """Something that ends at a known time and doesn't renew itself."""

    expires: datetime
    section: str
    code: str
    breaks: str


def endings(found: Mapping[str, Sequence[Finding]], purpose: Purpose) -> list[Ending]:
    """Collect what ends from the findings of all sections, the earliest first.

    Args:
        found: The findings by section.
        purpose: What doesn't matter for it is left out.
    """
    return sorted(
        Ending(moment, section, finding.code, _clause(finding))
        for section, findings in found.items()
        for finding in findings
        if purpose in finding.purposes
        and (moment := _moment(finding.data.get("expires"))) is not None
    )


def sentence(ends: Sequence[Ending], now: datetime) -> str:
    """Say what breaks next, and what has ended already.

    Args:
        ends: What `endings` gave.
        now: This moment.
    """
    if not ends:
        return _NOTHING
    past, coming = _split(ends, now)
    parts = []
    if past:
        last = past[-1]
        many = f" (and {len(past) - 1:,} more)" if len(past) > 1 else ""
        ago = _span((now - last.expires).total_seconds())
        clause = _PRESENT.sub(lambda match: _PAST[match[1]], last.breaks, count=1)
        parts.append(f"Broken for {ago}, since {_utc(last.expires)}: {_of(last, clause)}{many}")
    if coming:
        first = coming[0]
        span = _span((first.expires - now).total_seconds())
        parts.append(
            f"{'what' if past else 'What'} breaks next: in {span} ({_utc(first.expires)}) "
            f"{_of(first, first.breaks)}"
        )
    return "; ".join(parts) + "."


def event_of(ends: Sequence[Ending], now: datetime) -> dict[str, Any]:
    """Give the same for programs: the next ending, or None, and those that are past."""
    past, coming = _split(ends, now)
    return {
        "message": sentence(ends, now),
        "next": _plain(coming[0], now) if coming else None,
        "ended": [_plain(each, now) for each in past],
    }


def _split(ends: Sequence[Ending], now: datetime) -> tuple[list[Ending], list[Ending]]:
    past = [each for each in ends if each.expires <= now]
    return past, list(ends[len(past) :])


def _plain(ending: Ending, now: datetime) -> dict[str, Any]:
    seconds = int((ending.expires - now).total_seconds())
    return {**ending._asdict(), "seconds": seconds}


def _clause(finding: Finding) -> str:
    breaks = finding.data.get("breaks")
    return breaks if isinstance(breaks, str) and breaks else f"what {finding.code} tells of ends"


def _moment(text: object) -> datetime | None:
    """Read a provider's time; None if there is none, or if it isn't one."""
    if not isinstance(text, str):
        return None
    try:
        # Python 3.10 doesn't know the Z.
        moment = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(
            timezone.utc
        )
    except (ValueError, OverflowError):
        return None


def _of(ending: Ending, clause: str) -> str:
    return f"{clause}, in the section {ending.section}"


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(seconds: float) -> str:
    """Write a duration in the unit that says enough."""
    for size, unit in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds // size):,} {unit}"
    return "less than two minutes"
