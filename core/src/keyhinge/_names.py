"""Names of sections and providers, and what to suggest when one is misspelt."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable

__all__ = ["RESERVED_NAMES", "SECTION_NAME", "closest", "is_section_name", "shown", "suggest"]

#: What a section and a provider may be called.
SECTION_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

#: What no section may be called: these are, or may become, keys of their own.
RESERVED_NAMES = frozenset({"provider", "options", "observers", "store", "config", "test"})

_SHOWN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
# difflib's time grows with the square of the length, and nobody misspells a name this long.
_LONGEST_WORD = 80
_MOST_CANDIDATES = 50


def is_section_name(name: str) -> bool:
    """Tell whether `name` may be a section's or provider's name (reserved names aside)."""
    return SECTION_NAME.fullmatch(name) is not None


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def closest(word: str, candidates: Iterable[str], *, cutoff: float = 0.72) -> str | None:
    """Find the candidate that `word` was probably meant to be.

    Args:
        word: What was written.
        candidates: What could have been meant.
        cutoff: How alike they must be, from 0 to 1.

    Returns:
        The candidate as it is spelt, or None if there is nothing near.
    """
    if len(word) > _LONGEST_WORD:
        return None
    spelt = {_plain(name): name for name in itertools.islice(candidates, _MOST_CANDIDATES)}
    found = difflib.get_close_matches(_plain(word), list(spelt), n=1, cutoff=cutoff)
    return spelt[found[0]] if found else None


def suggest(word: str, candidates: Iterable[str]) -> str:
    """Make the sentence that ends a message about an unknown name.

    Args:
        word: What was written. It doesn't appear in the sentence.
        candidates: What could have been meant.

    Returns:
        `" Did you mean 'x'?"`, or "" if nothing is near.
    """
    found = closest(word, candidates)
    return f" Did you mean '{found}'?" if found else ""


def shown(key: str) -> str:
    """Give a key as it may stand in a message.

    A forgotten space makes `{token:secret}` one long key, so whatever doesn't look like a
    name is not repeated.
    """
    return key if _SHOWN_KEY.fullmatch(key) else "?"
