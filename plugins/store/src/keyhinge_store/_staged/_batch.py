"""A page of rows, and what became of those for which new values had to be made."""

from __future__ import annotations

import attrs

from keyhinge_store._layout import Key, Layout, Row
from keyhinge_store._migrate._convert import Change, Converter
from keyhinge_store._migrate._report import Tally
from keyhinge_store._staged._shelf import Shelf, Staged

__all__ = ["Batch"]


@attrs.define
class Batch:
    """The rows of a page that have no new value yet.

    Attributes:
        looked: How many rows the page has.
        fitting: How many of them have one already.
        rows: The others.
        tally: What became of them.
        converter: Converts them.
        changes: What it made of them.
    """

    looked: int
    fitting: int
    rows: list[Row]
    tally: Tally
    converter: Converter
    changes: list[Change] = attrs.field(factory=list)

    def outcome(self, layout: Layout, shelf: Shelf) -> tuple[dict[Key, Staged], dict[Key, str]]:
        """Give what is to be put on the shelf, and the digests of the rows that failed."""
        wrong = [failure.key for failure in self.tally.failures]
        changes = {layout.key_of(change.row): change for change in self.changes}
        staged: dict[Key, Staged] = {}
        failed: dict[Key, str] = {}
        for row in self.rows:
            key = layout.key_of(row)
            if key in changes:
                value = changes[key].value
                labels = (value.section, value.key_id, value.version)
                staged[key] = Staged(shelf.of_row(row), changes[key].cells, *labels)
            elif wrong and layout.shown_key(row) in wrong:
                failed[key] = shelf.of_row(row)
            else:  # it was at the target already, which its columns didn't say
                staged[key] = Staged(shelf.of_row(row), None)
        return staged, failed
