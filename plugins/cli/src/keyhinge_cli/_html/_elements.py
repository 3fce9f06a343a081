"""Elements of HTML and SVG. Text and attributes are escaped here, so nobody else has to."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Union

from keyhinge_cli._text import safe

__all__ = ["Child", "Element", "el", "scrolling", "style_sheet", "table", "time"]

Child = Union["Element", str, int, None, "Iterable[Child]"]

_VOID = frozenset({"meta", "br", "rect", "line"})


class Element:
    """An element; `str` writes it with everything in it."""

    __slots__ = ("_markup",)

    def __init__(self, markup: str) -> None:
        self._markup = markup

    def __str__(self) -> str:
        return self._markup


def el(name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """Make an element.

    Args:
        name: Its name; never from outside.
        children: Elements, and text that may be hostile; None is left out.
        attributes: By their names; `class_` is `class`, and `_` stands for `-`. None is left out.
    """
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Element(f"<{name}{head}>" if name in {"meta", "br"} else f"<{name}{head}/>")
    return Element(f"<{name}{head}>{''.join(map(_markup, children))}</{name}>")


def style_sheet(text: str) -> Element:
    """Make a style sheet of ours; the one text that isn't escaped."""
    return Element(f"<style>{text}</style>")


def table(
    caption: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[Child]],
    *,
    numbers: Iterable[int] = (),
    ids: Iterable[int] = (),
) -> Element:
    """Make a table whose first cell in each row is the row's heading.

    Args:
        caption: What it shows.
        columns: The headings.
        rows: The cells.
        numbers: The places of columns that hold numbers.
        ids: The places of columns that hold long words, which may be broken anywhere.
    """
    kinds = {**dict.fromkeys(ids, "id"), **dict.fromkeys(numbers, "number")}

    head = [
        el("th", name, scope="col", class_=kinds.get(place)) for place, name in enumerate(columns)
    ]
    body = []
    for row in rows:
        first, *rest = row
        cells = [el("th", first, scope="row", class_=kinds.get(0))]
        cells += [el("td", cell, class_=kinds.get(place)) for place, cell in enumerate(rest, 1)]
        body.append(el("tr", cells))
    whole = el("table", el("caption", caption), el("thead", el("tr", head)), el("tbody", body))
    return scrolling(whole, caption)


def scrolling(wide: Element, title: str) -> Element:
    """Let something wide scroll by itself, also with the keyboard."""
    return el("div", wide, class_="scroll", tabindex="0", role="region", aria_label=title)


def time(when: str) -> Element | None:
    """Write a moment that is given in ISO 8601; nothing for none."""
    return el("time", when, datetime=when) if when else None


def _markup(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Element):
        return str(child)
    if isinstance(child, (str, int)):
        return _text(child)
    return "".join(map(_markup, child))


def _text(value: str | float) -> str:
    # Control characters don't belong into HTML, and ones that turn text around into no page.
    return escape(safe(f"{value:g}" if isinstance(value, float) else str(value)), quote=True)
