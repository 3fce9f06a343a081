"""Text for people: what comes from a database or a file must not steer their terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

__all__ = ["aligned", "asked", "count", "moment", "safe", "span"]


def safe(text: str, *, keep: str = "") -> str:
    r"""Write control characters, and whatever else doesn't print, as escapes such as `\x1b`.

    Args:
        text: Any text.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Write rows as lines whose columns stand under each other."""
    cells = [[safe(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def asked(calls: int, values: int) -> str:
    """Write how a section was asked for values: by the batch, or one by one."""
    if calls == values > 1:
        return f"{count(values, 'value')}, one by one"
    return f"{count(calls, 'batch', 'batches')}, {count(values, 'value')}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun, as in `1 row` and `2 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(when: datetime | None) -> str:
    """Write a moment in UTC, to the second; "" for none."""
    if when is None:
        return ""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """Write a duration in the unit that says enough."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return count(round(seconds), "second")
