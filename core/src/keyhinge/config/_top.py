"""The top level of a configuration file, which Keyhinge shares with the application."""

from __future__ import annotations

import attrs

from keyhinge._errors import Problem
from keyhinge.config._nodes import Node

__all__ = ["BLOCKS", "BlockCollector", "ParsedFile"]

#: The top-level keys that are ours; all others belong to the application.
BLOCKS = {"keymanagement": "keyManagement", "store": "store"}


@attrs.frozen
class ParsedFile:
    """What a file has for us.

    Attributes:
        blocks: Our top-level keys, by their proper spelling.
        other_keys: The application's top-level keys.
        problems: What is wrong at the top level, warnings too.
    """

    blocks: dict[str, Node]
    other_keys: tuple[str, ...]
    problems: tuple[Problem, ...]


class BlockCollector:
    """Gathers the top level: our blocks once each, whatever their case, and other keys' names."""

    def __init__(self) -> None:
        self._blocks: dict[str, Node] = {}
        self._spelt: dict[str, str] = {}
        self._others: list[str] = []
        self._problems: list[Problem] = []

    def other(self, key: str | None) -> None:
        """Note a key of the application's."""
        if key is not None:
            self._others.append(key)

    def block(self, key: str, node: Node) -> None:
        """Note one of our blocks under the key as it is spelt in the file."""
        name = BLOCKS[key.lower()]
        if name in self._blocks:
            if self._spelt[name] == key:
                message = "this key stands here twice; leave one of the two out"
            else:
                message = f"two keys differ only in case; keep the one that is spelt '{name}'"
            self._problems.append(Problem(name, message, node.line))
            return
        if key != name:
            message = f"the key should be spelt '{name}'; it is taken as that"
            self._problems.append(Problem(name, message, node.line, "warning"))
        self._blocks[name] = node
        self._spelt[name] = key

    def finish(self) -> ParsedFile:
        """Give what was gathered."""
        return ParsedFile(self._blocks, tuple(self._others), tuple(self._problems))
