"""Batches within one section: by the provider's batch hooks, or else one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from keyhinge._errors import OperationError
from keyhinge._hookspecs import Decrypt, Encrypt
from keyhinge._outcome import unwrap
from keyhinge._section import OpenSection
from keyhinge._value import EncryptedValue

__all__ = ["merged", "open_many", "rewrap_many", "seal_many"]

T = TypeVar("T")


def seal_many(
    section: OpenSection, items: Sequence[Encrypt]
) -> list[EncryptedValue | OperationError]:
    """Encrypt a batch whose contexts are checked: a value or an error for each item."""
    hook = section.hooks.get("keyhinge_encrypt_many")
    if hook is None:
        return _one_by_one(items, lambda item: section.seal(item.plaintext, item.context))
    refused = {
        index: refusal
        for index, item in enumerate(items)
        if (refusal := section.refusal(item)) is not None
    }
    good = [item for index, item in enumerate(items) if index not in refused] if refused else items
    return merged(_labelled(section, _batch(section, hook, good, "encrypt"), "encrypt"), refused)


def open_many(section: OpenSection, items: Sequence[Decrypt]) -> list[bytes | OperationError]:
    """Decrypt a batch whose contexts are checked: a plaintext or an error for each item."""
    hook = section.hooks.get("keyhinge_decrypt_many")
    if hook is None:
        return _one_by_one(items, lambda item: section.open(item.value, item.context))

    def run(batch: Sequence[Decrypt]) -> list[bytes | OperationError]:
        answers = _batch(section, hook, batch, "decrypt")
        # A call for each item would cost as much as decrypting a small one: hence none.
        if {*map(type, answers)} == {bytes}:
            return answers
        return _one_by_one(answers, lambda answer: section.checked(unwrap(answer)))

    return _where_bound(section, items, "decrypt", run)


def rewrap_many(
    section: OpenSection, items: Sequence[Decrypt]
) -> list[EncryptedValue | OperationError]:
    """Bring a batch to the newest key version: by the provider's hook, or decrypt, encrypt."""
    hook = section.hooks.get("keyhinge_rewrap_many")
    if hook is not None:
        return _where_bound(
            section,
            items,
            "rewrap",
            lambda batch: _labelled(section, _batch(section, hook, batch, "rewrap"), "rewrap"),
        )
    opened = open_many(section, items)
    again = [
        Encrypt(plaintext, item.context)
        for plaintext, item in zip(opened, items, strict=True)
        if not isinstance(plaintext, OperationError)
    ]
    sealed = iter(seal_many(section, again))
    return [x if isinstance(x, OperationError) else next(sealed) for x in opened]


def merged(
    answers: list[T | OperationError], failed: Mapping[int, OperationError]
) -> list[T | OperationError]:
    """Put those that failed before the others were asked about back into their places."""
    if not failed:
        return answers
    rest = iter(answers)
    return [failed.get(index) or next(rest) for index in range(len(answers) + len(failed))]


def _where_bound(
    section: OpenSection,
    items: Sequence[Decrypt],
    operation: str,
    run: Callable[[Sequence[Decrypt]], list[T | OperationError]],
) -> list[T | OperationError]:
    """Run a batch without the items whose context the provider would ignore."""
    if not section.refuses_context:
        return run(items)
    answers = iter(run([item for item in items if not item.context]))
    return [section.unbound_context(operation) if item.context else next(answers) for item in items]


def _one_by_one(items: Sequence[Any], one: Callable[[Any], T]) -> list[T | OperationError]:
    results: list[T | OperationError] = []
    for item in items:
        try:
            results.append(one(item))
        except OperationError as failure:
            results.append(failure.with_traceback(None))
    return results


def _batch(
    section: OpenSection, hook: Callable[..., Any], items: Sequence[Any], operation: str
) -> list[Any]:
    """Call a batch hook; the answer has one entry for each item, whatever happens."""
    if not items:
        return []
    try:
        # Copies: what a provider does with its items, or with its answer later, can't matter.
        answer: Any = hook(tuple(items))
        answers = list(answer) if isinstance(answer, Sequence) else []
    except Exception as failure:  # noqa: BLE001 - a stranger's code; told apart there
        return [section.blame.error(failure, operation)] * len(items)
    if len(answers) != len(items):
        what = "it gave a batch answer of another type or length"
        return [section.blame.rubbish(operation, what)] * len(items)
    return [
        section.blame.error(result, operation) if isinstance(result, Exception) else result
        for result in answers
    ]


def _labelled(
    section: OpenSection, sealed: Sequence[Any], operation: str
) -> list[EncryptedValue | OperationError]:
    label = section.label
    results: list[EncryptedValue | OperationError] = []
    for answer in sealed:
        if isinstance(answer, OperationError):
            results.append(answer.with_traceback(None))
            continue
        try:
            results.append(label(answer, operation))
        except OperationError as failure:
            results.append(failure.with_traceback(None))
    return results
