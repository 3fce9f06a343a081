"""Reference tables of every installed provider's settings, and of the blocks beside them."""

from __future__ import annotations

from _markdown import first_paragraph, table

from keyhinge._discovery import Registry
from keyhinge.config import reference
from keyhinge.config._sections import Options
from keyhinge_store import StoreSettings

HEAD = ["key", "type", "default", "meaning", "example"]


def generate() -> dict[str, str]:
    """Return a table for each provider, for `options` and for `store`."""
    registry = Registry()
    pages = {
        f"settings-{name}.md": settings(registry.load(name).settings) for name in registry.names()
    }
    pages["settings-options.md"] = settings(Options)
    pages["settings-store.md"] = settings(StoreSettings)
    return pages


def settings(cls: type) -> str:
    """Write a settings class's table, or only its sentence where there are no keys."""
    rows = [
        [
            f"`{row.key}`",
            row.type,
            "**required**" if row.required else f"`{row.default}`" if row.default else "",
            row.description,
            f"`{row.example}`" if row.example else "",
        ]
        for row in reference(cls)
    ]
    sentence = first_paragraph(cls.__doc__)
    return f"{sentence}\n\n{table(HEAD, rows)}" if rows else f"{sentence}\n"
