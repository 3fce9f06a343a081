"""Reading the bytes of a `config.yaml` into nodes.

PyYAML's parser is used, but neither its composer nor its constructor: what a scalar means is
decided when its wanted type is known, so that `no` or `0123` never turn into other values first.
Its messages are replaced by ours, since they may quote the file, which may hold a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import yaml

from keyhinge._errors import ConfigError, Problem
from keyhinge._names import shown
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, SequenceNode
from keyhinge.config._scalars import is_text
from keyhinge.config._top import BLOCKS, BlockCollector, ParsedFile

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "parse_yaml"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
#: In our blocks; what is looked for among their keys would take minutes without a bound.
MAX_VALUES = 5000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_REASONS = (
    ("found character", "a character here needs quotes around it"),
    ("mapping values are not allowed", "a ':' stands where no key can be; check the indentation"),
    ("could not find expected ':'", "a key isn't followed by ':' and a space"),
    ("found unexpected end of stream", "a quotation mark or bracket isn't closed"),
    ("expected <block end>", "the indentation doesn't fit the lines above"),
    ("did not find expected key", "the indentation doesn't fit the lines above"),
    ("did not find expected '-' indicator", "the indentation doesn't fit the lines above"),
    ("expected ',' or", "a ',' or a closing bracket is missing"),
    ("did not find expected ',' or", "a ',' or a closing bracket is missing"),
    ("found unknown escape character", "a '\\' in double quotes begins an unknown escape"),
    ("block sequence entries are not allowed", "a list can't begin here; check the indentation"),
    ("sequence entries are not allowed", "a list can't begin here; check the indentation"),
    ("control characters are not allowed", "there is a control character"),
    ("special characters are not allowed", "there is a control character"),
    # libyaml looks ahead, and from 0.2.6 on it has a bound of its own, at a thousand.
    ("exceeded maximum nesting depth", f"it is nested deeper than {MAX_DEPTH} levels"),
)


def parse_yaml(data: bytes, *, source: str = "") -> ParsedFile:
    """Parse a configuration file.

    Args:
        data: The whole file, UTF-8, at most 1 MiB.
        source: The file's name, for messages.

    Returns:
        The blocks that are ours; everything else was passed over.

    Raises:
        ConfigError: The bytes aren't one YAML document with a mapping at its top.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError("the file is larger than 1 MiB", source=source)
    text = _decode(data, source)
    problem: Problem | None
    try:
        return _Builder(text).file()
    except _BrokenError as error:
        problem = error.problem
    except yaml.YAMLError as error:
        problem = _translate(error, text)
    except (ValueError, OverflowError):
        # PyYAML's own parser lets impossible escapes and numbers through as these.
        problem = Problem("", "the YAML is broken: an escape or a number is out of range")
    raise ConfigError(problem, source=source)


def _decode(data: bytes, source: str) -> str:
    problem = None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        problem = Problem("", f"the file isn't UTF-8 text: see column {column}", line)
    raise ConfigError(problem, source=source)


def _translate(error: yaml.YAMLError, text: str) -> Problem:
    reason = "this can't be read as YAML; check indentation and quotes"
    wanted = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "")
    for begin, translation in _REASONS:
        if wanted.startswith(begin):
            reason = translation
            break
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        if text[mark.index : mark.index + 1] == "\t":
            reason = "a tab can't be used for indentation; use spaces"
        message = f"the YAML is broken at column {mark.column + 1}: {reason}"
        return Problem("", message, mark.line + 1)
    position = getattr(error, "position", None)
    line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
    return Problem("", f"the YAML is broken: {reason}", line)


