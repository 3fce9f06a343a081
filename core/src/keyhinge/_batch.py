"""Batches whose items belong to several sections, each item with its own fate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from keyhinge._context import Context, FrozenContext, check_context
from keyhinge._errors import OperationError
from keyhinge._hookspecs import Decrypt, Encrypt
from keyhinge._section import OpenSection
from keyhinge._section_batch import seal_many
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
    for item in items:
        if type(item) is not kind:
            raise TypeError(f"items must be {kind.__name__}, not {type(item).__name__}")
        if isinstance(item, Decrypt) and type(item.value) is not EncryptedValue:
            found = type(item.value).__name__
            raise TypeError(f"the value of a Decrypt must be an EncryptedValue, not {found}")


def seal_batch(
    items: Sequence[Encrypt], section: OpenSection
) -> list[EncryptedValue | OperationError]:
    """Encrypt a batch with one section: a value or an error for each item."""
    checked: list[Encrypt | OperationError] = []
    for item in items:
        try:
            checked.append(Encrypt(item.plaintext, check_context(item.context)))
        except OperationError as failure:
            checked.append(failure.with_traceback(None))
    return _fill(checked, lambda good: seal_many(section, good))


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
            if label not in by_label:  # few names, many items
                by_label[label] = groups.setdefault(find(label), ([], []))
        except OperationError as failure:
            results[index] = failure.with_traceback(None)
        else:
            places, batch = by_label[label]
            places.append(index)
            batch.append(checked)
    for section, (places, batch) in groups.items():
        answers = run(section, batch)
        if len(batch) == len(items):
            return list(answers)
        for index, result in zip(places, answers, strict=True):
            results[index] = result
    return [result for result in results if result is not None]


def _fill(
    checked: Sequence[Encrypt | OperationError],
    run: Callable[[Sequence[Encrypt]], Sequence[T | OperationError]],
) -> list[T | OperationError]:
    good = [item for item in checked if not isinstance(item, OperationError)]
    answers = iter(run(good))
    return [item if isinstance(item, OperationError) else next(answers) for item in checked]
