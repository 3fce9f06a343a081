"""Durations, as a configuration and the command line write them: `90d`, `12h`."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["DURATION_HINT", "duration_text", "parse_duration"]

DURATION_HINT = "must be a whole number with its unit s, m, h, d or w, as in 365d"

_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)
_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
# A thousand years. More is a slip, and no date is that far back.
_LONGEST = timedelta(days=365_000)


def parse_duration(text: str) -> timedelta:
    """Read a duration.

    Args:
        text: A whole number and its unit: `s`, `m` (minutes), `h`, `d` or `w`. A year has no unit,
            since it has no length: 365d.

    Raises:
        ValueError: It isn't one. The message doesn't repeat it.
    """
    found = _DURATION.fullmatch(text)
    if found is not None:
        number, unit = int(found[1]), _UNITS[found[2]]
        if number <= _LONGEST / unit:
            return number * unit
    raise ValueError(DURATION_HINT)


def duration_text(duration: timedelta) -> str:
    """Write a duration of whole seconds so that `parse_duration` reads it: in days, if it can be.

    Weeks are written in days, which is how people say "a year".
    """
    for unit in "dhm":
        number, rest = divmod(duration, _UNITS[unit])
        if number and not rest:
            return f"{number}{unit}"
    return f"{duration // _UNITS['s']}s"
