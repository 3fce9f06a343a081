"""Declaring a provider's settings: an attrs class whose fields know their YAML names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs

if TYPE_CHECKING:
    # A type checker brings this module along; Python 3.10 doesn't have it in `typing`.
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[T], T]:
        """Stand in for what only type checkers look at."""
        return lambda decorator: decorator


__all__ = [
    "InvalidSettings",
    "SettingInfo",
    "SettingsClassError",
    "info_of",
    "secret",
    "setting",
    "settings",
]

T = TypeVar("T")
_KEY = "keyhinge"


class InvalidSettings(ValueError):  # noqa: N818 - it is what an author says, not what went wrong
    """Raise this in `__attrs_post_init__` where settings don't fit together.

    Its messages are shown to the operator, so they must not hold values. The text of any other
    exception is not shown.

    Args:
        messages: What is wrong, by the YAML key that it is about; the key "" is the whole block.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        self.messages = dict(messages)
        super().__init__("; ".join(f"{key}: {text}" for key, text in self.messages.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.messages,)


class SettingsClassError(TypeError):
    """A settings class itself is wrong.

    Its message names classes, keys and types and never a value, so it may be shown.
    """


@attrs.frozen
class SettingInfo:
    """What Keyhinge knows about a field beyond its type and default.

    Attributes:
        help: A sentence or two for the reference and the schema.
        example: What a value looks like.
        minimum: The smallest number that is allowed.
        maximum: The largest number that is allowed.
        file_twin: Whether a secret may be given as `…File`.
    """

    help: str = ""
    example: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    file_twin: bool = True


def info_of(field: attrs.Attribute[Any]) -> SettingInfo:
    """Give what `setting` or `secret` noted about a field, or the defaults."""
    info = field.metadata.get(_KEY)
    return info if isinstance(info, SettingInfo) else SettingInfo()


def setting(
    *,
    default: Any = attrs.NOTHING,
    factory: Callable[[], Any] | None = None,
    alias: str | None = None,
    help: str = "",  # noqa: A002 - the word that authors look for
    example: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Describe a field of a settings class.

    Args:
        default: The value if the key is missing; without one the key is required.
        factory: Makes the default, where each instance needs its own.
        alias: The YAML key, as in `keyID`. Without it the name is turned into camelCase, which
            can't make `keyID` or `tlsCAPath`, and which type checkers don't know about.
        help: A sentence or two for the reference and the schema.
        example: What a value looks like, for the reference.
        minimum: The smallest number that is allowed.
        maximum: The largest number that is allowed.

    Returns:
        An attrs field.
    """
    info = SettingInfo(help=help, example=example, minimum=minimum, maximum=maximum)
    return _field(info, default, factory, alias)


def secret(
    *,
    default: Any = attrs.NOTHING,
    alias: str | None = None,
    help: str = "",  # noqa: A002 - the word that authors look for
    example: str | None = None,
    file_twin: bool = True,
) -> Any:
    """Describe a field of the type `Secret` or `Secret | None`.

    Args:
        default: `None` for a secret that may be missing.
        alias: The YAML key; see `setting`.
        help: A sentence or two for the reference and the schema.
        example: What a value looks like, for the reference. Not a real one.
        file_twin: Whether `<key>File` may name a file that holds the secret.

    Returns:
        An attrs field.
    """
    info = SettingInfo(help=help, example=example, file_twin=file_twin)
    return _field(info, default, None, alias)


def _field(
    info: SettingInfo, default: Any, factory: Callable[[], Any] | None, alias: str | None
) -> Any:
    validator = None
    if info.minimum is not None or info.maximum is not None:
        validator = _check_range
    metadata = {_KEY: info}
    if factory is not None:
        return attrs.field(factory=factory, alias=alias, validator=validator, metadata=metadata)
    return attrs.field(default=default, alias=alias, validator=validator, metadata=metadata)


def range_message(info: SettingInfo, value: object) -> str | None:
    """Say why a number is out of a setting's range, or None if it isn't."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if info.minimum is not None and value < info.minimum:
        return f"must be at least {info.minimum:.15g}"
    if info.maximum is not None and value > info.maximum:
        return f"must be at most {info.maximum:.15g}"
    return None


def _check_range(_: object, field: attrs.Attribute[Any], value: object) -> None:
    message = range_message(info_of(field), value)
    if message is not None:
        raise InvalidSettings({field.alias or field.name: message})


def _camel(name: str) -> str:
    head, *rest = name.strip("_").split("_")
    return head + "".join(word.capitalize() for word in rest)


def _with_aliases(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    # Older attrs leave the alias empty until after this hook, newer ones mark their default.
    return [
        field.evolve(alias=_camel(field.name))
        if not field.alias or getattr(field, "alias_is_default", False)
        else field
        for field in fields
    ]


def _refuse_copies(self: object, _: object) -> NoReturn:
    msg = (
        f"{type(self).__name__} can't be pickled or copied, since it may hold secrets. "
        "Open a KeyManager where you need one"
    )
    raise TypeError(msg)


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(setting, secret, attrs.field)
)
def settings(cls: type[T]) -> type[T]:
    """Turn a class into settings: frozen, keyword-only, with YAML names, never copied.

    Args:
        cls: A class with annotated fields; `setting` and `secret` describe them.

    Returns:
        The attrs class.
    """
    cls.__reduce_ex__ = _refuse_copies  # type: ignore[method-assign]
    return attrs.define(cls, frozen=True, kw_only=True, slots=True, field_transformer=_with_aliases)
