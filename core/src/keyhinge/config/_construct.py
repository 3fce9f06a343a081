"""Calling a settings class, whose own checks may refuse the values in words of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keyhinge._errors import Problem
from keyhinge._settings import InvalidSettings
from keyhinge.config._fields import SettingField
from keyhinge.config._nodes import MappingNode, Node

__all__ = ["InvalidError", "construct"]


class InvalidError(Exception):
    """Carries problems upwards; with none, the node itself has them already."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)


def construct(
    cls: Any,
    values: dict[str, Any],
    fields: tuple[SettingField, ...],
    nodes: Mapping[str, Node],
    block: MappingNode,
) -> Any:
    """Make an instance out of values that have the right types.

    The class's own checks may still refuse them. What `InvalidSettings` says is passed on; the
    text of any other exception may hold values, so only the setting that it is about is named.

    Args:
        cls: The settings class.
        values: Its arguments, by YAML key.
        fields: Its fields.
        nodes: Where the values come from.
        block: The whole block.

    Returns:
        The instance.

    Raises:
        InvalidError: The class refuses the values.
    """
    messages: Mapping[str, str] | None = None
    try:
        return cls(**values)
    except InvalidSettings as error:
        messages = error.messages
    except Exception:  # noqa: BLE001 - a stranger's validator may raise anything, with the value in it
        blamed = [field.key for field in fields if _refuses(field, values)]
        messages = dict.fromkeys(blamed or [""], "isn't a value that the provider takes")
    problems = []
    for key, message in messages.items():
        node = nodes.get(key) or nodes.get(f"{key}File")
        path = f"{block.path}.{key}" if key else block.path
        problems.append(Problem(path, message, node.line if node is not None else block.line))
    raise InvalidError(problems)


def _refuses(field: SettingField, values: Mapping[str, Any]) -> bool:
    """Tell whether a field's own validator is the one that raised."""
    validator = field.attribute.validator
    if validator is None or field.key not in values:
        return False
    try:
        validator(None, field.attribute, values[field.key])
    except (ValueError, TypeError):
        return True
    except Exception:  # noqa: BLE001 - one that needs the instance fails in its own way: not blamed
        return False
    return False
