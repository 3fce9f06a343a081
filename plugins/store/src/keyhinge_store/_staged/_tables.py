"""The side table: new values that wait to be swapped in, and what they are prepared for."""

from __future__ import annotations

import sqlalchemy as sa

from keyhinge_store._runs._tables import METADATA
from keyhinge_store._table import UtcDateTime

__all__ = ["STAGED", "STAGING"]

STAGING = sa.Table(
    "keyhinge_staging",
    METADATA,
    sa.Column("subject", sa.Text(), primary_key=True),
    # Tells one preparation from the next of the same column.
    sa.Column("staging_id", sa.Text(), nullable=False),
    sa.Column("table_name", sa.Text(), nullable=False),
    sa.Column("target", sa.Text(), nullable=False),
    # The secret of our digests, encrypted by the target section.
    sa.Column("seal", sa.Text(), nullable=False),
    sa.Column("started_at", UtcDateTime(), nullable=False),
    sa.Column("started_by", sa.Text(), nullable=False),
)

STAGED = sa.Table(
    "keyhinge_staged",
    METADATA,
    sa.Column("subject", sa.Text(), primary_key=True),
    sa.Column("key_digest", sa.Text(), primary_key=True),  # the key may be too long for an index
    sa.Column("key", sa.Text(), nullable=False),  # JSON
    sa.Column("staging_id", sa.Text(), nullable=False),
    # Of the row that the new value was made from. Without the seal's secret it says nothing.
    sa.Column("source_digest", sa.Text(), nullable=False),
    # JSON; NULL where the row's value is at the target already, which only a trial has shown.
    sa.Column("cells", sa.Text()),
    sa.Column("section", sa.Text(), nullable=False),
    sa.Column("key_id", sa.Text(), nullable=False),
    sa.Column("version", sa.Text(), nullable=False),
    # Of everything above: what somebody else has put here is never swapped in.
    sa.Column("proof", sa.Text(), nullable=False),
    sa.Column("staged_at", UtcDateTime(), nullable=False),
)