class _BrokenError(Exception):
    """Carries a problem with the file as a whole out of the builder."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__()
        self.problem = Problem("", message, line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Builder:
    """Turns PyYAML's events into nodes, which are strict where the file is ours."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._values = 0

    def file(self) -> ParsedFile:
        """Read the whole stream."""
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            msg = "the file is empty"
            raise _BrokenError(msg)
        parsed = self._root(self._next())
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            msg = "the file has more than one YAML document; keep one, without '---' below it"
            raise _BrokenError(msg, _line(after))
        return parsed

    def _next(self) -> Any:
        return next(self._events)

    def _root(self, event: Any) -> ParsedFile:
        if isinstance(event, yaml.ScalarEvent) and not event.value and event.style in {None, ""}:
            msg = "the file is empty"
            raise _BrokenError(msg)
        if not isinstance(event, yaml.MappingStartEvent):
            msg = "the file must be a mapping with 'keyManagement:' at its top"
            raise _BrokenError(msg, _line(event))
        collected = BlockCollector()
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            block = BLOCKS.get(key.lower()) if key is not None else None
            if block is None or key is None:
                self._skip(event, 1)
                self._skip(self._next(), 1)
                collected.other(key)
            else:
                decoration = _decoration(event, block)
                node = self._node(self._next(), block, _line(event), 2)
                collected.block(key, _add_problem(node, decoration))
        return collected.finish()

    def _skip(self, event: Any, depth: int) -> None:
        """Pass over a node that belongs to the application."""
        open_nodes = 0
        while True:
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes += 1
                _check_depth(depth + open_nodes, event)
            elif isinstance(event, yaml.CollectionEndEvent):
                open_nodes -= 1
            if open_nodes == 0:
                return
            event = self._next()

    def _count(self, event: Any) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            msg = f"there are more than {MAX_VALUES} values in Keyhinge's part of the file"
            raise _BrokenError(msg, _line(event))

    def _node(self, event: Any, path: str, line: int, depth: int) -> Node:
        _check_depth(depth, event)
        self._count(event)
        if isinstance(event, yaml.AliasEvent):
            message = "YAML aliases (*name) aren't taken here; write the value out"
            return ScalarNode(path=path, line=line, problems=(Problem(path, message, line),))
        decoration = _decoration(event, path, line)
        if isinstance(event, yaml.MappingStartEvent):
            return _add_problem(self._mapping(path, line, depth), decoration)
        if isinstance(event, yaml.SequenceStartEvent):
            return _add_problem(self._sequence(path, line, depth), decoration)
        if not is_text(event.value):
            message = "an escape makes a character that no text can hold"
            decoration = decoration or Problem(path, message, line)
        plain = event.style in {None, ""}
        node = ScalarNode(path=path, line=line, text=event.value, form="plain" if plain else "text")
        return _add_problem(node, decoration)

    def _sequence(self, path: str, line: int, depth: int) -> SequenceNode:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", _line(event), depth + 1))
        return SequenceNode(path=path, line=line, items=tuple(items))

    def _mapping(self, path: str, line: int, depth: int) -> MappingNode:
        entries: dict[str, Node] = {}
        problems: list[Problem] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            wrong = _key_problem(event, entries, path)
            if wrong is not None:
                problems.append(wrong)
                self._count(event)
                self._skip(event, depth)
                self._skip(self._next(), depth)
                continue
            child = f"{path}.{shown(event.value)}"
            entries[event.value] = self._node(self._next(), child, _line(event), depth + 1)
        return MappingNode(path=path, line=line, entries=entries, problems=tuple(problems))


def _check_depth(depth: int, event: Any) -> None:
    if depth > MAX_DEPTH:
        msg = f"the file is nested deeper than {MAX_DEPTH} levels"
        raise _BrokenError(msg, _line(event))


def _decoration(event: Any, path: str, line: int | None = None) -> Problem | None:
    line = line if line is not None else _line(event)
    if getattr(event, "anchor", None) is not None:
        return Problem(path, "YAML anchors (&name) aren't taken here; write the value out", line)
    if getattr(event, "tag", None) is not None:
        return Problem(path, "YAML tags (!name) aren't taken here; leave the tag out", line)
    return None


def _key_problem(event: Any, entries: dict[str, Node], path: str) -> Problem | None:
    line = _line(event)
    if not isinstance(event, yaml.ScalarEvent):
        return Problem(path, "a key here must be a plain word", line)
    key = str(event.value)
    plain = event.style in {None, ""}
    if plain and key == "<<":
        return Problem(path, "YAML merge keys (<<) aren't taken here; write the keys out", line)
    if not is_text(key, plain=plain):
        message = "a key here must be text; YAML takes this one for something else"
        return Problem(path, message, line)
    if key in entries:
        message = "this key stands here twice; leave one of the two out"
        return Problem(f"{path}.{shown(key)}", message, line)
    return _decoration(event, f"{path}.{shown(key)}")


def _add_problem(node: Node, problem: Problem | None) -> Node:
    return node if problem is None else attrs.evolve(node, problems=(problem, *node.problems))
