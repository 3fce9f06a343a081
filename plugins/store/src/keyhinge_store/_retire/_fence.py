"""A fence, and what is remembered of it in the trigger itself: there is no other place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from keyhinge_store._encodings import MonetrCodec
from keyhinge_store._layout import Layout
from keyhinge_store._retire._building import Way
from keyhinge_store._retire._question import Question

__all__ = [
    "PREFIX",
    "Fence",
    "Memory",
    "covers",
    "is_fence",
    "memory_for",
    "read_memory",
    "shape_in",
]

PREFIX = "keyhinge_fence_"
_FORMAT = 1
_NAME = re.compile(r"keyhinge_fence_[a-z0-9_]{1,32}_[0-9a-f]{12}(?:_insert|_update)?")


@attrs.frozen
class Memory:
    """What a trigger says about itself.

    Attributes:
        section: The section whose values it refuses.
        labels: The names that they carry.
        key_id: The key; None for all.
        version: Its version; None for all.
        column: The column with the value, as it was called then.
        encoding: How values stand in it.
        shape: For rows that name no section, what the section's values look like.
        ways: What is refused of sections that build on it; see `Question`.
        vague: The same, of values that don't say whether they need it.
    """

    section: str
    labels: tuple[str, ...]
    key_id: str | None
    version: str | None
    column: str
    encoding: str
    shape: str = ""
    ways: tuple[Way, ...] = ()
    vague: tuple[Way, ...] = ()

    def question(self) -> Question:
        """Give the question whose values it refuses."""
        return Question(
            self.section,
            self.key_id,
            self.version,
            self.labels,
            configured=True,
            ways=self.ways,
            vague=self.vague,
        )

    def name(self, table: str) -> str:
        """Give the trigger's name: at most 60 bytes, and another one for anything else.

        Args:
            table: The table's name; in SQLite all triggers of a database have different names.
        """
        digest = hashlib.sha256(f"{table}\0{self.text()}".encode()).hexdigest()[:12]
        return f"{PREFIX}{self.section.replace('-', '_')}_{digest}"

    def text(self) -> str:
        """Write it as ASCII that may stand in a comment of SQL."""
        # Those that are empty aren't written: there were none when the first fences were made.
        given = {name: value for name, value in attrs.asdict(self).items() if value != ()}
        found = {"format": _FORMAT, **given}
        # A key id may have "*/", which would end a comment.
        return json.dumps(found, sort_keys=True).replace("/", "\\u002f")


@attrs.frozen
class Fence:
    """A trigger that refuses values under a section.

    Attributes:
        table: The table, with its schema where that is needed to find it.
        column: The column with the values.
        section: The section that is refused.
        key_id: The key; None for all.
        version: Its version; None for all.
        enabled: Whether the database calls it for every row that is written.
        trigger: Its name.
        intact: Whether it refuses what a fence that is made now would; None if its table and
            column aren't mapped, so that nobody knows.
    """

    table: str
    column: str
    section: str
    key_id: str | None
    version: str | None
    enabled: bool
    trigger: str
    intact: bool | None = None

    memory: Memory = attrs.field(repr=False, kw_only=True)
    place: Any = attrs.field(repr=False, kw_only=True)
    """What identifies the table: a number in PostgreSQL, schema and name in SQLite."""
    columns: frozenset[str] = attrs.field(repr=False, kw_only=True)
    """The columns that it looks at, as they are called now."""
    definitions: tuple[str, ...] = attrs.field(repr=False, kw_only=True)
    """The statements that made its triggers, as the database gives them back."""

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON."""
        names = ("table", "column", "section", "key_id", "version", "enabled", "intact", "trigger")
        return {name: getattr(self, name) for name in names}


def shape_in(layout: Layout, section: str) -> str:
    """Name what a section's values look like where rows name no section; else ""."""
    codec = layout.codec
    return codec.shape_of(section) if isinstance(codec, MonetrCodec) else ""


def memory_for(layout: Layout, question: Question) -> Memory:
    """Give what the trigger for a column has to say about itself."""
    return Memory(
        section=question.section,
        labels=question.labels,
        key_id=question.key_id,
        version=question.version,
        column=layout.value,
        encoding=layout.codec.encoding,
        shape=shape_in(layout, question.section),
        ways=question.ways,
        vague=question.vague,
    )


def read_memory(name: str, text: str) -> Memory | None:
    """Read what a trigger says about itself; None if it isn't one of ours."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not _NAME.fullmatch(name) or not isinstance(found, dict):
        return None
    ways, vague = (_pairs(found.pop(name, ())) for name in ("ways", "vague"))
    names = {field.name for field in attrs.fields(Memory)} - {"ways", "vague"}
    if found.pop("format", None) != _FORMAT or set(found) != names:
        return None
    return Memory(**{**found, "labels": tuple(found["labels"]), "ways": ways, "vague": vague})


def _pairs(found: Iterable[Sequence[str]]) -> tuple[Way, ...]:
    return tuple((label, beginning) for label, beginning in found)


def is_fence(trigger: str) -> bool:
    """Tell by its name whether a trigger is a fence of ours."""
    return _NAME.fullmatch(trigger) is not None


def covers(fence: Fence, layout: Layout, question: Question) -> bool:
    """Tell whether a fence, by what it says, refuses everything that a question is about.

    Whether it does what it says is another matter: see `Fence.enabled` and `Fence.intact`.

    Args:
        fence: A fence on this column.
        layout: The table and column.
        question: What is asked.
    """
    memory = fence.memory
    return (
        memory.encoding == layout.codec.encoding
        and memory.shape == shape_in(layout, question.section)
        and set(question.labels) <= set(memory.labels)
        and set(question.ways) <= set(memory.ways)
        and set(question.vague) <= set(memory.vague)
        and memory.key_id in (None, question.key_id)
        and memory.version in (None, question.version)
    )
