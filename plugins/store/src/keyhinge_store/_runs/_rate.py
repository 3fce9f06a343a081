"""A limit on speed that holds for all processes together: a bucket of tokens in the database."""

from __future__ import annotations

import sqlalchemy as sa

from keyhinge_store._runs._tables import RUN
from keyhinge_store._runs._transact import clock, transaction

__all__ = ["take"]

_FULL = 1.0
"""How many seconds' worth of rows may be taken at once after a pause."""


def take(engine: sa.Engine, run_id: int, rows: int) -> float:
    """Take as many tokens as there are rows. The bucket may owe some afterwards.

    Args:
        engine: Where the tables are.
        run_id: The run.
        rows: How many rows are going to be moved.

    Returns:
        For how many seconds to take nothing more.
    """
    filled = RUN.c.tokens + (clock(engine) - RUN.c.tokens_at) * RUN.c.rate
    # The smaller of the two; the function for that has another name in each system.
    level = sa.case((filled > RUN.c.rate * _FULL, RUN.c.rate * _FULL), else_=filled)
    with transaction(engine) as connection:
        row = connection.execute(
            RUN.update()
            .where(RUN.c.run_id == run_id, RUN.c.rate.is_not(None))
            .values(tokens=level - rows, tokens_at=clock(engine))
            .returning(RUN.c.tokens, RUN.c.rate)
        ).one_or_none()
    if row is None:
        return 0.0
    return max(0.0, -float(row.tokens) / float(row.rate))
