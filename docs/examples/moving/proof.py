"""The proof: what the customers did, beside what stands in the table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from load import Journal, issue
from service import BankTokens, Key

from keyhinge import KeyManager
from keyhinge_store import open_tables, status


class LostError(Exception):
    """Something isn't in the table as it was written last."""


def prove(config: Path, seeded: list[Key], journals: list[Journal]) -> str:
    """Read every token, and compare it with what was done to it.

    Args:
        config: The configuration to read with.
        seeded: What was there before the customers came.
        journals: What each of them did.

    Returns:
        A sentence for each thing that was looked at.

    Raises:
        LostError: A token is missing, is there once too often, or isn't the last one.
    """
    expected = set(seeded).union(*(journal.added for journal in journals))
    expected -= {key for journal in journals for key in journal.removed}
    replaced: Counter[Key] = sum((journal.replaced for journal in journals), Counter())
    with KeyManager.open(config) as keys, open_tables(keys) as tables:
        tokens = BankTokens(tables)
        found = {key: tokens.read(key) for key in tokens.all_keys()}
        sections = {label.section: label.values for label in status(tables).labels}
        primary = keys.primary
    if found.keys() != expected:
        msg = f"{len(expected - found.keys())} missing, {len(found.keys() - expected)} too many"
        raise LostError(msg)
    wrong = [key for key, token in found.items() if token != issue(key, replaced[key])]
    if wrong:
        msg = f"{len(wrong)} tokens aren't what was written last, {wrong[0]} among them"
        raise LostError(msg)
    if sections != {primary: len(found)}:
        msg = f"not all are under {primary}: {sections}"
        raise LostError(msg)
    reads, writes = (sum(getattr(j, what) for j in journals) for what in ("reads", "writes"))
    return (
        f"no read of {reads:,} and no write of {writes:,} failed\n"
        f"no token of {len(found):,} is lost: each is what was written last\n"
        f"every row is under {primary}"
    )
