"""What a settings class asks for, field by field."""

from __future__ import annotations

import types
import typing
from datetime import timedelta
from typing import Any

import attrs

from keyhinge._secret import Secret
from keyhinge._settings import SettingInfo, SettingsClassError, info_of

__all__ = [
    "SettingField",
    "fields_of",
    "is_union",
    "members_of",
    "not_settable",
    "unwrap_optional",
]


@attrs.frozen
class SettingField:
    """One field of a settings class.

    Attributes:
        name: The attribute.
        key: The YAML key.
        type: The type, resolved.
        default: The default, made if a factory makes it; `attrs.NOTHING` if required.
        info: Help, example and limits.
        twin: The key that names a file instead, or None.
        attribute: The attrs attribute.
    """

    name: str
    key: str
    type: Any
    default: Any
    info: SettingInfo
    twin: str | None
    attribute: attrs.Attribute[Any]

    @property
    def required(self) -> bool:
        """Whether the key has to be there."""
        return self.default is attrs.NOTHING

    @property
    def is_secret(self) -> bool:
        """Whether the field holds a `Secret`."""
        return unwrap_optional(self.type)[0] is Secret


def fields_of(cls: type) -> tuple[SettingField, ...]:
    """List the fields that the configuration can set.

    Args:
        cls: An attrs class.

    Returns:
        Its fields in order, without those that aren't arguments.

    Raises:
        SettingsClassError: It isn't an attrs class, a type can't be found, or two fields share
            a key.
    """
    if not attrs.has(cls):
        msg = f"{cls!r} isn't an attrs class; decorate it with keyhinge.settings"
        raise SettingsClassError(msg)
    hints = _hints(cls)
    attributes = [attribute for attribute in attrs.fields(cls) if attribute.init]
    keys = [_key(attribute) for attribute in attributes]
    folded = [key.lower() for key in keys]
    for key in keys:
        if folded.count(key.lower()) > 1:
            msg = f"{cls.__name__} has two fields with the key '{key}' (case aside)"
            raise SettingsClassError(msg)
    return tuple(
        _field(attribute, hints.get(attribute.name, attribute.type), set(folded))
        for attribute in attributes
    )


def _key(attribute: attrs.Attribute[Any]) -> str:
    return attribute.alias or attribute.name.lstrip("_")


def _hints(cls: type) -> dict[str, Any]:
    reason = ""
    try:
        return typing.get_type_hints(cls)
    except NameError as error:
        reason = f"the name {error.name!r} isn't defined in its module"
    msg = f"the annotations of {cls.__name__} can't be resolved: {reason}"
    raise SettingsClassError(msg)


def _field(attribute: attrs.Attribute[Any], hint: Any, keys: set[str]) -> SettingField:
    info = info_of(attribute)
    key = _key(attribute)
    twin = None
    if unwrap_optional(hint)[0] is Secret and info.file_twin and f"{key}file".lower() not in keys:
        twin = f"{key}File"
    return SettingField(
        name=attribute.name,
        key=key,
        type=hint,
        default=_default(attribute),
        info=info,
        twin=twin,
        attribute=attribute,
    )


def _default(attribute: attrs.Attribute[Any]) -> Any:
    default: Any = attribute.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        # A default that depends on the other fields can't be shown, but the field isn't required.
        return None if default.takes_self else default.factory()
    return default


def not_settable(kind: Any, key: str, instead: str = "") -> SettingsClassError:
    """Say that a setting has a type that none can have.

    Args:
        kind: The type.
        key: The setting's YAML key, or its path.
        instead: What to write; known here for a duration.
    """
    if kind is timedelta:
        instead = "a duration is a str that keyhinge.config.parse_duration reads"
    more = f"; {instead}" if instead else ""
    return SettingsClassError(f"'{key}': {kind!r} isn't a type that settings can have{more}")


def is_union(kind: Any) -> bool:
    """Tell whether a type is `A | B` or `Optional[A]`."""
    return typing.get_origin(kind) in {typing.Union, types.UnionType}


def members_of(kind: Any) -> tuple[Any, ...]:
    """Give a union's members without None; another type is its own only member."""
    if not is_union(kind):
        return (kind,)
    return tuple(member for member in typing.get_args(kind) if member is not types.NoneType)


def unwrap_optional(kind: Any) -> tuple[Any, bool]:
    """Split `A | None` into A and True; another type is itself and False."""
    members = members_of(kind)
    optional = is_union(kind) and types.NoneType in typing.get_args(kind)
    if len(members) == 1:
        return members[0], optional
    return kind, optional
