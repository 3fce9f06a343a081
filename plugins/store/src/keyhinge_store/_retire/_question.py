"""The question: is any value under this section, key and version?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

import attrs
import sqlalchemy as sa

from keyhinge import ConfigError, KeyhingeError, KeyManager
from keyhinge_store._layout import Layout

__all__ = ["Question", "ask", "current_problem", "unknown", "values_under"]

_SECTION = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY_ID = re.compile(r"[\x21-\x7e]{0,512}")
_VERSION = re.compile(r"[A-Za-z0-9._-]{0,64}")


@attrs.frozen
class Question:
    """What may be retired.

    Attributes:
        section: The section, or one of a section's aliases.
        key_id: The key; None for all of the section's.
        version: Its version; None for all.
        labels: The names that values of it carry.
        configured: Whether the configuration has the section.
    """

    section: str
    key_id: str | None
    version: str | None
    labels: tuple[str, ...]
    configured: bool

    def __str__(self) -> str:
        key = "" if self.key_id is None else f", key {self.key_id!r}"
        version = "" if self.version is None else f", version {self.version!r}"
        return f"the section {self.section!r}{key}{version}"


def ask(keys: KeyManager, section: str, key_id: str | None, version: str | None) -> Question:
    """Find out which names the values of a section carry.

    Args:
        keys: The configured sections. The section needn't be one of them any more.
        section: The section, or an alias, which is then meant alone.
        key_id: The key; None for all.
        version: Its version; None for all.

    Raises:
        ConfigError: This can't be the name of a section, a key or a version.
    """
    for what, given, grammar in (
        ("section", section, _SECTION),
        ("key id", key_id, _KEY_ID),
        ("version", version, _VERSION),
    ):
        if given is not None and not grammar.fullmatch(given):
            msg = f"{given!r} can't be a {what}"
            raise ConfigError(msg)
    blocks = keys.configuration.sections
    if section in blocks:
        return Question(section, key_id, version, (section, *blocks[section].aliases), True)
    is_alias = any(section in block.aliases for block in blocks.values())
    return Question(section, key_id, version, (section,), is_alias)


def values_under(
    layout: Layout, question: Question, row: sa.FromClause | None = None
) -> sa.ColumnElement[bool]:
    """Give the condition for rows that are, by anything they say, what the question is about.

    The one place that decides it, for looking as for fences. NULL values are under nothing, and
    the layout's `where` plays no part.

    Args:
        layout: The table, for the configuration.
        question: What is asked.
        row: What stands for the table, as a trigger's new row; the table itself if None.
    """
    table = layout.table if row is None else row
    found = layout.codec.at(table, question.labels, question.key_id, question.version)
    return sa.and_(table.c[layout.value].is_not(None), found)


def current_problem(keys: KeyManager, question: Question) -> str:
    """Say why new values are, or may be, what the question is about; "" if they aren't."""
    try:
        own = keys.section_of(question.section)
    except KeyhingeError:
        return ""
    if own != keys.primary or question.section != own:
        return ""
    encrypts = f"{own!r} is the primary section, which encrypts new values"
    if question.key_id is None and question.version is None:
        return encrypts
    try:
        current = keys.current_key()
    except KeyhingeError:
        return f"{encrypts}, and it doesn't tell its current key now"
    key_differs = question.key_id not in (None, current.key_id)
    version_differs = question.version not in (None, current.version)
    if key_differs or (version_differs and current.version):
        return ""
    return f"{encrypts} under this key" + (" and version" if current.version else "")


def unknown(keys: KeyManager, question: Question, seen: Collection[str]) -> ConfigError:
    """Make the error for a section that nobody has ever heard of.

    Args:
        keys: The configured sections.
        question: What is asked.
        seen: Further names that are known.
    """
    near = difflib.get_close_matches(question.section, {*keys.sections, *seen}, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    msg = (
        f"the configuration has no section {question.section!r}, and no value, run or fence of "
        f"this database names it, so it may be misspelt. If it isn't, nothing here needs it.{hint}"
    )
    return ConfigError(msg)
