"""Making settings out of nodes: strict, with every problem at once, and without values in messages.

cattrs dispatches on the wanted type; all hooks are ours, since its own ones convert (`int("0123")`)
and put values into their exceptions.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
from cattrs import BaseConverter

from keyhinge._errors import Problem
from keyhinge._names import suggest
from keyhinge._secret import Secret
from keyhinge._settings import range_message
from keyhinge.config import _scalars as scalars
from keyhinge.config._construct import InvalidError, construct
from keyhinge.config._fields import (
    SettingField,
    fields_of,
    is_union,
    members_of,
    not_settable,
    unwrap_optional,
)
from keyhinge.config._keys import match_keys
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, SequenceNode, problems_of

__all__ = ["Structured", "structure"]

T = TypeVar("T")


@attrs.frozen
class Structured:
    """What came out of a block.

    Attributes:
        value: The settings; None if there are errors.
        problems: Errors and warnings, in the file's order.
    """

    value: Any
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that aren't just warnings."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def structure(block: Node, cls: type, *, base_dir: Path) -> Structured:
    """Make settings out of a block.

    Args:
        block: The block, with environment variables filled in.
        cls: An attrs class.
        base_dir: The folder that relative paths start at.

    Returns:
        The settings, or everything that is wrong.

    Raises:
        SettingsClassError: The class itself is wrong: not attrs, or a type that settings can't
            have.
    """
    structurer = _Structurer(base_dir)
    problems: list[Problem] = list(problems_of(block))
    value: Any = None
    try:
        value = structurer.converter.structure(block, cls)
    except InvalidError as error:
        problems.extend(error.problems)
    problems.extend(structurer.warnings)
    if any(problem.severity == "error" for problem in problems):
        value = None
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)
    return Structured(value, tuple(ordered))


def _wrong(node: Node, message: str) -> InvalidError:
    return InvalidError(() if node.problems else (Problem(node.path, message, node.line),))


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is(origin: Any) -> Callable[[Any], bool]:
    return lambda kind: typing.get_origin(kind) is origin


class _Structurer:
    """The hooks, and what they share while one block is made."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.warnings: list[Problem] = []
        self.converter = BaseConverter()
        self._leaves: dict[Any, Callable[[Node, Any], Any]] = {
            str: _scalar_hook(scalars.as_text),
            bool: _scalar_hook(scalars.as_bool),
            int: _scalar_hook(scalars.as_int),
            float: _scalar_hook(scalars.as_float),
            Path: self._path,
            Secret: self._secret,
        }
        for kind, leaf_hook in self._leaves.items():
            self.converter.register_structure_hook(kind, leaf_hook)
        self._composites: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]], ...] = (
            (_is(list), self._list),
            (_is(tuple), self._tuple),
            (_is(Sequence), self._tuple),
            (_is(dict), self._dict),
            (_is(Mapping), self._dict),
            (_is(Literal), _choice),
            (is_union, self._union),
            (attrs.has, self._class),
        )
        for predicate, hook in self._composites:
            self.converter.register_structure_hook_func(predicate, hook)

    def _structure(self, node: Node, kind: Any) -> Any:
        if _is_enum(kind):
            # cattrs would prefer the hook of a base class: str's, for class Mode(str, Enum).
            return _enum(node, kind)
        # cattrs knows more types than settings may have, and would convert nodes to them.
        if kind not in self._leaves and not any(fits(kind) for fits, _ in self._composites):
            raise not_settable(kind, node.path)
        return self.converter.structure(node, kind)

    # Scalars

    def _path(self, node: Node, _: Any) -> Path:
        text = _scalar(node, scalars.as_text)
        if not text or "\0" in text:
            raise _wrong(node, "must be a path")
        return self.base_dir / text

    def _secret(self, node: Node, _: Any) -> Secret:
        return Secret(_scalar(node, scalars.as_text))

    def _union(self, node: Node, kind: Any) -> Any:
        _, optional = unwrap_optional(kind)
        if optional and isinstance(node, ScalarNode) and node.is_null and not node.problems:
            return None
        members = [member for member in members_of(kind) if _fits(node, member)]
        members = members or list(members_of(kind))
        for member in members[:-1]:
            try:
                return self._structure(node, member)
            except InvalidError:
                continue
        return self._structure(node, members[-1])

    # Collections

    def _items(self, node: Node, kind: Any) -> list[Any]:
        if not isinstance(node, SequenceNode):
            raise _wrong(node, "must be a list, as in [a, b]")
        arguments = typing.get_args(kind)
        if typing.get_origin(kind) is tuple and arguments[1:] != (Ellipsis,):
            raise not_settable(kind, node.path, "write tuple[X, ...]")
        return self._all((item, arguments[0]) for item in node.items)

    def _list(self, node: Node, kind: Any) -> list[Any]:
        return self._items(node, kind)

    def _tuple(self, node: Node, kind: Any) -> tuple[Any, ...]:
        return tuple(self._items(node, kind))

    def _dict(self, node: Node, kind: Any) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise _wrong(node, "must be a mapping, as in {a: b}")
        key_kind, value_kind = typing.get_args(kind)
        if key_kind is not str:
            raise not_settable(kind, node.path, "keys are str")
        values = self._all((child, value_kind) for child in node.entries.values())
        return dict(zip(node.entries, values, strict=True))

    def _all(self, wanted: Iterable[tuple[Node, Any]]) -> list[Any]:
        values: list[Any] = []
        problems: list[Problem] = []
        invalid = False
        for node, kind in wanted:
            try:
                values.append(self._structure(node, kind))
            except InvalidError as error:
                invalid = True
                problems.extend(error.problems)
        if invalid:
            raise InvalidError(problems)
        return values

    # Classes

    def _class(self, node: Node, cls: Any) -> Any:
        if isinstance(node, ScalarNode) and node.is_null:
            node = MappingNode(path=node.path, line=node.line, problems=node.problems)
        if not isinstance(node, MappingNode):
            raise _wrong(node, "must be a block of settings, with one key on each line")
        fields = fields_of(cls)
        known = [key for field in fields for key in (field.key, field.twin) if key is not None]
        matched = match_keys(node, known)
        self.warnings.extend(item for item in matched.problems if item.severity == "warning")
        problems = [item for item in matched.problems if item.severity == "error"]
        values: dict[str, Any] = {}
        invalid = bool(problems)
        for field in fields:
            try:
                value = self._field(field, matched.nodes, node)
            except InvalidError as error:
                invalid = True
                problems.extend(error.problems)
            else:
                if value is not attrs.NOTHING:
                    values[field.key] = value
        if invalid:
            raise InvalidError(problems)
        return construct(cls, values, fields, matched.nodes, node)

    def _field(self, field: SettingField, nodes: Mapping[str, Node], block: MappingNode) -> Any:
        node = nodes.get(field.key)
        twin = nodes.get(field.twin) if field.twin is not None else None
        if twin is not None and _absent(twin):
            twin = None
        if twin is not None and node is not None and _absent(node):
            node = None
        if node is not None and twin is not None:
            message = f"'{field.key}' and '{field.twin}' are both given; keep one of them"
            raise _wrong(twin, message)
        if twin is not None:
            return Secret.from_file(self._path(twin, Path))
        if node is None:
            if field.required:
                raise InvalidError((_missing(field, block),))
            return attrs.NOTHING
        value = self._structure(node, field.type)
        out_of_range = range_message(field.info, value)
        if out_of_range is not None:
            raise _wrong(node, out_of_range)
        return value


