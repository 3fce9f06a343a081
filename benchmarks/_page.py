"""Put a benchmark's figures into a page of the documentation, and draw them."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

# Grey and two hues that are told apart on white and on black, so that one picture serves both.
TEXT, GRID, OURS, OTHERS = "#797979", "#79797955", "#c2571a", "#5b7fa6"
WIDTH, LEFT, RIGHT, ROW, TOP = 760, 300, 70, 30, 58


class Bar(NamedTuple):
    """One method's two times in microseconds."""

    name: str
    encrypt: float
    decrypt: float
    ours: bool


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(number: float) -> str:
    """Write two digits behind the point at most, and only where they mean something."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{digits}f}"


def machine(*packages: str) -> str:
    """Say on what was measured."""
    names = [f"{name} {version(name)}" for name in packages]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    processors = f"{os.cpu_count()} processors ({platform.machine()})"
    return f"{python}, {', '.join(names)}, {processors}"


def replace_part(page: Path, program: str, text: str) -> None:
    """Put text between the two comments that name the program."""
    begin, end = f"<!-- {program} begins -->", f"<!-- {program} ends -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"{page} lacks {begin} or {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def draw(title: str, bars: Sequence[Bar]) -> str:
    """Draw the times as points on a logarithmic scale: a line per method, in SVG.

    A filled point is an encryption, a ring a decryption.
    """
    times = [time for bar in bars for time in (bar.encrypt, bar.decrypt)]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x(time: float) -> float:
        return LEFT + (math.log10(time) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    bottom = TOP + ROW * len(bars)
    parts = [_text(0, 18, title, "start", weight=600), *_legend()]
    for power in range(low, high + 1):
        parts.append(_line(x(10.0**power), TOP - 8, x(10.0**power), bottom))
        parts.append(_text(x(10.0**power), bottom + 20, f"{10.0**power:g} µs", "middle"))
    for number, bar in enumerate(bars):
        parts += _row(bar, TOP + ROW * number + ROW / 2, x)
    style = "font-family: system-ui, sans-serif; font-size: 14px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 30}" '
        f'role="img" style="{style}">\n<title>{escape(title)}</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _row(bar: Bar, y: float, x: Callable[[float], float]) -> list[str]:
    colour = OURS if bar.ours else OTHERS
    first, last = sorted((x(bar.encrypt), x(bar.decrypt)))
    label = f"{short(bar.encrypt)} / {short(bar.decrypt)}"
    return [
        _text(LEFT - 16, y + 5, bar.name, "end", weight=600 if bar.ours else 400),
        _line(first, y, last, y, colour, width=3),
        _ring(x(bar.encrypt), y, colour, filled=True),
        _ring(x(bar.decrypt), y, colour, filled=False),
        _text(last + 12, y + 5, label, "start", size=12),
    ]


def _legend() -> list[str]:
    return [
        _ring(LEFT + 6, 36, TEXT, filled=True),
        _text(LEFT + 18, 41, "encrypt", "start"),
        _ring(LEFT + 96, 36, TEXT, filled=False),
        _text(LEFT + 108, 41, "decrypt", "start"),
    ]


def _ring(x: float, y: float, colour: str, *, filled: bool) -> str:
    fill = colour if filled else "none"
    return (
        f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2" />'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = GRID, *, width: int = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}" stroke="{colour}" '
        f'stroke-width="{width}" />'
    )


def _text(x: float, y: float, text: str, anchor: str, *, weight: int = 400, size: int = 14) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" fill="{TEXT}" text-anchor="{anchor}" '
        f'font-weight="{weight}" font-size="{size}">{escape(text)}</text>'
    )
