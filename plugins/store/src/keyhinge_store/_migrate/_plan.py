"""What a migration is about to do, settled before it begins."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Literal

import attrs
import sqlalchemy as sa

from keyhinge import ConfigError, KeyManager, KeyRef, ProviderError, SectionNotConfiguredError
from keyhinge_store._codec import PLAIN
from keyhinge_store._encodings import TextCodec
from keyhinge_store._errors import MigrationError
from keyhinge_store._layout import Layout

__all__ = [
    "NEW_DATA_KEYS",
    "Operation",
    "Plan",
    "count_matching",
    "count_sections",
    "plan_migration",
    "plan_new_data_keys",
    "plan_rewrap",
]

Operation = Literal["migrate", "rewrap", "new-data-keys"]
NEW_DATA_KEYS: Operation = "new-data-keys"

_ADOPTED = "plaintext"
"""What a mapping calls the cells that it adopts, also where no section has that name."""


@attrs.frozen
class Plan:
    """A direction, and the condition that finds the rows that still have to go.

    Attributes:
        operation: "migrate", "rewrap" or "new-data-keys".
        layout: The table.
        source: The labels to move from; empty for everything but the target.
        target: The section to move to.
        target_key: For a rewrap, the key and version to bring values to.
        condition: Is true for a row that has to be moved. With new data keys, for every row of
            the section: which data key a value is under, SQL can't tell.
        rows: Rows in the table.
        already: Rows at the target section; for a rewrap, stale ones among them.
        targets: The labels of values that are at the target section: its name and its aliases.
    """

    operation: Operation
    layout: Layout
    source: tuple[str, ...]
    target: str
    target_key: KeyRef | None
    condition: sa.ColumnElement[bool]
    rows: int
    already: int
    targets: tuple[str, ...]


def plan_migration(
    layout: Layout,
    keys: KeyManager,
    labels: dict[str, int],
    *,
    source: Sequence[str] | None,
    target: str | None,
    not_primary: bool,
    allow_plaintext: bool,
) -> Plan:
    """Settle a migration from sections to a section.

    Args:
        layout: The table.
        keys: The configured sections.
        labels: What `count_sections` gave.
        source: Sections, or labels that rows have; None for everything but the target.
        target: The section to move to; None for the primary.
        not_primary: Let the target be another section than the primary.
        allow_plaintext: Let the target be a section that doesn't encrypt.

    Raises:
        MigrationError: One of these doesn't fit.
        ConfigError: The target isn't configured, or can't be used.
        TypeError: The sources are one str, whose letters would be taken for names.
    """
    target = keys.primary if target is None else target
    capabilities = keys.capabilities(target)
    if target != keys.primary and not not_primary:
        msg = (
            f"the target {target!r} isn't the primary section ({keys.primary!r}), so applications "
            "would go on writing values elsewhere. Switch `keyManagement.provider` first, or say "
            "not_primary (--not-primary)"
        )
        raise MigrationError(msg)
    if not capabilities.encrypts and not allow_plaintext:
        msg = (
            f"the section {target!r} doesn't encrypt: every secret would stand open in the "
            "database, its backups and its logs. If that is what you want, say allow_plaintext "
            "(--allow-plaintext)"
        )
        raise MigrationError(msg)
    targets = section_labels(keys, target)
    sources: tuple[str, ...] = ()
    if isinstance(source, str):
        msg = "source must be a list of section names, not a str"
        raise TypeError(msg)
    if source is not None:
        sources = _source_labels(layout, keys, labels, source, target)
    # Where rows don't name their section, the source is tried first and the target last.
    order = [*map(keys.section_of, filter(partial(_is_known, keys), sources))]
    layout = layout.for_keys(keys, [*order, *(name for name in keys.sections if name != target)])
    codec, table = layout.codec, layout.table
    problem = codec.problem_with(target)
    if problem:
        raise MigrationError(problem)
    if source is None:
        condition = sa.not_(codec.surely_at(table, targets))
    else:
        # A name that only another table's rows have; here it would be whatever isn't ours.
        own = [label for label in sources if label != PLAIN or _adopts(layout)]
        condition = codec.under(table, own)
    rows = sum(labels.values())
    already = sum(labels.get(label, 0) for label in targets)
    return Plan("migrate", layout, sources, target, None, condition, rows, already, targets)


def plan_rewrap(
    layout: Layout, labels: dict[str, int], keys: KeyManager, section: str, current: KeyRef
) -> Plan:
    """Settle a rewrap of one section's values to a key and version.

    Raises:
        ConfigError: The section isn't configured, or can't be used.
        MigrationError: Its keys have no versions.
    """
    if not keys.capabilities(section).key_versions:
        msg = f"the keys of the section {section!r} have no versions: there is nothing to rewrap"
        raise MigrationError(msg)
    layout = layout.for_keys(keys, [section])
    codec, table = layout.codec, layout.table
    sources = section_labels(keys, section)
    condition = sa.and_(codec.under(table, sources), sa.not_(codec.is_key(table, sources, current)))
    rows = sum(labels.values())
    # All of the section's rows; those that have to be moved are taken off when they are counted.
    own = sum(labels.get(label, 0) for label in sources)
    return Plan("rewrap", layout, sources, section, current, condition, rows, own, sources)


def plan_new_data_keys(
    layout: Layout, labels: dict[str, int], keys: KeyManager, section: str
) -> Plan:
    """Settle that all of a section's values are encrypted under new data keys.

    Raises:
        ConfigError: The section isn't configured, or can't be used.
        MigrationError: It has no data keys.
    """
    if not keys.has_data_keys(section):
        with_some = [name for name in keys.sections if _has_data_keys(keys, name)]
        others = f" These do: {', '.join(with_some)}" if with_some else ""
        msg = (
            f"the section {section!r} makes no data keys, so there are none to replace: to have "
            f"its values under another key, rotate its key and rewrap, or migrate.{others}"
        )
        raise MigrationError(msg)
    layout = layout.for_keys(keys, [section])
    sources = section_labels(keys, section)
    condition = layout.codec.under(layout.table, sources)
    rows = sum(labels.values())
    own = sum(labels.get(label, 0) for label in sources)
    return Plan(NEW_DATA_KEYS, layout, sources, section, None, condition, rows, own, sources)


def count_sections(connection: sa.Connection, layout: Layout) -> dict[str, int]:
    """Count the rows by the section that they are under."""
    codec = layout.codec
    groups = codec.groups(layout.table)
    if codec.encoding == "own":
        groups = groups[:1]
    wanted = sa.select(*groups, sa.func.count()).where(*layout.present).group_by(*groups)
    counted: Counter[str] = Counter()
    for *group, count in connection.execute(wanted):
        section = group[0] if codec.encoding == "own" else codec.labels_of(group)[0]
        counted[str(section)] += int(count)
    return dict(counted)


def count_matching(connection: sa.Connection, plan: Plan) -> int:
    """Count the rows that have to be moved, as of now."""
    table, present = plan.layout.table, plan.layout.present
    wanted = sa.select(sa.func.count()).select_from(table).where(*present, plan.condition)
    return int(connection.execute(wanted).scalar_one())


def section_labels(keys: KeyManager, section: str) -> tuple[str, ...]:
    """Give every label that a section's values may have: its name and its aliases."""
    return (section, *keys.configuration.sections[section].aliases)


