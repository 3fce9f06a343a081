"""The question: is any value under this section, key and version?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

import attrs
import sqlalchemy as sa

from keyhinge import ConfigError, KeyhingeError, KeyManager
from keyhinge_store._codec import Labels
from keyhinge_store._layout import Layout
from keyhinge_store._retire._building import Building, Need, Way, building_of

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
        ways: How key ids begin that name it, of values of sections that build on it.
        vague: How those begin that have no further slash, so that they might need it.
        building: Which sections build on which.
    """

    section: str
    key_id: str | None
    version: str | None
    labels: tuple[str, ...]
    configured: bool
    ways: tuple[Way, ...] = ()
    vague: tuple[Way, ...] = ()
    building: Building = attrs.field(factory=Building, repr=False)

    def need(self, labels: Labels) -> Need:
        """Tell whether a value of another section, which builds on this one, needs it.

        Args:
            labels: The value's own section, key id and version.
        """
        label, key_id, version = labels
        need, below = self.building.need(label, key_id, self.labels)
        other_key = self.key_id is not None and below != self.key_id
        other_version = self.version is not None and version not in (self.version, "")
        return Need.NO if need is Need.YES and (other_key or other_version) else need

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
    labels = (section, *blocks[section].aliases) if section in blocks else (section,)
    building = building_of(keys)
    return Question(
        section,
        key_id,
        version,
        labels,
        configured=section in building.owners,
        ways=building.ways(labels),
        vague=building.vague(labels),
        building=building,
    )


def values_under(
    layout: Layout, question: Question, row: sa.FromClause | None = None
) -> sa.ColumnElement[bool]:
    """Give the condition for rows that are, by anything they say, what the question is about.

    The one place that decides it, for looking as for fences. NULL values are under nothing, and
    the layout's `where` plays no part. `Question.need` sees some more: values whose key id names
    what isn't a section below.

    Args:
        layout: The table, for the configuration.
        question: What is asked.
        row: What stands for the table, as a trigger's new row; the table itself if None.
    """
    table = layout.table if row is None else row
    codec, key_id, version = layout.codec, question.key_id, question.version
    found = [codec.at(table, question.labels, key_id, version)]
    for label, beginning in question.ways:
        if key_id is not None:
            found.append(codec.at(table, (label,), beginning + key_id, version))
            continue
        begins = codec.key_begins(table, label, beginning)
        if version is not None:
            begins = sa.and_(begins, codec.at(table, (label,), None, version))
        found.append(begins)
    found += [codec.key_begins(table, *each, last=True) for each in question.vague]
    return sa.and_(table.c[layout.value].is_not(None), sa.or_(*found))


def current_problem(keys: KeyManager, question: Question) -> str:
    """Say why new values are, or may be, what the question is about; "" if they aren't."""
    own = question.building.owners.get(question.section, "")
    if own != keys.primary:
        return _problem_above(keys, question, own)
    if question.section != own:
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


def _problem_above(keys: KeyManager, question: Question, own: str) -> str:
    """Say why new values need the section below them; "" if they don't."""
    if not question.building.reaches(keys.primary, own):
        return ""
    builds = f"{keys.primary!r}, the primary section, which encrypts new values, builds on {own!r}"
    try:
        current = keys.current_key()
    except KeyhingeError:
        return f"{builds}, and it doesn't tell its current key now"
    need = question.need((keys.primary, current.key_id, current.version))
    if need is Need.UNCLEAR:
        return f"{builds}, and its values don't say when they need it"
    return "" if need is Need.NO else f"{builds}, and its new values need it"


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
