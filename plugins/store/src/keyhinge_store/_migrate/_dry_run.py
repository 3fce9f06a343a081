"""Everything but writing. It needs none of our own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from keyhinge_store._layout import Key, Row
from keyhinge_store._migrate._convert import Converter
from keyhinge_store._migrate._flow import Flow
from keyhinge_store._migrate._patience import Patience, patiently
from keyhinge_store._migrate._report import Tally
from keyhinge_store._migrate._work import TooManyFailuresError

if TYPE_CHECKING:
    from keyhinge_store._migrate._migration import Migration

__all__ = ["dry_run"]


@attrs.define
class _Batch:
    rows: list[Row]
    tally: Tally
    converter: Converter


def dry_run(migration: Migration) -> None:
    """Go once through the table: decrypt, encrypt, verify, count.

    Raises:
        KeysFailedError: The keys can't go on.
        TooManyFailuresError: Too many rows failed.
        SQLAlchemyError: The database can't go on.
    """
    tally = migration.tally

    def convert(batch: _Batch) -> None:
        batch.converter.convert(batch.rows)
        tally.add_calls(batch.tally)

    def passed(batch: _Batch) -> None:
        tally.add_written(batch.tally)
        tally.add_converted(batch.tally, len(batch.rows))
        migration.tell()
        if migration.max_errors is not None and tally.failed > migration.max_errors:
            raise TooManyFailuresError

    tally.start_sweep(1)
    after: Key | None = None
    with Flow(
        convert, passed, lambda _: None, converting=migration.converting, threaded=False
    ) as flow:
        while rows := _page(migration, after):
            flow.submit(_Batch(rows, *migration.batch_tools()))
            after = migration.plan.layout.key_of(rows[-1])
            if not migration.wait(migration.writer.pause):
                flow.stop()
                return
        flow.drain()


def _page(migration: Migration, after: Key | None) -> list[Row]:
    patience = Patience(migration.patience, migration.wait)
    return patiently(lambda: migration.reader.page(after), patience)
