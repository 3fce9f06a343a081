"""monetr's own table: prepared while monetr runs, and swapped at once."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.test_integration_monetr import (  # noqa: F401 - fixtures
    COUNT,
    MAPPING,
    VALUES,
    engine,
    open_keys,
    read_all,
    read_as,
    sections,
)

from keyhinge_store import (
    MappedColumn,
    MigrationError,
    abandon_staged,
    migrate_staged,
    runs,
    status,
    verify,
)


def test_the_whole_way(engine: sa.Engine, open_keys, read_as) -> None:
    """plaintext → vault → aws → plaintext; the table changes only by the swap."""
    column = MappedColumn(engine, open_keys("plaintext"), MAPPING)
    before = "plaintext"
    for target in ("vault", "aws", "plaintext"):
        # The configuration is monetr's own: its provider changes after the swap.
        keys = open_keys(before)
        report = migrate_staged(column, keys, target=target, allow_plaintext=True, batch_size=25)
        assert (report.state, report.ready, report.made, report.complete) == (
            "prepared", COUNT, COUNT, True,
        )  # fmt: skip
        assert read_all(engine, read_as(before)) == VALUES

        report = migrate_staged(column, keys, swap=True, allow_plaintext=True)
        assert (report.state, report.swapped, report.made, report.complete) == (
            "swapped", COUNT, 0, True,
        )  # fmt: skip
        assert read_all(engine, read_as(target)) == VALUES
        assert report.dropped == COUNT
        before = target
