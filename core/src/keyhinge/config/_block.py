"""Understanding one section's block: which provider it is, and which names it had."""

from __future__ import annotations

import attrs

from keyhinge._errors import Problem
from keyhinge._names import RESERVED_NAMES, is_section_name
from keyhinge.config._keys import match_keys
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, SequenceNode, problems_of
from keyhinge.config._scalars import ScalarError, as_text

__all__ = ["SectionBlock", "names_in", "read_section", "text_of"]


@attrs.frozen
class SectionBlock:
    """A section as the file has it.

    Attributes:
        name: Its name.
        type: The name of its provider.
        aliases: Names that it had before, whose values it still decrypts.
        node: Its settings, without `type` and `aliases`.
        named_in_file: Whether the file names it; False only for the implied `plaintext`.
        problems: What is wrong with `type` and `aliases`; errors once the section is needed.
    """

    name: str
    type: str
    aliases: tuple[str, ...]
    node: MappingNode = attrs.field(repr=False)
    named_in_file: bool = True
    problems: tuple[Problem, ...] = ()


def read_section(name: str, node: Node) -> SectionBlock:
    """Read what every section may have; the rest is its provider's.

    Args:
        name: The section's name.
        node: Its block.

    Returns:
        The section; what is wrong with it is kept until the section is needed.
    """
    if not isinstance(node, MappingNode):
        node = MappingNode(path=node.path, line=node.line, problems=node.problems)
    own: dict[str, Node] = {}
    rest: dict[str, Node] = {}
    for key, child in node.entries.items():
        (own if key.lower() in {"type", "aliases"} else rest)[key] = child
    matched = match_keys(attrs.evolve(node, entries=own, problems=()), ("type", "aliases"))
    problems = list(matched.problems)
    kind = name
    if "type" in matched.nodes:
        kind, wrong = _type(matched.nodes["type"], name)
        problems.extend(wrong)
    aliases: tuple[str, ...] = ()
    if "aliases" in matched.nodes:
        aliases, wrong = _aliases(matched.nodes["aliases"])
        problems.extend(wrong)
    settings_node = attrs.evolve(node, entries=rest)
    return SectionBlock(name, kind, aliases, settings_node, problems=tuple(problems))


def _type(node: Node, default: str) -> tuple[str, list[Problem]]:
    problems = list(problems_of(node))
    text = text_of(node)
    if text is not None and is_section_name(text):
        return text, problems
    if not problems:
        message = "must be a provider's name, such as vault, in lower-case letters"
        problems.append(Problem(node.path, message, node.line))
    return default, problems


def _aliases(node: Node) -> tuple[tuple[str, ...], list[Problem]]:
    names, problems = names_in(node, "must be a list of the section's old names, as in [old-name]")
    good = []
    for item, name in names:
        if is_section_name(name) and name not in RESERVED_NAMES:
            good.append(name)
        else:
            problems.append(Problem(item.path, "can't be a section's name", item.line))
    return tuple(dict.fromkeys(good)), problems


def names_in(node: Node, hint: str) -> tuple[list[tuple[Node, str]], list[Problem]]:
    """Read a list of text.

    Args:
        node: The list.
        hint: What to say where it isn't one.

    Returns:
        Each item with its text, and what is wrong.
    """
    problems = list(problems_of(node))
    if not isinstance(node, SequenceNode):
        return [], problems or [Problem(node.path, hint, node.line)]
    names = []
    for item in node.items:
        text = text_of(item)
        if text is not None:
            names.append((item, text))
        elif not item.problems:
            problems.append(Problem(item.path, "must be text", item.line))
    return names, problems


def text_of(node: Node) -> str | None:
    """Give a node's text, or None if it isn't certainly text."""
    if not isinstance(node, ScalarNode) or node.problems:
        return None
    try:
        return as_text(node)
    except ScalarError:
        return None
