"""Durations and dates on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import click

__all__ = ["as_duration", "as_end", "as_start"]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# Python before 3.11 knows no Z.
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(Z|[+-]\d{2}:\d{2})?", re.ASCII
)
_MOMENT_HINT = "must be a date such as 2026-01-31 or 2026-01-31T12:00Z (UTC)"


def as_duration(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> timedelta | None:
    """Read a duration such as 365d.

    Raises:
        BadParameter: It isn't one.
    """
    from keyhinge.config import parse_duration

    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        problem = str(error)
    raise click.BadParameter(problem, context, parameter)


def as_start(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Read a date, or a date and time, which is UTC if it names no zone. A date is its beginning.

    Raises:
        BadParameter: It isn't one.
    """
    return _moment(context, parameter, value, days=0)


def as_end(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Read the same as `as_start`. A date is its end: the first moment of the next day.

    Raises:
        BadParameter: It isn't one.
    """
    return _moment(context, parameter, value, days=1)


def _moment(
    context: click.Context, parameter: click.Parameter, value: str | None, *, days: int
) -> datetime | None:
    if value is None:
        return None
    try:
        if _DATE.fullmatch(value):
            day = datetime.fromisoformat(value).replace(tzinfo=timezone.utc)
            return day + timedelta(days=days)
        found = _MOMENT.fullmatch(value)
        if found is not None:
            zone = "+00:00" if found[3] in (None, "Z") else found[3]
            when = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
            return when.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass  # there is no such day, or it is the last of all
    raise click.BadParameter(_MOMENT_HINT, context, parameter)
