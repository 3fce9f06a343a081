"""Reading a Python mapping of the whole file into the same nodes that YAML gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keyhinge._errors import Problem
from keyhinge._names import shown
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, SequenceNode
from keyhinge.config._scalars import is_text
from keyhinge.config._top import BLOCKS, BlockCollector, ParsedFile
from keyhinge.config._yaml import MAX_DEPTH

__all__ = ["parse_mapping"]


def parse_mapping(config: Mapping[Any, object]) -> ParsedFile:
    """Read a mapping that stands for a whole configuration file.

    Here str is text whatever it holds, and bool, int, float and None are themselves.

    Args:
        config: The mapping, with `keyManagement` among its keys.

    Returns:
        What it has for us; problems are in the nodes, without lines.
    """
    collected = BlockCollector()
    for key, value in config.items():
        block = BLOCKS.get(key.lower()) if isinstance(key, str) else None
        if block is None or not isinstance(key, str):
            collected.other(key if isinstance(key, str) else None)
        else:
            collected.block(key, _node(value, block, 2))
    return collected.finish()


def _node(value: object, path: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        message = f"this is nested deeper than {MAX_DEPTH} levels"
        return ScalarNode(path=path, problems=(Problem(path, message),))
    if isinstance(value, str):
        if not is_text(value):
            message = "the text holds a character that no text can hold"
            return ScalarNode(path=path, problems=(Problem(path, message),))
        return ScalarNode(path=path, text=value, form="text")
    if value is None or isinstance(value, bool | int | float):
        return ScalarNode(path=path, form="native", native=value)
    if isinstance(value, list | tuple):
        items = (_node(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
        return SequenceNode(path=path, items=tuple(items))
    if isinstance(value, Mapping):
        return _mapping(value, path, depth)
    message = f"a value of the type {type(value).__name__} can't stand here; YAML has none"
    return ScalarNode(path=path, problems=(Problem(path, message),))


def _mapping(value: Mapping[object, object], path: str, depth: int) -> MappingNode:
    entries: dict[str, Node] = {}
    problems: list[Problem] = []
    for key, child in value.items():
        if isinstance(key, str) and is_text(key):
            entries[key] = _node(child, f"{path}.{shown(key)}", depth + 1)
        else:
            problems.append(Problem(path, "a key here must be text"))
    return MappingNode(path=path, entries=entries, problems=tuple(problems))
