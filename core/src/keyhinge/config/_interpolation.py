"""`${NAME}`, `${NAME:-default}` and `$${` in the configuration's values.

Environment variables are filled in after the YAML was parsed, so that nothing in a variable can
become YAML; into values, never keys; and once, so that nothing in a variable is a `${…}` again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from keyhinge._errors import Problem
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = ["Expansion", "InterpolationError", "expand", "interpolate"]

_LONGEST = 1 << 20

# An escape, a reference, or a "${" that begins neither.
_PIECE = re.compile(
    r"\$(?P<escape>\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}"
    r"|(?P<malformed>\$\{)"
)


class InterpolationError(ValueError):
    """A value's `${…}` can't be filled in; the message never repeats the value."""


@attrs.frozen
class Expansion:
    """What became of a value.

    Attributes:
        text: The text with everything filled in.
        variables: The variables that supplied text, in order.
        whole: Whether the whole value was one `${…}`.
    """

    text: str = attrs.field(repr=False)
    variables: tuple[str, ...]
    whole: bool


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Fill in the environment variables that a text refers to.

    As in a shell, `${NAME:-default}` also takes the default where the variable is empty.

    Args:
        text: The text as it stands in the file.
        environ: The environment variables.

    Returns:
        The new text and what was used for it.

    Raises:
        InterpolationError: A variable isn't set and has no default, a `${` isn't complete, or
            the result is too long.
    """
    parts: list[str] = []
    length = len(text)
    variables: list[str] = []
    whole = False
    end = 0
    for piece in _PIECE.finditer(text):
        parts.append(text[end : piece.start()])
        end = piece.end()
        if piece["escape"]:
            parts.append("${")
        elif piece["malformed"]:
            msg = (
                "a '${' isn't complete. Write ${NAME} or ${NAME:-default} for an environment "
                "variable, and $${ for the two characters themselves"
            )
            raise InterpolationError(msg)
        else:
            whole = piece.span() == (0, len(text))
            value, used = _look_up(piece["name"], piece["default"], environ, whole=whole)
            parts.append(value)
            variables.extend(used)
            length += len(value)
            if length > _LONGEST:
                msg = "becomes longer than 1 MiB once its environment variables are filled in"
                raise InterpolationError(msg)
    parts.append(text[end:])
    return Expansion("".join(parts), tuple(dict.fromkeys(variables)), whole)


def _look_up(
    name: str, default: str | None, environ: Mapping[str, str], *, whole: bool
) -> tuple[str, tuple[str, ...]]:
    value = environ.get(name)
    if value is None and default is None:
        # Inside a longer text, "${" may be part of a password: then the name is not repeated
        # unless it looks like a variable's.
        which = f"variable {name}" if whole or name.isupper() else "variable that is named here"
        hint = f"${{{name}:-default}}" if which.endswith(name) else "${NAME:-default}"
        msg = f"the environment {which} isn't set. Set it, or give a default: {hint}"
        raise InterpolationError(msg)
    if value is None or (value == "" and default is not None):
        return default or "", ()
    if not _is_text(value):
        msg = "the environment variable that is named here isn't valid UTF-8"
        raise InterpolationError(msg)
    return value, (name,)


def _is_text(value: str) -> bool:
    # Bytes that aren't UTF-8 reach os.environ as lone surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in value)


def interpolate(node: Node, environ: Mapping[str, str]) -> Node:
    """Fill in every value of a tree.

    Args:
        node: The tree as read.
        environ: The environment variables.

    Returns:
        A new tree; what couldn't be filled in carries a problem.
    """
    if isinstance(node, MappingNode):
        entries = {key: interpolate(child, environ) for key, child in node.entries.items()}
        return attrs.evolve(node, entries=entries)
    if isinstance(node, SequenceNode):
        return attrs.evolve(node, items=tuple(interpolate(item, environ) for item in node.items))
    return _interpolate_scalar(node, environ)


def _interpolate_scalar(node: ScalarNode, environ: Mapping[str, str]) -> ScalarNode:
    if node.form == "native" or "${" not in node.text:
        return node
    problem = None
    try:
        expansion = expand(node.text, environ)
    except InterpolationError as error:
        problem = Problem(node.path, str(error), node.line)
    if problem is not None:
        return attrs.evolve(node, problems=(*node.problems, problem))
    # What is filled in is text: a variable that holds "no" doesn't become a boolean by itself.
    return attrs.evolve(
        node,
        text=expansion.text,
        form="text",
        variables=expansion.variables,
        whole=expansion.whole,
    )
