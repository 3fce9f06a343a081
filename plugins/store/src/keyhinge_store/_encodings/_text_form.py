"""What the text form says about its key, found out in SQL."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["BASE64", "MAGIC", "key_text_begins", "text_at", "without_slash"]

MAGIC = "kh1:"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def text_at(
    value: sa.ColumnElement[str], label: str, key_id: str | None, version: str | None
) -> sa.ColumnElement[bool]:
    """Find texts that are under a label, and under a key and version where these are given.

    Args:
        value: The text, compared byte by byte.
        label: The section's name in it.
        key_id: The key; None for any.
        version: Its version; None for any. A version that wasn't recorded may be any.
    """
    beginning = f"{MAGIC}{label}:"
    if key_id is None and version is None:
        return _begins(value, beginning)
    if key_id is None:
        # A key id may have colons, so the version is found from the end.
        head = sa.func.rtrim(value, BASE64)
        ends = [_ends(head, f":{each}:") for each in sorted({str(version), ""})]
        return sa.and_(_begins(value, beginning), sa.or_(*ends))
    beginning += f"{key_id}:"
    if version is None:
        return sa.and_(_begins(value, beginning), _colons(value, beginning) == 1)
    beginnings = [f"{beginning}{each}:" for each in sorted({version, ""})]
    return sa.or_(
        *(sa.and_(_begins(value, each), _colons(value, each) == 0) for each in beginnings)
    )


def key_text_begins(
    value: sa.ColumnElement[str], label: str, beginning: str, *, last: bool
) -> sa.ColumnElement[bool]:
    """Find texts that are under a label and a key id that begins so; see `Codec.key_begins`."""
    whole = f"{MAGIC}{label}:{beginning}"
    found = _begins(value, whole)
    if not last:
        return found
    # The base64 may have slashes; the version has none.
    head = sa.func.rtrim(value, BASE64)
    return sa.and_(found, without_slash(sa.func.substr(head, len(whole) + 1)))


def without_slash(text: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Find texts without a slash."""
    return sa.func.replace(text, "/", "") == text


def _begins(value: sa.ColumnElement[str], beginning: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(value, 1, len(beginning)) == beginning


def _ends(value: sa.ColumnElement[str], end: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(value, sa.func.length(value) - (len(end) - 1)) == end


def _colons(value: sa.ColumnElement[str], beginning: str) -> sa.ColumnElement[int]:
    """Count the colons behind a beginning."""
    rest = sa.func.substr(value, len(beginning) + 1)
    return sa.func.length(rest) - sa.func.length(sa.func.replace(rest, ":", ""))
