"""Rows that matter to the question. Each look ends with the first row that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from keyhinge import EncryptedValue, InvalidCiphertextError, KeyManager
from keyhinge_store._codec import PLAIN, UNREADABLE, Labels
from keyhinge_store._encodings import MonetrCodec, TextCodec
from keyhinge_store._layout import Layout
from keyhinge_store._retire._building import Need
from keyhinge_store._retire._fence import Fence
from keyhinge_store._retire._question import Question

__all__ = ["above", "adopting", "all_labels", "any_row", "any_unreadable", "told_apart"]

# More different keys and versions than this can't be meant: something is wrong with the rows.
_MAX_LABELS = 10_000


def any_row(connection: sa.Connection, layout: Layout, condition: sa.ColumnElement[bool]) -> bool:
    """Tell whether there is a row for which a condition holds, whatever `where` says."""
    first = sa.select(sa.literal(1)).select_from(layout.table).where(condition).limit(1)
    return connection.execute(first).first() is not None


def all_labels(connection: sa.Connection, layout: Layout) -> list[Labels]:
    """Give all different labels of a column's values, whatever `where` says; but not too many."""
    table, codec = layout.table, layout.codec
    there = table.c[layout.value].is_not(None)
    groups = sa.select(*codec.groups(table)).where(there).distinct().limit(_MAX_LABELS)
    return [codec.labels_of(tuple(group)) for group in connection.execute(groups)]


def any_unreadable(connection: sa.Connection, layout: Layout, labels: Sequence[Labels]) -> bool:
    """Tell whether there is a value that doesn't say by which section, key and version it is.

    Args:
        connection: Where the table is.
        layout: The table and column.
        labels: What `all_labels` gave.
    """
    there = layout.table.c[layout.value].is_not(None)
    if any_row(connection, layout, sa.and_(there, layout.codec.contradicts(layout.table))):
        return True
    return len(labels) == _MAX_LABELS or not all(_is_readable(layout, each) for each in labels)


def above(layout: Layout, question: Question, labels: Sequence[Labels], need: Need) -> list[str]:
    """Name the sections in values that build on what a question is about, and need it.

    Args:
        layout: The table and column.
        question: What is asked.
        labels: What `all_labels` gave.
        need: Those that need it, or those of which that isn't clear.
    """
    if isinstance(layout.codec, MonetrCodec):
        return []  # it has no such values, and its labels may be several sections'
    found = (label for label in labels if _is_readable(layout, label) and label[0] != PLAIN)
    return sorted({label[0] for label in found if question.need(label) is need})


def _is_readable(layout: Layout, labels: Sequence[Any]) -> bool:
    section, key_id, version = labels
    if section in (PLAIN, UNREADABLE) or isinstance(layout.codec, MonetrCodec):
        return bool(section != UNREADABLE)
    try:
        EncryptedValue(section, key_id, version, b"\0")
    except InvalidCiphertextError:
        return False
    return True


def told_apart(layout: Layout, question: Question, fences: Sequence[Fence]) -> tuple[Layout, str]:
    """Find out what a section's values look like where rows name no section.

    Args:
        layout: The table, for the configuration.
        question: What is asked.
        fences: Those on the table; they remember the shape of a section that isn't configured.

    Returns:
        The layout that knows the section, and why nobody can know it; "" if it is known.
    """
    codec = layout.codec
    if not isinstance(codec, MonetrCodec) or question.configured:
        return layout, ""
    for fence in fences:
        if question.section in fence.memory.labels and fence.memory.shape:
            sections = (*codec.sections, (question.section, fence.memory.shape))
            return attrs.evolve(layout, codec=attrs.evolve(codec, sections=sections)), ""
    reason = (
        f"its rows name no section, and without {question.section!r} in the configuration nobody "
        "knows what its values look like"
    )
    return layout, reason


def adopting(layout: Layout, keys: KeyManager, question: Question) -> str:
    """Say that plaintexts may stand in a column, where the question is about what doesn't encrypt.

    They name no section, so neither a look nor a fence finds out whose they are. "" if there may
    be none.
    """
    codec = layout.codec
    if not isinstance(codec, TextCodec) or not codec.adopt or not question.configured:
        return ""
    if keys.capabilities(keys.section_of(question.section)).encrypts:
        return ""
    return "the column is being adopted, so plaintexts may stand in it: finish that first"
