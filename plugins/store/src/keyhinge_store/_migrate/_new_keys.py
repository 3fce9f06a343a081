"""Encrypting under data keys that are made for a run, and knowing what is under them already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from keyhinge import EncryptedValue, KeyManager, OperationError, ProviderContractError
from keyhinge_store._migrate._keys_failed import KeysFailedError
from keyhinge_store._runs._data_keys import enter_data_keys, made_by

__all__ = ["NewKeys"]

T = TypeVar("T")
# With a data key for each tenant there may be many. What is forgotten is asked for again.
_REMEMBERED = 10_000


class NewKeys:
    """The data keys of a run.

    Until it belongs to a run, as in a dry run, nothing counts as moved.

    Args:
        keys: Encrypts. It was opened for this run, so that it makes its own data keys.
        engine: Where the run is.
    """

    def __init__(self, keys: KeyManager, engine: sa.Engine) -> None:
        self.keys = keys
        self._engine = engine
        self._run_id: int | None = None
        self._known: set[str] = set()

    def begin(self, run_id: int) -> None:
        """Belong to a run."""
        self._run_id = run_id

    def moved(
        self, values: Sequence[EncryptedValue], patiently: Callable[[Callable[[], T]], T]
    ) -> list[bool]:
        """Tell of each value whether this run encrypted it.

        The values were read before this is called. What they are under was entered in the
        transaction that wrote them, so it is found, whichever process that was.

        Args:
            values: The values.
            patiently: Calls something that needs the database.
        """
        names = [self._name(value) for value in values]
        # Another set each time: other threads read it, and may have it forgotten, meanwhile.
        known = self._known
        unknown = {name for name in names if name} - known
        run_id = self._run_id
        if unknown and run_id is not None:
            found: set[str] = patiently(partial(self._look_up, run_id, unknown))  # type: ignore[arg-type,assignment]
            self._known = found if len(known) > _REMEMBERED else known | found
            known = known | found
        return [name in known for name in names]

    def refuse_old(
        self, old: Sequence[EncryptedValue], new: Sequence[EncryptedValue], section: str
    ) -> None:
        """Make sure that new values aren't under the data keys of those that they replace.

        Raises:
            KeysFailedError: The provider gave a KeyManager that was just opened old data keys.
        """
        if {self._name(value) for value in old} & set(map(self.keys.data_key_of, new)):
            msg = (
                "what was encrypted anew is under the same data key as before: the provider "
                "doesn't make data keys of its own when it is configured anew"
            )
            raise KeysFailedError(ProviderContractError(msg, section=section))

    def enter(self, connection: sa.Connection, values: Sequence[EncryptedValue]) -> None:
        """Enter the data keys of values, in the transaction that writes them."""
        if self._run_id is not None:
            enter_data_keys(connection, self._run_id, map(self.keys.data_key_of, values))

    def _look_up(self, run_id: int, names: set[str]) -> set[str]:
        with self._engine.connect() as connection:
            return made_by(connection, run_id, names)

    def _name(self, value: EncryptedValue) -> str:
        try:
            return self.keys.data_key_of(value)
        except OperationError:
            return ""  # decrypting it says what is wrong with it
