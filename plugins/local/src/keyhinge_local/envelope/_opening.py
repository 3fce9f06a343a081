"""The data keys that decrypt, found by the values that carry them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from keyhinge import (
    Context,
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyRef,
    OperationError,
)
from keyhinge_local.envelope._cache import KeyCache
from keyhinge_local.envelope._counters import Counters
from keyhinge_local.envelope._format import SMALLEST, Wrapped, parse_wrapped, prefix_end
from keyhinge_local.envelope._partition import Partitioning

if TYPE_CHECKING:
    from keyhinge_local.envelope._data_key import OpenedKey

__all__ = ["Opening"]


class Opening:
    """Gives the data key that a value carries, from memory or from the key service.

    Args:
        cache: Keeps opened keys.
        partitioning: Finds the entries of a context that a value names.
        clock: Monotonic seconds.
        counters: Counts hits and misses.
    """

    def __init__(
        self,
        cache: KeyCache[Wrapped, OpenedKey],
        partitioning: Partitioning,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        self.cache = cache
        self._keys = cache.entries
        self._clock = clock
        self._hit = counters.hits.tick
        self._partitioning = partitioning
        self._counters = counters

    def at_hand(self, ciphertext: bytes, context: Context, now: float) -> OpenedKey | None:
        """Give a key that needs no look at anything but the clock; the hot path.

        The caller counts it as a hit.
        """
        if len(ciphertext) < SMALLEST:
            return None
        # Two bytes at 35 are the wrapped key's length: `prefix_end`, at half its price.
        lookup = ciphertext[: 37 + (ciphertext[35] << 8 | ciphertext[36])]
        if ciphertext[1] or ciphertext[2]:
            lookup += self._partitioning.named(ciphertext[1:3], context).encoded
        key = self._keys.get(lookup)
        if key is None or now >= key.soon_at:
            return None
        key.seen_at = now
        return key

    def read(self, value: EncryptedValue, context: Context) -> Wrapped:
        """Read the data key in a value, whose outer labels must be those that it says itself.

        Raises:
            InvalidCiphertextError: It isn't what this provider makes, or not with such a context.
        """
        find = partial(self._partitioning.named, context=context)
        ciphertext = value.ciphertext
        wrapped = parse_wrapped(ciphertext, prefix_end(ciphertext), find)
        if wrapped.label != KeyRef(value.key_id, value.version):
            raise InvalidCiphertextError
        return wrapped

    def key_for(self, value: EncryptedValue, context: Context) -> OpenedKey:
        """Give the key of one value.

        Raises:
            OperationError: There is none, or the key service doesn't open it.
        """
        outcome = self.keys_for([Decrypt(value, context)])[0]
        if isinstance(outcome, OperationError):
            raise outcome
        return outcome

    def keys_for(self, items: Sequence[Decrypt]) -> list[OpenedKey | OperationError]:
        """Give the key of each value, or why there is none; one call for all that are missing."""
        read = [self._read(item) for item in items]
        found: dict[bytes, OpenedKey | OperationError] = {}
        missing: dict[bytes, Wrapped] = {}
        for wrapped in read:
            if isinstance(wrapped, OperationError):
                continue
            if wrapped.lookup in found or wrapped.lookup in missing:
                self._hit()
                continue
            key = self.cache.fresh(wrapped.lookup)
            if key is None:
                missing[wrapped.lookup] = wrapped
                self._counters.misses.tick()
                continue
            self._hit()
            found[wrapped.lookup] = key
            if self.cache.is_due(key):
                self.cache.renew(wrapped.lookup, wrapped)
        if missing:
            found |= self.cache.obtain(missing)
        return [each if isinstance(each, OperationError) else found[each.lookup] for each in read]

    def open_many(self, items: Sequence[Decrypt]) -> list[bytes | OperationError]:
        """Decrypt a batch; all the data keys that aren't at hand are unwrapped together."""
        now = self._clock()
        key: OpenedKey | None = None
        results: list[bytes | OperationError | None] = []
        for item in items:
            ciphertext = item.value.ciphertext
            try:
                # The values of a batch mostly have their data key in common.
                if key is None or key.partitioned or not ciphertext.startswith(key.prefix):
                    key = self.at_hand(ciphertext, item.context, now)
                results.append(None if key is None else key.open(item.value, item.context))
            except OperationError as failure:
                results.append(failure.with_traceback(None))
        waiting = [item for item, result in zip(items, results, strict=True) if result is None]
        self._counters.hits.add(len(items) - len(waiting))
        opened = iter(self._open_waiting(waiting))
        return [next(opened) if result is None else result for result in results]

    def _open_waiting(self, items: Sequence[Decrypt]) -> list[bytes | OperationError]:
        results: list[bytes | OperationError] = []
        for item, key in zip(items, self.keys_for(items), strict=True):
            try:
                if isinstance(key, OperationError):
                    raise key
                results.append(key.open(item.value, item.context))
            except OperationError as failure:
                results.append(failure.with_traceback(None))
        return results

    def _read(self, item: Decrypt) -> Wrapped | OperationError:
        try:
            return self.read(item.value, item.context)
        except OperationError as failure:
            return failure.with_traceback(None)
