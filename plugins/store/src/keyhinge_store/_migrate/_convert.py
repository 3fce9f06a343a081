"""Decrypt, encrypt, and prove that the result opens: the part that uses keys.

No database is touched here, so no transaction can be open while a key service is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs

from keyhinge import (
    AccessDeniedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    KeyManager,
    KeyUnavailableError,
    OperationError,
    Outcome,
    ProviderContractError,
    SectionNotConfiguredError,
)
from keyhinge_store._layout import Row
from keyhinge_store._migrate._patience import Patience, Wait
from keyhinge_store._migrate._plan import Plan
from keyhinge_store._migrate._report import RowFailure, Tally

__all__ = ["Change", "Converter", "KeysFailedError"]

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")


class KeysFailedError(Exception):
    """The keys can't go on; carries the error out to the engine."""

    def __init__(self, error: OperationError) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.frozen
class Change:
    """A row as it was read, and the value that is to replace its own."""

    row: Row
    value: EncryptedValue
    text: str


class Converter:
    """Turns rows into changes.

    Args:
        keys: Decrypts and encrypts.
        cold: Opened apart from `keys`, so that what it opens doesn't come from a cache.
        plan: Where to.
        tally: Counts what the key services are asked.
        wait: Waits.
        patience: For how many seconds temporary errors of a batch are tried again.
    """

    def __init__(
        self,
        keys: KeyManager,
        cold: KeyManager,
        plan: Plan,
        tally: Tally,
        *,
        wait: Wait,
        patience: float,
    ) -> None:
        self._keys = keys
        self._cold = cold
        self._plan = plan
        self._tally = tally
        self._wait = wait
        self._patience = patience
        self._services: dict[str, bool] = {}

    def convert(self, rows: Sequence[Row]) -> list[Change]:
        """Make the changes for a page. Rows that fail are counted, and left out.

        Raises:
            KeysFailedError: A key service doesn't answer, or refuses to encrypt at all.
        """
        parsed = self._parse(rows)
        items = [item for _, item in parsed]
        opened = self._ask(self._keys.decrypt_many, items, self._sections(items))
        good = self._good(parsed, opened)
        sealed = self._seal(good)
        return self._verify(good, sealed)

    def failure(self, row: Row, error: Exception, sqlstate: str = "") -> None:
        """Count a row that failed."""
        layout = self._plan.layout
        key = dict(zip(layout.key, layout.key_of(row), strict=True))
        self._tally.fail(RowFailure(key, type(error).__name__, str(error), sqlstate))

    def _parse(self, rows: Sequence[Row]) -> list[tuple[Row, Decrypt]]:
        parsed = []
        for row in rows:
            try:
                parsed.append((row, self._plan.layout.item_of(row)))
            except OperationError as error:
                self.failure(row, error)
        return parsed

    def _good(
        self, parsed: Sequence[tuple[Row, Decrypt]], opened: Sequence[Outcome[bytes]]
    ) -> list[tuple[Row, Decrypt, bytes]]:
        good = []
        for (row, item), outcome in zip(parsed, opened, strict=True):
            if outcome.error is not None:
                self.failure(row, outcome.error)
            else:
                good.append((row, item, outcome.value))
        return good

    def _seal(
        self, good: Sequence[tuple[Row, Decrypt, bytes]]
    ) -> Sequence[Outcome[EncryptedValue]]:
        target = self._plan.target
        if self._plan.operation == "rewrap":
            rewrapped = self._ask(
                self._keys.rewrap_many, [item for _, item, _ in good], {target: len(good)}
            )
            return self._refuse_other_versions(rewrapped)

        def encrypt(items: Sequence[Encrypt]) -> list[Outcome[EncryptedValue]]:
            return self._keys.encrypt_many(items, section=target)

        items = [Encrypt(plaintext, item.context) for _, item, plaintext in good]
        sealed = self._ask(encrypt, items, {target: len(items)})
        for outcome in sealed:
            # Without the right to encrypt, or the key to do it with, no row can be moved.
            if isinstance(outcome.error, (AccessDeniedError, KeyUnavailableError)):
                raise KeysFailedError(outcome.error)
        return sealed

    def _refuse_other_versions(
        self, rewrapped: Sequence[Outcome[EncryptedValue]]
    ) -> Sequence[Outcome[EncryptedValue]]:
        wanted = self._plan.target_key
        assert wanted is not None  # noqa: S101 - a rewrap's plan has it
        for outcome in rewrapped:
            if outcome.error is None and (outcome.value.key_id, outcome.value.version) != (
                wanted.key_id,
                wanted.version,
            ):
                raise KeysFailedError(_rotated_meanwhile(outcome.value, self._plan.target))
        return rewrapped

    def _verify(
        self,
        good: Sequence[tuple[Row, Decrypt, bytes]],
        sealed: Sequence[Outcome[EncryptedValue]],
    ) -> list[Change]:
        made = []
        for (row, item, plaintext), outcome in zip(good, sealed, strict=True):
            if outcome.error is not None:
                self.failure(row, outcome.error)
            else:
                made.append((row, plaintext, outcome.value, Decrypt(outcome.value, item.context)))
        items = [item for *_, item in made]
        opened = self._ask(self._cold.decrypt_many, items, self._sections(items))
        changes = []
        for (row, plaintext, value, _), again in zip(made, opened, strict=True):
            error = again.error
            if error is None and again.value != plaintext:
                msg = "the new value opens to something else than the old one; it wasn't written"
                error = ProviderContractError(msg, section=self._plan.target)
            if error is not None:
                self.failure(row, error)
            else:
                changes.append(Change(row, value, value.to_text()))
        self._tally.verified += len(changes)
        return changes

    def _ask(
        self,
        call: Callable[[Sequence[I]], list[Outcome[T]]],
        items: Sequence[I],
        sections: dict[str, int],
    ) -> list[Outcome[T]]:
        """Make a batch call, and again for the items whose error may go away."""
        if not items:
            return []
        for section, values in sections.items():
            if self._is_service(section):
                self._tally.called(section, values)
        outcomes = list(call(items))
        patience = Patience(self._patience, self._wait)
        while retry := [i for i, o in enumerate(outcomes) if o.error and o.error.retryable]:
            error = outcomes[retry[0]].error
            assert error is not None  # noqa: S101 - that is how it was chosen
            if not patience.again():
                raise KeysFailedError(error)
            again = call([items[index] for index in retry])
            for index, outcome in zip(retry, again, strict=True):
                outcomes[index] = outcome
        return outcomes

    def _sections(self, items: Iterable[Decrypt]) -> dict[str, int]:
        return dict(Counter(item.value.section for item in items))

    def _is_service(self, label: str) -> bool:
        if label not in self._services:
            try:
                section = self._keys.section_of(label)
                self._services[label] = self._keys.capabilities(section).blocking
            except SectionNotConfiguredError:
                self._services[label] = False
        return self._services[label]


def _rotated_meanwhile(value: EncryptedValue, section: str) -> OperationError:
    if value.version:
        msg = "the key was rotated, or activated, while the rewrap was running"
        return OperationError(msg, section=section, retryable=True)
    msg = "the service doesn't tell which version it used, so nobody could say what is rewrapped"
    return OperationError(msg, section=section)
