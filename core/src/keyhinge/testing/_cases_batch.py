"""Cases about batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from keyhinge import Capabilities, Decrypt, Encrypt, InvalidCiphertextError, KeyManager, Outcome
from keyhinge.testing._base import BATCH_HOOKS, Bench
from keyhinge.testing._case import checks, expect
from keyhinge.testing._support import with_changes

__all__ = ["BatchCases"]

T = TypeVar("T")

ITEMS = 20
BAD = 7
MANY = 501  # more than services take at once that have a limit


class BatchCases(Bench):
    """Each item has its own answer, in its own place."""

    @checks("R15")
    def test_batches_keep_order(self, keys: KeyManager) -> None:
        """Each item of a batch has its own answer under its own context, in order."""
        plaintexts, items = self._batch(keys)
        made = keys.encrypt_many(items)
        expect(len(made) == ITEMS, f"{ITEMS} items have {len(made)} answers")
        for outcome, item in zip(made, items, strict=True):
            expect(
                keys.decrypt(outcome.value, context=item.context) == item.plaintext,
                "what a batch encrypted opens to another item's plaintext",
            )
        singly = [keys.encrypt(item.plaintext, context=item.context) for item in items]
        for values in ([outcome.value for outcome in made], singly):
            pairs = zip(values, items, strict=True)
            opened = keys.decrypt_many([Decrypt(v, item.context) for v, item in pairs])
            expect(
                [outcome.value for outcome in opened] == plaintexts,
                "decrypting a batch gave plaintexts in other places than their items'",
            )

    @checks("R15")
    def test_rewrapped_batches_keep_order(self, keys: KeyManager) -> None:
        """Each rewrapped item is in its own place."""
        _, items = self._batch(keys)
        values = [keys.encrypt(item.plaintext, context=item.context) for item in items]
        pairs = zip(values, items, strict=True)
        again = keys.rewrap_many([Decrypt(v, item.context) for v, item in pairs])
        for outcome, item in zip(again, items, strict=True):
            expect(
                keys.decrypt(outcome.value, context=item.context) == item.plaintext,
                "rewrapping a batch gave values in other places than their items'",
            )

    @checks("R15")
    def test_a_large_batch_is_answered(self, keys: KeyManager) -> None:
        """A batch that is larger than what services take is cut to what this one takes."""
        hooks = self._section(keys).hooks
        self._only(any(name in hooks for name in BATCH_HOOKS), "it has no batch hooks")
        plaintexts, items = self._batch(keys, MANY)
        made = _all("encrypting", keys.encrypt_many(items))
        sent = [Decrypt(v, item.context) for v, item in zip(made, items, strict=True)]
        if "keyhinge_rewrap_many" in hooks:
            made = _all("rewrapping", keys.rewrap_many(sent))
            sent = [Decrypt(v, item.context) for v, item in zip(made, items, strict=True)]
        expect(
            _all("decrypting", keys.decrypt_many(sent)) == plaintexts,
            f"a batch of {MANY} gave plaintexts in other places than their items'",
        )

    @checks("R16")
    def test_one_bad_item_fails_alone(self, keys: KeyManager) -> None:
        """Among good items a bad one has an error of its own, and the others their plaintexts."""
        plaintexts, values = self._with_a_bad_one(keys)
        outcomes = keys.decrypt_many(values)
        _fails_alone(outcomes)
        for place, plaintext in enumerate(plaintexts):
            if place != BAD:
                expect(outcomes[place].value == plaintext, "a good item beside a bad one changed")

    @checks("R16")
    def test_one_bad_item_is_not_rewrapped(self, keys: KeyManager) -> None:
        """The same for rewrapping."""
        _, values = self._with_a_bad_one(keys)
        _fails_alone(keys.rewrap_many(values))

    def _batch(self, keys: KeyManager, count: int = ITEMS) -> tuple[list[bytes], list[Encrypt]]:
        context = self._context(keys)
        plaintext = self._plaintext(keys)
        plaintexts = [plaintext[:-3] + b"%03d" % n for n in range(count)]
        items = [
            Encrypt(plaintext, {**context, "row": str(n)} if context else {})
            for n, plaintext in enumerate(plaintexts)
        ]
        return plaintexts, items

    def _with_a_bad_one(self, keys: KeyManager) -> tuple[list[bytes], list[Decrypt]]:
        capabilities: Capabilities = keys.capabilities()
        plaintexts, items = self._batch(keys)
        values = [
            Decrypt(keys.encrypt(item.plaintext, context=item.context), item.context)
            for item in items
        ]
        bad = b"\x01bad"
        if capabilities.encrypts:
            good = values[BAD].value.ciphertext
            bad = good[:-1] + bytes([good[-1] ^ 1])
        values[BAD] = Decrypt(with_changes(values[BAD].value, ciphertext=bad), values[BAD].context)
        return plaintexts, values


def _all(doing: str, outcomes: Sequence[Outcome[T]]) -> list[T]:
    """Give the results of a batch in which nothing is wrong."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    what = f"{doing} a batch of {len(outcomes)}, {len(errors)} items failed"
    expect(not errors, f"{what}, the first one with {errors[0] if errors else None}")
    return [outcome.value for outcome in outcomes]


def _fails_alone(outcomes: Sequence[Outcome[Any]]) -> None:
    failed = [place for place, outcome in enumerate(outcomes) if outcome.error is not None]
    expect(failed == [BAD], f"one of {ITEMS} items was bad, and {len(failed)} failed")
    kind = type(outcomes[BAD].error)
    expect(
        kind is InvalidCiphertextError,
        f"the bad item's error is {kind.__name__}, not InvalidCiphertextError",
    )
