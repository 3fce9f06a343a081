"""Decrypt, encrypt, and prove that the result opens: the part that uses keys.

Of the database at most the ledger and the run's data keys are read here, and it is closed again
before a key service is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import attrs
import sqlalchemy as sa

from keyhinge import (
    AccessDeniedError,
    Context,
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
from keyhinge_store._codec import Adopted
from keyhinge_store._layout import Row
from keyhinge_store._migrate._access import Access
from keyhinge_store._migrate._keys_failed import KeysFailedError
from keyhinge_store._migrate._new_keys import NewKeys
from keyhinge_store._migrate._patience import Patience, Wait, patiently
from keyhinge_store._migrate._plan import Plan
from keyhinge_store._migrate._report import RowFailure, Tally
from keyhinge_store._resolver import Resolver
from keyhinge_store._trial import open_items

__all__ = ["Change", "Converter"]

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")
Asked = Literal["encrypt", "decrypt", "rewrap"]


@attrs.frozen
class Change:
    """A row as it was read, and the value that is to replace its own.

    Attributes:
        row: The row.
        value: The value.
        cells: What has to stand in the codec's columns.
    """

    row: Row
    value: EncryptedValue
    cells: tuple[Any, ...]


@attrs.frozen
class _Good:
    """A row that opened. An adopted plaintext has no value."""

    row: Row
    plaintext: bytes = attrs.field(repr=False)
    context: Context
    value: EncryptedValue | None


class Converter:
    """Turns rows into changes.

    Args:
        keys: Decrypts and encrypts.
        cold: Opened apart from `keys`, so that what it opens doesn't come from a cache.
        plan: Where to.
        tally: Counts what the key services are asked.
        access: Knows what could be opened before.
        wait: Waits.
        patience: For how many seconds temporary errors of a batch are tried again.
        engine: Where the ledger is, for rows that don't name their section.
        new_keys: Encrypts under data keys of the run's own; None where that isn't asked for.
    """

    def __init__(
        self,
        keys: KeyManager,
        cold: KeyManager,
        plan: Plan,
        tally: Tally,
        *,
        access: Access,
        wait: Wait,
        patience: float,
        engine: sa.Engine,
        new_keys: NewKeys | None = None,
    ) -> None:
        self._new_keys = new_keys
        self._engine = engine
        self._resolver = Resolver(plan.layout)
        self._keys = keys
        self._cold = cold
        self._plan = plan
        self._tally = tally
        self._access = access
        self._wait = wait
        self._patience = patience
        self._services: dict[str, bool] = {}

    def convert(self, rows: Sequence[Row]) -> list[Change]:
        """Make the changes for a page. Rows that fail are counted, and left out.

        Raises:
            KeysFailedError: A key service doesn't answer, or refuses to encrypt at all.
        """
        good = self._open(self._not_moved(self._told_apart(self._parse(rows))))
        sealed = self._seal(good)
        return self._verify(good, sealed)

    def failure(self, row: Row, error: Exception, sqlstate: str = "") -> None:
        """Count a row that failed."""
        key = self._plan.layout.shown_key(row)
        self._tally.fail(RowFailure(key, type(error).__name__, str(error), sqlstate))

    def _parse(self, rows: Sequence[Row]) -> list[tuple[Row, Decrypt | Adopted]]:
        parsed = []
        for row in rows:
            try:
                parsed.append((row, self._plan.layout.read(row)))
            except OperationError as error:
                self.failure(row, error)
        return parsed

    def _told_apart(
        self, parsed: Sequence[tuple[Row, Decrypt | Adopted]]
    ) -> list[tuple[Row, Decrypt | Adopted]]:
        """Let the ledger say where rows are that don't say it; leave out those that may stay."""
        items = [(row, item) for row, item in parsed if isinstance(item, Decrypt)]
        known = patiently(
            lambda: self._resolver.known(self._engine, items), Patience(self._patience, self._wait)
        )
        found: list[tuple[Row, Decrypt | Adopted]] = []
        for row, item in parsed:
            value = known.get(self._plan.layout.key_of(row)) if known else None
            if value is None:
                found.append((row, item))
            elif self._has_to_go(value):
                found.append((row, Decrypt(value, item.context)))
        return found

    def _not_moved(
        self, parsed: list[tuple[Row, Decrypt | Adopted]]
    ) -> list[tuple[Row, Decrypt | Adopted]]:
        """Leave out what this run has encrypted under its new data keys before."""
        if self._new_keys is None:
            return parsed
        items = [(row, item) for row, item in parsed if isinstance(item, Decrypt)]
        moved = self._new_keys.moved(
            [item.value for _, item in items],
            lambda call: patiently(call, Patience(self._patience, self._wait)),
        )
        return [each for each, is_moved in zip(items, moved, strict=True) if not is_moved]

    def _open(self, parsed: Sequence[tuple[Row, Decrypt | Adopted]]) -> list[_Good]:
        items = [item for _, item in parsed if isinstance(item, Decrypt)]
        opened = iter(open_items(self._plan.layout.codec, items, self._decrypt))
        good = []
        for row, item in parsed:
            if isinstance(item, Adopted):
                good.append(_Good(row, item.plaintext, item.context, None))
                continue
            value, outcome = next(opened)
            if outcome.error is not None:
                self.failure(row, outcome.error)
            elif value is item.value or self._has_to_go(value):
                good.append(_Good(row, outcome.value, item.context, value))
        return good

    def _decrypt(self, items: Sequence[Decrypt]) -> list[Outcome[bytes]]:
        def decrypt(items: Sequence[Decrypt]) -> list[Outcome[bytes]]:
            return self._ask("decrypt", self._keys.decrypt_many, items, _section_named)

        outcomes = decrypt(items)
        others = self._plan.layout.codec.others
        self._access.look(
            items, outcomes, decrypt, cold=self._cold, is_sure=lambda value: not others(value)
        )
        return outcomes

    def _has_to_go(self, value: EncryptedValue) -> bool:
        """Tell it of a row that didn't name its section, so that SQL couldn't tell."""
        is_at_target = self._keys.section_of(value.section) == self._plan.target
        if self._plan.operation != "migrate":
            return is_at_target
        return not is_at_target and (not self._plan.source or value.section in self._plan.source)

    def _seal(self, good: Sequence[_Good]) -> Sequence[Outcome[EncryptedValue]]:
        target = self._plan.target
        if self._plan.operation == "rewrap":
            items = [Decrypt(each.value, each.context) for each in good if each.value is not None]
            rewrapped = self._ask("rewrap", self._keys.rewrap_many, items, lambda _: target)
            return self._refuse_other_versions(rewrapped)

        keys = self._keys if self._new_keys is None else self._new_keys.keys

        def encrypt(items: Sequence[Encrypt]) -> list[Outcome[EncryptedValue]]:
            return keys.encrypt_many(items, section=target)

        plaintexts = [Encrypt(each.plaintext, each.context) for each in good]
        sealed = self._ask("encrypt", encrypt, plaintexts, lambda _: target)
        for outcome in sealed:
            # Without the right to encrypt, or the key to do it with, no row can be moved.
            if isinstance(outcome.error, (AccessDeniedError, KeyUnavailableError)):
                raise KeysFailedError(outcome.error)
        if self._new_keys is not None:
            old = [each.value for each in good if each.value is not None]
            new = [outcome.value for outcome in sealed if outcome.error is None]
            self._new_keys.refuse_old(old, new, target)
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
        self, good: Sequence[_Good], sealed: Sequence[Outcome[EncryptedValue]]
    ) -> list[Change]:
        made = []
        for each, outcome in zip(good, sealed, strict=True):
            if outcome.error is not None:
                self.failure(each.row, outcome.error)
                continue
            try:
                cells = self._plan.layout.write(outcome.value)
            except OperationError as error:
                self.failure(each.row, error)
            else:
                change = Change(each.row, outcome.value, cells)
                made.append((each, change, Decrypt(self._as_stored(change), each.context)))
        items = [item for *_, item in made]
        opened = self._ask("decrypt", self._cold.decrypt_many, items, _section_named)
        changes = []
        for (each, change, _), again in zip(made, opened, strict=True):
            problem = again.error
            if problem is None and again.value != each.plaintext:
                msg = "the new value opens to something else than the old one; it wasn't written"
                problem = ProviderContractError(msg, section=self._plan.target)
            if problem is not None:
                self.failure(each.row, problem)
            else:
                changes.append(change)
        self._tally.verified += len(changes)
        return changes

    def _as_stored(self, change: Change) -> EncryptedValue:
        """Give the value as it will be read from the table, which may keep less than its labels."""
        codec, value = self._plan.layout.codec, change.value
        if codec.faithful:
            return value
        stored = codec.read(change.cells)
        assert isinstance(stored, EncryptedValue)  # noqa: S101 - only an adopted column has others
        return EncryptedValue(value.section, stored.key_id, stored.version, stored.ciphertext)

    def _ask(
        self,
        operation: Asked,
        call: Callable[[Sequence[I]], list[Outcome[T]]],
        items: Sequence[I],
        section_of: Callable[[I], str],
    ) -> list[Outcome[T]]:
        """Make a batch call, and again for the items whose error may go away."""
        if not items:
            return []
        self._count(operation, items, section_of)
        outcomes = list(call(items))
        patience = Patience(self._patience, self._wait)
        while retry := [i for i, o in enumerate(outcomes) if o.error and o.error.retryable]:
            error = outcomes[retry[0]].error
            assert error is not None  # noqa: S101 - that is how it was chosen
            if not patience.again():
                raise KeysFailedError(error)
            left = [items[index] for index in retry]
            self._count(operation, left, section_of)
            for index, outcome in zip(retry, call(left), strict=True):
                outcomes[index] = outcome
        return outcomes

    def _count(self, operation: Asked, items: Sequence[I], section_of: Callable[[I], str]) -> None:
        """Count a call, or another attempt at it: a key service may charge for both."""
        for label, values in Counter(map(section_of, items)).items():
            if self._is_service(label):
                section = self._keys.section_of(label)
                for part in self._parts(operation, section):
                    batched = self._keys.takes_batches(part, section)
                    self._tally.called(label, values, 1 if batched else values)

    def _parts(self, operation: Asked, section: str) -> tuple[Asked, ...]:
        """Tell what core makes of an operation that the provider hasn't got."""
        if operation == "rewrap" and not self._keys.takes_batches("rewrap", section):
            return "decrypt", "encrypt"
        return (operation,)

    def _is_service(self, label: str) -> bool:
        if label not in self._services:
            try:
                section = self._keys.section_of(label)
                # One that builds on others is no service: what it asks of those is counted there.
                self._services[label] = self._keys.capabilities(
                    section
                ).blocking and not self._keys.builds_on(section)
            except SectionNotConfiguredError:
                self._services[label] = False
        return self._services[label]


def _section_named(item: Decrypt) -> str:
    return item.value.section


def _rotated_meanwhile(value: EncryptedValue, section: str) -> OperationError:
    if value.version:
        msg = "the key was rotated, or activated, while the rewrap was running"
        return OperationError(msg, section=section, retryable=True)
    msg = "the service doesn't tell which version it used, so nobody could say what is rewrapped"
    return OperationError(msg, section=section)
