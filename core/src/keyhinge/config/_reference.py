"""Reference tables of settings classes, for documentation."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from keyhinge._secret import Secret
from keyhinge.config._fields import SettingField, fields_of, is_union, members_of, unwrap_optional
from keyhinge.config._views import default_text

__all__ = ["SettingReference", "reference"]


@attrs.frozen
class SettingReference:
    """One row of a settings class's reference table.

    Attributes:
        key: The YAML key; a nested one is `outer.inner`, with `[]` after a list.
        type: The type in an operator's words.
        required: Whether the key has to be there.
        default: The default as it would stand in the file; "" where there is none.
        description: What it is for.
        example: What a value looks like, or "".
    """

    key: str
    type: str
    required: bool
    default: str
    description: str
    example: str


def reference(cls: type, *, prefix: str = "") -> list[SettingReference]:
    """List what a settings class takes, for documentation.

    Args:
        cls: The settings class.
        prefix: What stands before each key.

    Returns:
        A row for each key in the class's order, file twins and nested keys too.

    Raises:
        TypeError: The class isn't one that settings can be made of.
    """
    rows: list[SettingReference] = []
    for field in fields_of(cls):
        rows.append(_row(field, prefix))
        if field.twin is not None:
            description = f"A file that holds `{field.key}`, instead of it."
            rows.append(SettingReference(prefix + field.twin, "path", False, "", description, ""))
        inner = unwrap_optional(field.type)[0]
        suffix = "."
        if typing.get_origin(inner) in {list, tuple, Sequence}:
            inner, suffix = typing.get_args(inner)[0], "[]."
        if isinstance(inner, type) and attrs.has(inner):
            rows.extend(reference(inner, prefix=f"{prefix}{field.key}{suffix}"))
    return rows


def _row(field: SettingField, prefix: str) -> SettingReference:
    return SettingReference(
        key=prefix + field.key,
        type=_words(field.type),
        required=field.required,
        default=default_text(field),
        description=field.info.help,
        example=field.info.example or "",
    )


_WORDS = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Path: "path",
    Secret: "secret",
}


def _words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if is_union(kind):
        return " or ".join(_words(member) for member in members_of(kind))
    if origin in {list, tuple, Sequence}:
        return f"list of {_words(arguments[0])}"
    if origin in {dict, Mapping}:
        return f"mapping to {_words(arguments[1])}"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    return "block"
