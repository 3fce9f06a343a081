"""Matching the keys of a block with the keys that its settings have."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from keyhinge._errors import Problem
from keyhinge._names import shown, suggest
from keyhinge.config._nodes import MappingNode, Node, ScalarNode

__all__ = ["MatchedKeys", "match_keys", "unknown_key"]


@attrs.frozen
class MatchedKeys:
    """What a block has for each known key.

    Attributes:
        nodes: The values, by the known key.
        problems: Unknown keys, and keys that differ only in case (two: error, one: warning).
    """

    nodes: dict[str, Node]
    problems: tuple[Problem, ...]


def match_keys(block: MappingNode, known: Iterable[str]) -> MatchedKeys:
    """Find the values of known keys in a block.

    Keys that differ only in case are taken with a warning, since files that are already in use
    have them.

    Args:
        block: The block.
        known: The keys as they should be spelt.

    Returns:
        What was found, and what is wrong.
    """
    spellings = {key.lower(): key for key in known}
    nodes: dict[str, Node] = {}
    spelt: dict[str, str] = {}
    problems: list[Problem] = []
    for key, node in block.entries.items():
        name = spellings.get(key.lower())
        if name is None:
            problems.append(unknown_key(key, node, spellings.values()))
        elif name in nodes:
            message = f"two keys differ only in case; keep the one that is spelt '{name}'"
            problems.append(Problem(node.path, message, node.line))
            if key == name:
                nodes[name] = node
        else:
            nodes[name] = node
            spelt[name] = key
    for name, key in spelt.items():
        if key != name and name not in block.entries:
            message = f"the key should be spelt '{name}'; it is taken as that"
            problems.append(Problem(nodes[name].path, message, nodes[name].line, "warning"))
    return MatchedKeys(nodes, tuple(problems))


def unknown_key(key: str, node: Node, known: Iterable[str], *, what: str = "key") -> Problem:
    """Say that a key is unknown, and which one may have been meant.

    Args:
        key: The key as written.
        node: Its value.
        known: The keys that there are.
        what: What kind of key it is.

    Returns:
        The problem. A key with nothing behind it that is like none of ours may be a secret
        after a forgotten colon, and then isn't repeated.
    """
    known = tuple(known)
    hint = suggest(key, known)
    empty = isinstance(node, ScalarNode) and node.is_null
    if shown(key) != key or (empty and not hint):
        parent, _, _ = node.path.rpartition(".")
        keys = f" The keys are: {', '.join(known)}." if known else ""
        message = f"there is a {what} here that isn't known.{keys}"
        return Problem(parent, message, node.line)
    if not hint and known:
        hint = f" The keys are: {', '.join(known)}."
    return Problem(node.path, f"this {what} isn't known.{hint}", node.line)
