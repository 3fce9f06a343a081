"""Bringing data keys under the newest version of the wrapping key; values stay as they are.

Many values share a data key. What it is wrapped in anew is remembered for a short time, so that a
table's batches make one call for each data key, and their values still share it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keyhinge import (
    Decrypt,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    Sealed,
)
from keyhinge_local.envelope._cache import Keeping, KeyCache
from keyhinge_local.envelope._format import Wrapped
from keyhinge_local.envelope._opening import Opening
from keyhinge_local.envelope._wrapping import Wrapping

if TYPE_CHECKING:
    from keyhinge_local.envelope._data_key import OpenedKey

__all__ = ["Rewrapped", "Rewrapping"]

# A version that is newer still is found within this time, and at once by who asks for the
# current key.
REMEMBERED_SECONDS = 60.0


class Rewrapped:
    """A data key's new wrapping, proven to open.

    Args:
        wrapped: The data key as values are to carry it now.
        asked_at: When the key service was asked, in the clock's seconds.
    """

    __slots__ = ("asked_at", "seen_at", "soon_at", "wrapped")

    def __init__(self, wrapped: Wrapped, asked_at: float) -> None:
        self.wrapped = wrapped
        self.asked_at = self.seen_at = self.soon_at = asked_at


class Rewrapping:
    """Wraps data keys anew.

    Args:
        wrapping: Does it.
        opening: Opens values: what can't be opened isn't worth a new wrapping.
        opened: Where opened keys are kept: a new wrapping goes in once it is proven.
        keeping: How new wrappings are kept.
    """

    def __init__(
        self,
        wrapping: Wrapping,
        opening: Opening,
        opened: KeyCache[Wrapped, OpenedKey],
        keeping: Keeping,
    ) -> None:
        self._wrapping = wrapping
        self._opening = opening
        self._opened = opened
        shortly = keeping._replace(max_age=min(keeping.max_age, REMEMBERED_SECONDS))
        self.cache: KeyCache[Wrapped, Rewrapped] = KeyCache(self._rewrap, shortly)

    def rewrap_many(self, items: Sequence[Decrypt]) -> list[Sealed | OperationError]:
        """Give the values with their data keys wrapped anew, each wrapped once."""
        opened = self._opening.open_many(items)
        read = [
            failed
            if isinstance(failed, OperationError)
            else self._opening.read(item.value, item.context)
            for failed, item in zip(opened, items, strict=True)
        ]
        wanted = {each.lookup: each for each in read if isinstance(each, Wrapped)}
        again = self.cache.obtain(wanted)
        return [
            each if isinstance(each, OperationError) else _exchanged(item, each, again[each.lookup])
            for each, item in zip(read, items, strict=True)
        ]

    def _rewrap(self, wanted: Mapping[bytes, Wrapped]) -> dict[bytes, Rewrapped | OperationError]:
        now = self._wrapping.now()
        made = self._wrapping.rewrap(list(wanted.values()))
        new = {each.lookup: each for each in made if isinstance(each, Wrapped)}
        proofs = self._opened.obtain(new)
        return {
            lookup: _proven(each, proofs, now) for lookup, each in zip(wanted, made, strict=True)
        }


def _proven(
    made: Wrapped | OperationError,
    proofs: Mapping[bytes, OpenedKey | OperationError],
    now: float,
) -> Rewrapped | OperationError:
    if isinstance(made, OperationError):
        return made
    proof = proofs[made.lookup]
    if isinstance(proof, InvalidCiphertextError):
        # Not as it stands: the value was opened just now, and nothing is wrong with it.
        msg = (
            f"a data key, wrapped anew by the section {made.value.section!r}, doesn't open there "
            "again; its values stay as they are"
        )
        return KeyUnavailableError(msg)
    return proof if isinstance(proof, OperationError) else Rewrapped(made, now)


def _exchanged(
    item: Decrypt, old: Wrapped, new: Rewrapped | OperationError
) -> Sealed | OperationError:
    if isinstance(new, OperationError):
        return new
    wrapped, label = new.wrapped, new.wrapped.label
    rest = item.value.ciphertext[len(old.prefix) :]
    return Sealed(wrapped.prefix + rest, label.key_id, label.version)
