"""Tables of what stands in the JSON of `status`, `report` and `verify`, from the classes."""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from _markdown import first_paragraph, table

import keyhinge
import keyhinge_store

PAGES = {"status": "StatusReport", "report": "AuditReport", "verify": "VerifyReport"}
# What a report says beside its attributes.
BESIDE = {
    "StatusReport": [
        [
            "`policy`",
            "text or null",
            "`kept`, `broken` or `not known`, of all key versions together",
        ]
    ],
}
WORDS = {str: "text", int: "number", float: "number", bool: "true or false", datetime: "time"}
_FIELD = re.compile(r"(?P<name>\w+): (?P<text>.+)", re.DOTALL)


def generate() -> dict[str, str]:
    """Return the tables of each report, with those of everything in it."""
    return {f"json-{name}.md": "\n".join(chapters(cls)) for name, cls in PAGES.items()}


def chapters(name: str) -> list[str]:
    """Write a table for a class and one for each class that stands in it."""
    found: list[str] = []
    waiting, done = [getattr(keyhinge_store, name)], set[type]()
    while waiting:
        cls = waiting.pop(0)
        if cls in done or (cls.__name__ in PAGES.values() and cls.__name__ != name):
            continue  # a report within another one has a page of its own
        done.add(cls)
        hints = get_type_hints(cls)
        told = fields(cls)
        rows = []
        for field in attrs.fields(cls):
            kind, inner = words(hints[field.name])
            waiting += inner
            meaning = re.sub(r"\bNone\b", "null", told[field.name])
            rows.append([f"`{field.name}`", kind, meaning])
        rows += BESIDE.get(cls.__name__, [])
        if cls.__name__ == name:
            rows.append(["`event`", "text", "`report`."])
            rows.append(["`exit_code`", "number", "The command's exit code."])
        head = f"**{cls.__name__}**: {first_paragraph(cls.__doc__)}"
        found += [head, "", table(["field", "type", "meaning"], rows)]
    return found


def words(hint: Any) -> tuple[str, list[type]]:
    """Say what a type is in JSON, and which classes stand in it."""
    if get_origin(hint) in {Union, types.UnionType}:
        kinds = [words(each) for each in get_args(hint) if each is not type(None)]
        text = " or ".join(kind for kind, _ in kinds)
        return f"{text} or null", [cls for _, inner in kinds for cls in inner]
    if get_origin(hint) is tuple:
        kind, inner = words(get_args(hint)[0])
        return f"list of {kind}", inner
    if isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        return "object", []
    if hint in WORDS:
        return WORDS[hint], []
    if hint is keyhinge.KeyRef:
        return "object with `key_id` and `version`", []
    return hint.__name__, [hint]


def fields(cls: type) -> dict[str, str]:
    """Read what a docstring says about each attribute."""
    _, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    items: list[str] = []
    for line in textwrap.dedent(rest.partition("\n\n")[0]).splitlines():
        if line.startswith(" "):
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    found = [_FIELD.fullmatch(item) for item in items]
    return {match["name"]: match["text"] for match in found if match}
