"""What all pages have in common: head, style, title, facts, footer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from keyhinge_cli._html._elements import Child, Element, el, style_sheet, table, time
from keyhinge_cli._html._style import STYLE
from keyhinge_cli._text import moment

if TYPE_CHECKING:
    from keyhinge_store import StatusReport

__all__ = ["configuration", "facts", "made", "page", "share", "tiles"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, *content: Child) -> str:
    """Write a whole page.

    Args:
        title: Its title.
        content: What stands below it.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        style_sheet(STYLE),
    )
    footer = el("footer", el("p", "Made by Keyhinge. It holds counts and labels, and no secret."))
    body = el("body", el("main", el("h1", title), *content), footer)
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"


def facts(pairs: Iterable[tuple[str, Child]]) -> Element:
    """List names with what they are."""
    return el("dl", ([el("dt", name), el("dd", what)] for name, what in pairs), class_="facts")


def tiles(figures: Iterable[tuple[str, str, str]]) -> Element:
    """Show the most important figures: what each is, the figure, and "bad", "old" or ""."""
    items = [el("li", el("b", figure), name, class_=kind or None) for name, figure, kind in figures]
    return el("ul", items, class_="tiles")


def configuration(report: StatusReport) -> list[Element]:
    """Say with which configuration and database a page was made."""
    rows = []
    for each in report.sections:
        encrypts = {True: "yes", False: "no", None: "can't be used"}[each.encrypts]
        role = "encrypts new values" if each.primary else "reads"
        rows.append([each.name, each.provider, role, encrypts, ", ".join(each.aliases)])
    return [
        el("h2", "Configuration"),
        table("Sections", ["Section", "Provider", "Role", "Encrypts", "Other names"], rows),
    ]


def share(part: int, whole: int) -> str:
    """Write a part as a percentage, in which something is never nothing, and never all."""
    if not whole:
        return "–"
    percent = part / whole * 100
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def made(report: StatusReport) -> list[tuple[str, Child]]:
    """Give the facts that stand at each page's beginning."""
    current = report.current
    if current is None:
        key = f"not known: {report.current_error}"
    else:
        key = current.key_id
        key += f" version {current.version}" if current.version else ""
    return [
        ("Made", time(moment(report.at))),
        ("Database", report.database),
        ("Primary section", report.primary),
        ("Its current key", key),
    ]
