"""Batches whose items belong to several sections, each item with its own fate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeVar

from keyhinge._context import Context, FrozenContext, check_context
from keyhinge._errors import OperationError
from keyhinge._hookspecs import Decrypt, Encrypt
from keyhinge._section import OpenSection
from keyhinge._section_batch import merged, seal_many
from keyhinge._value import EncryptedValue

__all__ = ["open_batch", "require_items", "seal_batch"]

T = TypeVar("T")


def require_items(items: Sequence[Encrypt] | Sequence[Decrypt], kind: type) -> None:
    """Check the types of a batch, before anybody looks into its items.

    Raises:
        TypeError: It isn't a sequence of `kind`, or a `Decrypt` has no `EncryptedValue`.
    """
    if not isinstance(items, Sequence):
        raise TypeError(f"items must be a sequence, such as a list, not {type(items).__name__}")
    for found in {*map(type, items)} - {kind}:
        raise TypeError(f"items must be {kind.__name__}, not {found.__name__}")
    if kind is Decrypt:
        values = map(attrgetter("value"), items)
        for found in {*map(type, values)} - {EncryptedValue}:
            msg = f"the value of a Decrypt must be an EncryptedValue, not {found.__name__}"
            raise TypeError(msg)


def seal_batch(
    items: Sequence[Encrypt], section: OpenSection
) -> list[EncryptedValue | OperationError]:
    """Encrypt a batch with one section: a value or an error for each item."""
    failed: dict[int, OperationError] = {}
    good: list[Encrypt] = []
    for index, item in enumerate(items):
        try:
            good.append(Encrypt(item.plaintext, check_context(item.context)))
        except OperationError as failure:
            failed[index] = failure.with_traceback(None)
    return merged(seal_many(section, good), failed)


def open_batch(
    items: Sequence[Decrypt],
    find: Callable[[str], OpenSection],
    run: Callable[[OpenSection, Sequence[Decrypt]], Sequence[T | OperationError]],
    check: Callable[[Context], FrozenContext] = check_context,
) -> list[T | OperationError]:
    """Open or rewrap a batch, each item in the section that its value names.

    Args:
        items: The values with their contexts.
        find: Gives the section for the name in a value, or raises an `OperationError`.
        run: What to do with the items of one section.
        check: Freezes an item's context, or raises an `InvalidContextError`.

    Returns:
        A result or an error for each item, in their order.
    """
    results: list[T | OperationError | None] = [None] * len(items)
    groups: dict[OpenSection, tuple[list[int], list[Decrypt]]] = {}
    by_label: dict[str, tuple[list[int], list[Decrypt]]] = {}
    for index, item in enumerate(items):
        label = item.value.section
        try:
            checked = Decrypt(item.value, check(item.context))
            group = by_label.get(label)  # few names, many items
            if group is None:
                group = by_label[label] = groups.setdefault(find(label), ([], []))
        except OperationError as failure:
            results[index] = failure.with_traceback(None)
        else:
            group[0].append(index)
            group[1].append(checked)
    for section, (places, batch) in groups.items():
        answers = run(section, batch)
        if len(batch) == len(items):
            return list(answers)
        for index, result in zip(places, answers, strict=True):
            results[index] = result
    return [result for result in results if result is not None]