def _absent(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.is_null and not node.problems


def _missing(field: SettingField, block: MappingNode) -> Problem:
    path = f"{block.path}.{field.key}"
    if field.twin is not None:
        message = f"this key is missing; give it, or name a file with '{field.twin}'"
        return Problem(path, message, block.line)
    return Problem(path, "this key is missing, and it is needed", block.line)


def _scalar(node: Node, read: Callable[[ScalarNode], T]) -> T:
    if node.problems:
        raise InvalidError(())
    if not isinstance(node, ScalarNode):
        raise _wrong(node, "must be a single value, not a list or a mapping")
    if node.is_null:
        raise _wrong(node, "has no value; write one, or leave the key out if it isn't needed")
    message = ""
    try:
        return read(node)
    except scalars.ScalarError as error:
        message = str(error)
    raise _wrong(node, message)


def _scalar_hook(read: Callable[[ScalarNode], Any]) -> Callable[[Node, Any], Any]:
    return lambda node, _: _scalar(node, read)


def _choice(node: Node, kind: Any) -> Any:
    return _one_of(node, {str(value): value for value in typing.get_args(kind)})


def _enum(node: Node, kind: Any) -> Any:
    return _one_of(node, {str(member.value): member for member in kind})


def _one_of(node: Node, choices: Mapping[str, Any]) -> Any:
    text = _scalar(node, _written)
    if text in choices:
        return choices[text]
    raise _wrong(node, f"must be one of: {', '.join(choices)}.{suggest(text, choices)}")


def _written(node: ScalarNode) -> str:
    # A choice is compared with fixed words, so nothing can turn into another value here.
    return str(node.native) if node.form == "native" else node.text


def _fits(node: Node, kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if isinstance(node, SequenceNode):
        return origin in {list, tuple, Sequence}
    is_mapping = origin in {dict, Mapping} or attrs.has(kind)
    if isinstance(node, MappingNode):
        return is_mapping
    return not is_mapping and origin not in {list, tuple, Sequence}
