"""Which entries of a context have data keys of their own, and how a value says so."""

from __future__ import annotations

from collections.abc import Sequence

from keyhinge import Context, InvalidCiphertextError, InvalidContextError, encode_context

__all__ = ["UNPARTITIONED", "Partition", "Partitioning"]

_PURPOSE = {"keyhinge": "envelope/1"}
# Contexts seen lately; one more starts over, which costs each a little once.
_REMEMBERED = 4096
_NO_BITS = b"\0\0"


class Partition:
    """Some entries of a context.

    Args:
        bitmap: Two bytes that name them: bit i, least significant first, is the i-th entry of the
            context in canonical order.
        entries: The entries.

    Attributes:
        keys: Their keys.
        context: The context that data keys of this partition are wrapped under.
        encoded: Its encoding.
    """

    __slots__ = ("bitmap", "context", "encoded", "keys")

    def __init__(self, bitmap: bytes, entries: Context) -> None:
        self.bitmap = bitmap
        self.keys = tuple(entries)
        self.context = {**_PURPOSE, **entries}
        self.encoded = encode_context(self.context)

    @classmethod
    def of_bitmap(cls, bitmap: bytes, context: Context) -> Partition:
        """Find the entries that a value names in the context that it is to be opened under.

        Raises:
            InvalidCiphertextError: The context has no such entries: it is another one, or the
                value was changed.
        """
        bits = int.from_bytes(bitmap, "big")
        if bits >> len(context):
            raise InvalidCiphertextError
        entries = {k: context[k] for i, k in enumerate(_in_order(context)) if bits >> i & 1}
        # An entry of the library's own would stand in the purpose's place: `NO_CONTEXT` has one.
        if any(key.lower().startswith("keyhinge") for key in entries):
            raise InvalidCiphertextError
        try:
            return cls(bitmap, entries)
        except InvalidContextError:
            pass  # so large that nothing was ever wrapped under it
        raise InvalidCiphertextError


UNPARTITIONED = Partition(_NO_BITS, {})
"""No entries: one data key for all values."""


class Partitioning:
    """The entries by which a section keeps values apart.

    Args:
        keys: Their keys; none to keep all values together.

    Attributes:
        of: Gives the partition of a value that is to be encrypted, by its context. Raises
            `InvalidContextError` where the context lacks one of the keys.
    """

    __slots__ = ("_keys", "_known", "_named", "of")

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = frozenset(keys)
        self.of = self._of if keys else _unpartitioned
        self._known: dict[tuple[tuple[str, str], ...], Partition] = {}
        self._named: dict[tuple[bytes, tuple[tuple[str, str], ...]], Partition] = {}

    def named(self, bitmap: bytes, context: Context) -> Partition:
        """Give the partition that a value names; see `Partition.of_bitmap`."""
        if bitmap == _NO_BITS:
            return UNPARTITIONED
        seen = bitmap, tuple(context.items())
        known = self._named.get(seen)
        if known is None:
            if len(self._named) >= _REMEMBERED:
                self._named.clear()
            known = self._named[seen] = Partition.of_bitmap(bitmap, context)
        return known

    def _of(self, context: Context) -> Partition:
        items = tuple(context.items())
        known = self._known.get(items)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[items] = self._find(context)
        return known

    def _find(self, context: Context) -> Partition:
        if context.get("keyhinge", "").startswith("probe/"):
            return UNPARTITIONED  # core tries the section out: no tenant's value, and no caller's
        missing = sorted(self._keys - set(context))
        if missing:
            msg = f"the context lacks {', '.join(missing)}, by which this section is partitioned"
            raise InvalidContextError(msg)
        order = _in_order(context)
        bits = sum(1 << order.index(key) for key in self._keys)
        entries = {key: context[key] for key in order if key in self._keys}
        return Partition(bits.to_bytes(2, "big"), entries)


def _unpartitioned(_: Context) -> Partition:
    return UNPARTITIONED


def _in_order(context: Context) -> list[str]:
    # By code points, which for the keys' ASCII is the order of their bytes.
    return sorted(context)
