"""Showing effective settings, without secrets, and where each of them came from."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import attrs

from keyhinge._secret import Secret
from keyhinge.config._fields import SettingField, fields_of, unwrap_optional
from keyhinge.config._keys import match_keys
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = ["REDACTED", "SettingView", "default_text", "origin_of", "views_of"]

REDACTED = "(redacted)"

# `scheme://user:password@host`: the password may not be shown wherever a URL may be.
_URL_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*?:)[^/\s]*@")


@attrs.frozen
class SettingView:
    """One effective setting.

    Attributes:
        key: The YAML key; a nested one is `outer.inner`.
        value: The value as text, "(redacted)" for a secret.
        origin: `config.yaml:12`, `$NAME` or `default`.
    """

    key: str
    value: str
    origin: str


def views_of(node: Node, cls: type, file_name: str) -> list[SettingView]:
    """List the settings of a block.

    Args:
        node: The block, with environment variables filled in.
        cls: The settings class.
        file_name: What origins call the file.

    Returns:
        A view for each key that is set or has a default, in the class's order.
    """
    if not isinstance(node, MappingNode):
        node = MappingNode(path=node.path, line=node.line)
    fields = fields_of(cls)
    known = [key for field in fields for key in (field.key, field.twin) if key is not None]
    nodes = match_keys(node, known).nodes
    views: list[SettingView] = []
    for field in fields:
        views.extend(_views_of_field(field, nodes, file_name))
    return views


def _views_of_field(
    field: SettingField, nodes: dict[str, Node], file_name: str
) -> list[SettingView]:
    if field.twin is not None and field.twin in nodes:
        twin = nodes[field.twin]
        return [SettingView(field.twin, _text(twin), origin_of(twin, file_name))]
    node = nodes.get(field.key)
    if node is None:
        if field.required:
            return []
        return [SettingView(field.key, default_text(field), "default")]
    kind = unwrap_optional(field.type)[0]
    if attrs.has(kind) and isinstance(node, MappingNode):
        inner = views_of(node, kind, file_name)
        return [attrs.evolve(view, key=f"{field.key}.{view.key}") for view in inner]
    value = REDACTED if field.is_secret else _text(node, secret=_holds_secret(kind))
    return [SettingView(field.key, value, origin_of(node, file_name))]


def _holds_secret(kind: Any) -> bool:
    return "Secret" in repr(kind)


def origin_of(node: Node, file_name: str) -> str:
    """Say where a value came from: environment variables, or a line of the file."""
    if isinstance(node, ScalarNode) and node.variables:
        return " ".join(f"${name}" for name in node.variables)
    return f"{file_name}:{node.line}" if node.line is not None else file_name


def default_text(field: SettingField) -> str:
    """Write a field's default as it would stand in the file; "" where there is none."""
    return _default(field.default)


def _default(value: Any) -> str:
    if value is None or value is attrs.NOTHING:
        return ""
    if isinstance(value, Secret):
        return REDACTED
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_default(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_default(item)}' for key, item in value.items())}}}"
    if isinstance(value, str | int | float | PurePath):
        return str(value)
    # An enumeration's member, or settings within settings.
    return str(getattr(value, "value", "")) if not attrs.has(type(value)) else ""


def _text(node: Node, *, secret: bool = False) -> str:
    if secret:
        return REDACTED
    if isinstance(node, SequenceNode):
        return f"[{', '.join(_text(item) for item in node.items)}]"
    if isinstance(node, MappingNode):
        return f"{{{', '.join(f'{key}: {_text(child)}' for key, child in node.entries.items())}}}"
    if node.is_null:
        return ""
    if node.form == "native":
        return _default(node.native)
    return _URL_PASSWORD.sub(r"\g<before>***@", node.text)