def _source_labels(
    layout: Layout,
    keys: KeyManager,
    labels: dict[str, int],
    source: Sequence[str],
    target: str,
) -> tuple[str, ...]:
    found: list[str] = []
    for name in source:
        if name in keys.sections:
            found += section_labels(keys, name)
        elif (name and name in labels) or _is_known(keys, name):
            found.append(name)
        elif name == _ADOPTED and (_adopts(layout) or PLAIN in labels):
            found.append(PLAIN)
        else:
            known = sorted({*keys.sections, *labels})
            msg = (
                f"there is no section {name!r} in the configuration, and no row names it."
                f"{_suggestion(name, known)} There are: {', '.join(known)}"
            )
            raise MigrationError(msg)
        if _adopts(layout) and _is_plain(keys, name):
            found.append(PLAIN)
    if not found:
        msg = "no section to move from was named; leave it out to move everything"
        raise MigrationError(msg)
    if set(found) & set(section_labels(keys, target)):
        msg = f"the section {target!r} can't be moved from and to at once; see rewrap"
        raise MigrationError(msg)
    return tuple(dict.fromkeys(found))


def _has_data_keys(keys: KeyManager, name: str) -> bool:
    try:
        return keys.has_data_keys(name)
    except (ConfigError, ProviderError):  # it can't be used
        return False


def _adopts(layout: Layout) -> bool:
    return isinstance(layout.codec, TextCodec) and layout.codec.adopt


def _is_plain(keys: KeyManager, name: str) -> bool:
    """Tell whether a name means a section that doesn't encrypt: what is adopted goes with it.

    Its values stand open in the table like those that are adopted, and whoever asks for
    plaintexts means both.
    """
    try:
        return not keys.capabilities(keys.section_of(name)).encrypts
    except (ConfigError, SectionNotConfiguredError):  # then nothing says that it is one
        return False


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f" Did you mean '{near[0]}'?" if near else ""


def _is_known(keys: KeyManager, name: str) -> bool:
    try:
        keys.section_of(name)
    except SectionNotConfiguredError:
        return False
    return True
