"""The policy `maxKeyAge`: kept, broken, or not known; never assumed."""

from __future__ import annotations

from datetime import datetime, timedelta

from keyhinge import KeyManager
from keyhinge_store._counting import LabelCount

__all__ = ["BROKEN", "KEPT", "NOT_KNOWN", "cutoff", "judge", "key_age"]

KEPT = "kept"
BROKEN = "broken"
NOT_KNOWN = "not known"


def key_age(keys: KeyManager, given: timedelta | None) -> timedelta | None:
    """Give the longest time that a key version may be in use: what was asked, else the file's."""
    return keys.configuration.options.key_age if given is None else given


def cutoff(at: datetime, longest: timedelta | None) -> datetime | None:
    """Give the moment before which a key version must not have been in use."""
    return None if longest is None else at - longest


def judge(
    count: LabelCount, before: datetime, *, encrypts: bool | None, seen: datetime | None = None
) -> str:
    """Say whether a key version was in use for longer than it may be.

    A key version is at least as old as the oldest value under it, and as the first time that it
    was seen. So "broken" is a proof. "kept" says that nothing shows it to be older.

    Args:
        count: The values under it.
        before: See `cutoff`.
        encrypts: Whether the section encrypts; None where that isn't known.
        seen: When it was seen first, if something else than the rows knows that.
    """
    known = [date for date in (count.oldest, seen) if date is not None]
    if known and min(known) < before:
        return BROKEN
    return KEPT if encrypts and not count.undated else NOT_KNOWN
