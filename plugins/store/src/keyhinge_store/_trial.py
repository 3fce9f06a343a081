"""Opening values of rows that may not name their section: by trial, one section after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyhinge import Decrypt, EncryptedValue, Outcome
from keyhinge_store._codec import Codec

__all__ = ["open_items"]


def open_items(
    codec: Codec,
    items: Sequence[Decrypt],
    decrypt: Callable[[Sequence[Decrypt]], list[Outcome[bytes]]],
) -> list[tuple[EncryptedValue, Outcome[bytes]]]:
    """Decrypt a batch; what doesn't open is tried with the other sections that it may be of.

    Args:
        codec: Knows which sections may have made a value.
        items: What `Layout.read` gave.
        decrypt: Decrypts a batch.

    Returns:
        For each item the value that opened, with the section that made it, and the outcome; if
        none opened, the first section's. Whoever isn't sure of an error (`retryable`) waits.
    """
    found = list(zip((item.value for item in items), decrypt(items), strict=True))
    others = [_others(codec, value, outcome) for value, outcome in found]
    while waiting := [index for index, rest in enumerate(others) if rest]:
        again = []
        for index in waiting:
            value = items[index].value
            section = others[index].pop(0)
            moved = EncryptedValue(section, value.key_id, value.version, value.ciphertext)
            again.append(Decrypt(moved, items[index].context))
        for index, item, outcome in zip(waiting, again, decrypt(again), strict=True):
            if outcome.error is None or outcome.error.retryable:
                found[index] = (item.value, outcome)
                others[index] = []
    return found


def _others(codec: Codec, value: EncryptedValue, outcome: Outcome[bytes]) -> list[str]:
    if outcome.error is None or outcome.error.retryable:
        return []
    return list(codec.others(value))
