"""The JSON Schema of the whole file, from the settings classes."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from keyhinge._names import RESERVED_NAMES
from keyhinge._secret import Secret
from keyhinge.config._fields import (
    SettingField,
    fields_of,
    is_union,
    members_of,
    not_settable,
    unwrap_optional,
)
from keyhinge.config._sections import Options

__all__ = ["json_schema"]

_NAME = "[a-z][a-z0-9-]{0,31}"
_RESERVED = "|".join(sorted(RESERVED_NAMES))

_VARIABLE = {
    "type": "string",
    "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}$",
    "description": "An environment variable: ${NAME} or ${NAME:-default}.",
}
_ALIASES = {
    "type": ["array", "null"],
    "items": {"type": "string", "pattern": f"^(?!({_RESERVED})$){_NAME}$"},
    "description": "Names that the section had before; values made under them stay readable.",
}
_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    Path: {"type": "string", "minLength": 1},
    Secret: {"type": "string", "writeOnly": True},
    bool: {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/variable"}]},
    int: {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/variable"}]},
    float: {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/variable"}]},
}


def json_schema(
    providers: Mapping[str, type], *, blocks: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """Make the JSON Schema of a whole configuration file.

    Args:
        providers: The settings class of each installed provider, by the provider's name.
        blocks: Settings classes of other top-level blocks, such as `store`.

    Returns:
        A schema after draft 2020-12. The top level is open, since other keys belong to the
        application; everything under `keyManagement` is strict.

    Raises:
        TypeError: A settings class has a type that settings can't have.
    """
    definitions: dict[str, Any] = {"variable": _VARIABLE}
    for name, cls in sorted(providers.items()):
        definitions[f"provider-{name}"] = _section(name, cls)
    definitions["section"] = _by_type(sorted(providers))
    properties: dict[str, Any] = {"keyManagement": _key_management(providers)}
    for name, cls in (blocks or {}).items():
        properties[name] = _block_or_nothing(cls, _block(cls))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Keyhinge configuration",
        "type": "object",
        "required": ["keyManagement"],
        "properties": properties,
        "$defs": definitions,
    }


def _block_or_nothing(cls: type, schema: dict[str, Any]) -> dict[str, Any]:
    """Allow a key with nothing behind it where no setting is required."""
    return schema if any(field.required for field in fields_of(cls)) else _nullable(schema)


def _key_management(providers: Mapping[str, type]) -> dict[str, Any]:
    own: dict[str, Any] = {
        "provider": {
            "type": "string",
            "minLength": 1,
            "description": "The primary section: the one that encrypts.",
        },
        "options": _nullable(_block(Options)),
        "observers": {
            "type": ["array", "null"],
            "items": {"type": "string", "pattern": r"^[^:\s]+:[^:\s]+$"},
            "description": "Observers of every operation, as in package.module:name.",
        },
    }
    return {
        "type": ["object", "null"],
        "description": "How secrets are encrypted. Empty means plaintext.",
        "properties": own | {name: _named(name, providers[name]) for name in sorted(providers)},
        "propertyNames": {
            "pattern": f"^(provider|options|observers|(?!({_RESERVED})$){_NAME})$",
        },
        "additionalProperties": {"$ref": "#/$defs/section"},
        # Sections without a provider would leave open which of them encrypts.
        "anyOf": [
            {"required": ["provider"]},
            {"propertyNames": {"enum": ["options", "observers"]}},
            {"type": "null"},
        ],
    }


def _named(name: str, cls: type) -> dict[str, Any]:
    return {
        "if": {"type": "object", "required": ["type"]},
        "then": {"$ref": "#/$defs/section"},
        "else": _block_or_nothing(cls, {"$ref": f"#/$defs/provider-{name}"}),
    }


def _by_type(providers: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list(providers)}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}},
                "then": {"$ref": f"#/$defs/provider-{name}"},
            }
            for name in providers
        ],
    }


def _section(name: str, cls: type) -> dict[str, Any]:
    block = _block(cls)
    kind = {"const": name, "description": "The provider, where the section's name isn't it."}
    block["properties"] = {"type": kind, "aliases": _ALIASES} | block["properties"]
    return block


def _block(cls: type) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    rules: list[dict[str, Any]] = []
    required: list[str] = []
    for field in fields_of(cls):
        properties[field.key] = _property(field)
        if field.twin is not None:
            properties[field.twin] = _twin(field)
            rules.append({"not": {"required": [field.key, field.twin]}})
        if field.required and field.twin is not None:
            rules.append({"anyOf": [{"required": [field.key]}, {"required": [field.twin]}]})
        elif field.required:
            required.append(field.key)
    block: dict[str, Any] = {"type": "object", "properties": properties}
    if description := inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]:
        block["description"] = description
    if required:
        block["required"] = required
    if rules:
        block["allOf"] = rules
    block["additionalProperties"] = False
    return block


def _property(field: SettingField) -> dict[str, Any]:
    schema = _schema(field.type, field)
    if field.info.help:
        schema["description"] = field.info.help
    if not field.required and not field.is_secret and _is_json(field.default):
        schema["default"] = _jsonable(field.default)
    return schema


def _twin(field: SettingField) -> dict[str, Any]:
    kind = {"type": ["string", "null"], "minLength": 1}
    return kind | {"description": f"A file that holds '{field.key}'; read again when it changes."}


def _schema(kind: Any, field: SettingField) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _limited(_SCALARS[kind], field)
    if is_union(kind):
        members = [_schema(member, field) for member in members_of(kind)]
        optional = unwrap_optional(kind)[1]
        if optional and len(members) == 1:
            return _nullable(members[0])
        return {"anyOf": [*members, {"type": "null"}] if optional else members}
    if origin in {list, tuple, Sequence}:
        return {"type": "array", "items": _schema(arguments[0], field)}
    if origin in {dict, Mapping}:
        return {"type": "object", "additionalProperties": _schema(arguments[1], field)}
    if origin is Literal:
        return _choice([str(value) for value in arguments])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice([str(member.value) for member in kind])
    if isinstance(kind, type) and attrs.has(kind):
        return _block(kind)
    raise not_settable(kind, field.key)


def _choice(values: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": values}, {"$ref": "#/$defs/variable"}]}


def _limited(schema: dict[str, Any], field: SettingField) -> dict[str, Any]:
    if "anyOf" not in schema:
        return dict(schema)
    number, variable = schema["anyOf"]
    limits = {"minimum": field.info.minimum, "maximum": field.info.maximum}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return {"anyOf": [number | given, variable]}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str) and "$ref" not in schema:
        return schema | {"type": [schema["type"], "null"]}
    if "anyOf" in schema and "type" not in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, str | bool | int | float | enum.Enum)


def _jsonable(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return value
