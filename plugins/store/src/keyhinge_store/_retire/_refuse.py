"""What a migration asks before it begins: is the section that it goes to fenced off?"""

from __future__ import annotations

import sqlalchemy as sa

from keyhinge import KeyRef
from keyhinge_store._errors import FencedError
from keyhinge_store._layout import Layout
from keyhinge_store._retire._catalogue import is_for, list_fences, on_table
from keyhinge_store._retire._fence import Memory, shape_in

__all__ = ["refuse_fenced"]


def refuse_fenced(
    connection: sa.Connection,
    layout: Layout,
    section: str,
    key: KeyRef | None = None,
    below: str | None = None,
) -> None:
    """Refuse to bring values to a section that is fenced off, before the first is brought.

    Args:
        connection: Where the table is.
        layout: The table, for the configuration.
        section: The section to bring them to.
        key: The key and version, if they are known. Without, only a fence for the whole section
            stands in the way.
        below: The section that the one to bring them to encrypts with, if it builds on others.

    Raises:
        FencedError: There is such a fence.
    """
    for fence in on_table(connection, layout, list_fences(connection)):
        if is_for(fence, layout) and _is_refused(fence.memory, layout, section, key, below):
            raise FencedError.at(fence.section, fence.table)


def _is_refused(
    memory: Memory, layout: Layout, section: str, key: KeyRef | None, below: str | None
) -> bool:
    key_id, version = (None, None) if key is None else (key.key_id, key.version)
    if memory.version not in (None, version):
        return False
    shape = shape_in(layout, section)
    if memory.shape == shape if memory.shape else section in memory.labels:
        return memory.key_id in (None, key_id)
    # A section that builds on what is fenced off: its key id names the key below.
    ways = [way for label, way in memory.ways if label == section]
    if key_id is None:
        return memory.key_id is None and f"{below}/" in ways
    keys = [key_id[len(way) :] for way in ways if key_id.startswith(way)]
    return any(memory.key_id in (None, each) for each in keys)
