"""Bars in SVG. Each chart has its numbers in a table beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyhinge_cli._html._elements import Element, el

__all__ = ["Bar", "Column", "bars", "columns", "legend", "progress_bar"]

_WIDTH = 760
_LABEL, _VALUE = 300, 130
_ROW, _BAR = 26, 16
_LONGEST_LABEL = 39


@dataclass(frozen=True)
class Bar:
    """One bar of `bars`.

    Attributes:
        label: What it is of.
        size: How long it is.
        text: What stands behind it.
        kind: Its class, which gives the colour.
    """

    label: str
    size: float
    text: str
    kind: str


@dataclass(frozen=True)
class Column:
    """One column of `columns`, in parts that stand on each other.

    Attributes:
        label: What stands below it.
        parts: Sizes by class.
    """

    label: str
    parts: Mapping[str, int]


def bars(title: str, rows: Sequence[Bar], *, limit: float | None = None) -> Element:
    """Draw bars that lie below each other.

    Args:
        title: What the picture shows.
        rows: The bars.
        limit: A size at which a line is drawn.
    """
    room = _WIDTH - _LABEL - _VALUE
    largest = max([row.size for row in rows] + [limit or 0.0]) or 1.0
    drawn: list[Element] = []
    for number, row in enumerate(rows):
        top = number * _ROW
        middle = top + _ROW / 2 + 4
        length = max(row.size / largest * room, 1.0)
        name = el("text", _short(row.label), el("title", row.label), x=0, y=middle)
        bar = el(
            "rect", x=_LABEL, y=top + (_ROW - _BAR) / 2, width=length, height=_BAR, rx=2,
            class_=row.kind,
        )  # fmt: skip
        value = el("text", row.text, x=_LABEL + length + 8, y=middle, class_="dim")
        drawn += [name, bar, value]
    height = len(rows) * _ROW
    if limit is not None:
        place = _LABEL + limit / largest * room
        drawn.append(el("line", x1=place, x2=place, y1=0, y2=height, class_="limit"))
    return _svg(title, height, drawn)


def columns(title: str, found: Sequence[Column]) -> Element:
    """Draw columns that stand beside each other, with parts that stand on each other."""
    height, left, right, bottom, top = 220, 60, 25, 30, 10
    room = height - bottom - top
    largest = max([sum(each.parts.values()) for each in found] + [1])
    step = (_WIDTH - left - right) / max(len(found), 1)
    width = min(step * 0.75, 48.0)
    # So many labels that they don't run into each other.
    every = max(1, -(-len(found) // 12))
    base = height - bottom
    drawn = [
        el("line", x1=left, x2=_WIDTH - right, y1=base, y2=base, class_="axis"),
        el("line", x1=left, x2=_WIDTH - right, y1=top, y2=top, class_="axis"),
        el("text", f"{largest:,}", x=left - 6, y=top + 4, text_anchor="end", class_="dim"),
        el("text", "0", x=left - 6, y=base + 4, text_anchor="end", class_="dim"),
    ]
    for number, each in enumerate(found):
        middle = left + step * (number + 0.5)
        y = float(base)
        for kind, size in each.parts.items():
            tall = size / largest * room
            y -= tall
            drawn.append(
                el("rect", x=middle - width / 2, y=y, width=width, height=tall, class_=kind)
            )
        if number % every == 0:
            drawn.append(
                el("text", each.label, x=middle, y=height - 10, text_anchor="middle", class_="dim")
            )
    return _svg(title, height, drawn)


def progress_bar(title: str, parts: Mapping[str, int]) -> Element:
    """Draw one bar whose parts stand for a whole.

    Args:
        title: What the picture shows.
        parts: Sizes by class.
    """
    whole = sum(parts.values()) or 1
    drawn = [el("rect", x=0, y=0, width=_WIDTH, height=24, class_="track")]
    x = 0.0
    for kind, size in parts.items():
        length = size / whole * _WIDTH
        drawn.append(el("rect", x=x, y=0, width=length, height=24, class_=kind))
        x += length
    return _svg(title, 24, drawn)


def legend(names: Mapping[str, str]) -> Element:
    """Say which colour means what.

    Args:
        names: Names by class.
    """
    items = []
    for kind, name in names.items():
        if kind == "limit":
            square = el("line", x1=5, x2=5, y1=0, y2=10, class_=kind)
        else:
            square = el("rect", x=0, y=0, width=10, height=10, class_=kind)
        items.append(el("li", el("svg", square, viewBox="0 0 10 10", aria_hidden="true"), name))
    return el("ul", items, class_="legend")


def _svg(title: str, height: float, drawn: Sequence[Element]) -> Element:
    box = f"0 0 {_WIDTH} {height:g}"
    return el("svg", el("title", title), drawn, viewBox=box, role="img", aria_label=title)


def _short(label: str) -> str:
    """Shorten a label in its middle: both ends of a key id matter."""
    if len(label) <= _LONGEST_LABEL:
        return label
    half = (_LONGEST_LABEL - 1) // 2
    return f"{label[:half]}…{label[-half:]}"
