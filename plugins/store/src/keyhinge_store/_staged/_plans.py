"""What is prepared, and for which section, settled before anything is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import sqlalchemy as sa

from keyhinge import KeyManager
from keyhinge_store._errors import MigrationError
from keyhinge_store._layout import Layout
from keyhinge_store._migrate._patience import at_the_start
from keyhinge_store._migrate._plan import Plan, count_sections, plan_migration
from keyhinge_store._runs._tables import has_state_table
from keyhinge_store._staged._staging import Staging, read_staging
from keyhinge_store._staged._tables import STAGING
from keyhinge_store._stored import Column

__all__ = ["choose_target", "make_plans", "staging_of"]


def staging_of(column: Column) -> Staging | None:
    """Read which preparation of a column is under way."""

    def read(connection: sa.Connection) -> Staging | None:
        if not has_state_table(connection, STAGING):
            return None
        return read_staging(connection, column.layout.name)

    _ = column.layout
    return column.run(read)


def choose_target(
    target: str | None,
    keys: KeyManager,
    columns: Sequence[Column],
    under_way: Sequence[Staging | None],
    *,
    swapping: bool,
    plain: bool,
) -> str:
    if swapping:
        for column, staging in zip(columns, under_way, strict=True):
            if staging is None:
                msg = (
                    f"nothing is prepared for {column.layout.name}, so nothing can be swapped in; "
                    "prepare it first (`keyhinge migrate --staged --to SECTION`). If it was "
                    "swapped in already, `keyhinge runs` has it"
                )
                raise MigrationError(msg)
    targets = dict.fromkeys(staging.target for staging in under_way if staging is not None)
    if target is None and not targets and not keys.capabilities().encrypts and not plain:
        msg = f"name the section to move to (--to): the primary, {keys.primary!r}, doesn't encrypt"
        raise MigrationError(msg)
    if target is None:
        target = next(iter(targets), keys.primary)
    for other in targets:
        if other != target:
            msg = (
                f"new values are prepared for {other!r}, not for {target!r}. Swap them in "
                "(--swap), or drop them first (--abandon)"
            )
            raise MigrationError(msg)
    return target


def make_plans(
    columns: Sequence[Column],
    keys: KeyManager,
    target: str,
    patience: float,
    *,
    allow_plaintext: bool,
) -> list[Plan]:
    counted = [at_the_start(partial(_count, column), patience) for column in columns]
    everywhere = dict(sum(map(Counter, counted), Counter[str]()))
    return [
        plan_migration(
            column.layout,
            keys,
            {**dict.fromkeys(everywhere, 0), **labels},
            source=None,
            target=target,
            # The application goes on with the other provider until the swap.
            not_primary=True,
            allow_plaintext=allow_plaintext,
        )
        for column, labels in zip(columns, counted, strict=True)
    ]


def _count(column: Column) -> dict[str, int]:
    layout: Layout = column.layout
    return column.run(partial(count_sections, layout=layout))
