"""The tree that a configuration is read into before anything is made of it.

Scalars keep how they were written, because `no` and `"no"` mean different things, and every
node knows where it stands, because every message says so. A node also carries what is wrong
with it: whether that matters depends on whether its section is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

from keyhinge._errors import Problem

__all__ = ["MappingNode", "Node", "ScalarNode", "SequenceNode", "problems_of"]


@attrs.frozen(kw_only=True, eq=False)
class ScalarNode:
    """A single value.

    Attributes:
        path: Where it stands, as in `keyManagement.vault.role`.
        line: The line of the file, from 1; for a value in a mapping, the line of its key.
        text: The text as written, after `${…}` was filled in.
        form: "plain" is YAML without quotes, "text" is certainly text, "native" is a Python
            value other than str (then `native` holds it).
        native: The Python value of a "native" scalar.
        variables: Names of the environment variables that supplied text.
        whole: Whether the whole scalar was one `${…}`, so that it may be a number.
        problems: What is wrong with the node itself.
    """

    path: str
    line: int | None = None
    text: str = attrs.field(default="", repr=False)
    form: Literal["plain", "text", "native"] = "plain"
    native: bool | int | float | None = attrs.field(default=None, repr=False)
    variables: tuple[str, ...] = ()
    whole: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def is_null(self) -> bool:
        """Whether nothing was written, or YAML's word for it."""
        if self.form == "native":
            return self.native is None
        return self.form == "plain" and self.text in {"", "~", "null", "Null", "NULL"}


@attrs.frozen(kw_only=True, eq=False)
class SequenceNode:
    """A list of values."""

    path: str
    line: int | None = None
    items: tuple[Node, ...] = ()
    problems: tuple[Problem, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class MappingNode:
    """Keys and values, in the file's order; keys that can't be taken are in `problems`."""

    path: str
    line: int | None = None
    entries: dict[str, Node] = attrs.field(factory=dict)
    problems: tuple[Problem, ...] = ()


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


def problems_of(node: Node) -> Iterator[Problem]:
    """Yield what is wrong with a node and everything below it, from reading alone."""
    yield from node.problems
    if isinstance(node, MappingNode):
        for child in node.entries.values():
            yield from problems_of(child)
    elif isinstance(node, SequenceNode):
        for child in node.items:
            yield from problems_of(child)
