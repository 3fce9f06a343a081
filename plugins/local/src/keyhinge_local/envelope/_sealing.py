"""The data keys that encrypt: one for each partition, until its messages or its age are used up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import urandom
from typing import TYPE_CHECKING

from keyhinge import Context, Encrypt, OperationError, Sealed
from keyhinge_local.envelope._cache import Keeping, KeyCache
from keyhinge_local.envelope._counters import Counters
from keyhinge_local.envelope._format import NONCE_SIZE, Wrapped
from keyhinge_local.envelope._partition import Partition, Partitioning
from keyhinge_local.envelope._wrapping import Wrapping

if TYPE_CHECKING:
    from keyhinge_local.envelope._data_key import DataKey, OpenedKey

__all__ = ["Sealing"]


class Sealing:
    """Gives a data key for each partition.

    Args:
        wrapping: Makes data keys.
        opened: Where data keys that decrypt are kept: one that was just made can be opened, too.
        partitioning: Says which values share a data key.
        keeping: How they are kept.
        counters: Counts what had to wait.
        max_messages: How many values are encrypted under a data key.

    Attributes:
        cache: The data keys by their partitions' encodings.
    """

    def __init__(
        self,
        wrapping: Wrapping,
        opened: KeyCache[Wrapped, OpenedKey],
        partitioning: Partitioning,
        *,
        keeping: Keeping,
        counters: Counters,
        max_messages: int,
    ) -> None:
        self._wrapping = wrapping
        self._opened = opened
        self._partitioning = partitioning
        self._counters = counters
        self._most = max_messages
        # Early enough to have the next one ready, late enough not to waste many.
        self._soon = max_messages - max_messages // 10
        self.cache: KeyCache[Partition, DataKey] = KeyCache(self._make, keeping)
        self._keys = self.cache.entries
        self._clock = keeping.clock
        self._max_age = keeping.max_age
        self._hit = counters.hits.tick

    def at_hand(self, partition: Partition) -> DataKey | None:
        """Give a data key that needs no look at anything but the clock; the hot path."""
        key = self._keys.get(partition.encoded)
        if key is None or key.count() >= key.soon_count or (now := self._clock()) >= key.soon_at:
            return None
        key.seen_at = now
        self._hit()
        return key

    def key_for(self, partition: Partition) -> DataKey:
        """Give a data key that one more value may be encrypted with; the value is counted.

        Raises:
            OperationError: A new one is needed, and can't be had.
        """
        outcome = self.keys_for([partition])[partition.encoded]
        if isinstance(outcome, OperationError):
            raise outcome
        return outcome

    def keys_for(self, partitions: Iterable[Partition]) -> dict[bytes, DataKey | OperationError]:
        """Give a data key or an error for each partition, each counting one value."""
        found: dict[bytes, DataKey | OperationError] = {}
        wanted = {partition.encoded: partition for partition in partitions}
        while missing := {name: wanted[name] for name in wanted if name not in found}:
            for name, partition in list(missing.items()):
                key = self.cache.fresh(name)
                if key is not None and self._takes(key, partition):
                    self._hit()
                    found[name] = key
                    del missing[name]
            if missing:
                self._counters.misses.add(len(missing))
                outcomes = self.cache.obtain(missing)
                # A key that others have used up meanwhile: another round.
                found |= {
                    name: outcome
                    for name, outcome in outcomes.items()
                    if isinstance(outcome, OperationError) or self._takes(outcome, missing[name])
                }
        return found

    def seal_many(self, items: Sequence[Encrypt]) -> list[Sealed | OperationError]:
        """Encrypt a batch; all the data keys that it lacks are made together."""
        partitions = [self._partition(item.context) for item in items]
        # A batch takes a moment, unless the key service is asked in between: then ages count again.
        oldest = self._clock() - self._max_age
        keys = self._keys_of(partitions)
        # One call for all nonces: it takes half the time that encrypting a small value does.
        nonces = urandom(NONCE_SIZE * len(items))
        results: list[Sealed | OperationError] = []
        # Whoever gave a key has counted one value under it, and as a hit or a miss.
        counted = set(keys)
        hits = 0
        for item, partition, at in zip(
            items, partitions, range(0, len(nonces), NONCE_SIZE), strict=True
        ):
            if isinstance(partition, OperationError):
                results.append(partition)
                continue
            name = partition.encoded
            key = keys[name]
            if isinstance(key, OperationError):
                results.append(key)
                continue
            if key.asked_at <= oldest or (name not in counted and key.count() >= key.soon_count):
                counted.discard(name)
                key = keys[name] = self.keys_for([partition])[name]
                oldest = self._clock() - self._max_age
                if isinstance(key, OperationError):
                    results.append(key)
                    continue
            elif name in counted:
                counted.remove(name)
            else:
                hits += 1
            nonce = nonces[at : at + NONCE_SIZE]
            results.append(key.seal(item.plaintext, item.context, partition.bitmap, nonce))
        self._counters.hits.add(hits)
        return results

    def _keys_of(
        self, partitions: Sequence[Partition | OperationError]
    ) -> dict[bytes, DataKey | OperationError]:
        wanted = {each.encoded: each for each in partitions if isinstance(each, Partition)}
        keys: dict[bytes, DataKey | OperationError] = {
            name: key for name, each in wanted.items() if (key := self.at_hand(each)) is not None
        }
        return keys | self.keys_for(each for name, each in wanted.items() if name not in keys)

    def _partition(self, context: Context) -> Partition | OperationError:
        try:
            return self._partitioning.of(context)
        except OperationError as failure:
            return failure.with_traceback(None)

    def _takes(self, key: DataKey, partition: Partition) -> bool:
        """Count one value, if the key takes another one; have the next key made in time."""
        count = key.count()
        if count >= self._most:
            self.cache.drop(partition.encoded, key)
            return False
        if count >= key.soon_count:
            key.soon_count = self._most  # once: the hard limit does the rest
            self.cache.renew(partition.encoded, partition)
        elif self.cache.is_due(key):
            self.cache.renew(partition.encoded, partition)
        return True

    def _make(
        self, partitions: Mapping[bytes, Partition]
    ) -> Mapping[bytes, DataKey | OperationError]:
        made = self._wrapping.make(partitions)
        for key in made.values():
            if not isinstance(key, OperationError):
                key.soon_count = self._soon
                self._opened.put({key.lookup: key.opened})
        return made
