"""The data keys of a run that were looked up before, and forgotten again."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from keyhinge import EncryptedValue
from keyhinge_store._migrate import _new_keys
from keyhinge_store._migrate._new_keys import NewKeys


class _Named:
    """Stands for a KeyManager whose data keys are called as the key ids."""

    def data_key_of(self, value: EncryptedValue) -> str:
        return value.key_id


def test_a_data_key_is_known_also_when_others_are_forgotten_in_the_same_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_new_keys, "_REMEMBERED", 1)
    monkeypatch.setattr(_new_keys, "made_by", lambda _, __, names: set(names) - {"foreign"})
    engine = sa.create_engine("sqlite://")
    new_keys = NewKeys(_Named(), engine)  # type: ignore[arg-type]
    new_keys.begin(1)

    def moved(*names: str) -> list[bool]:
        values = [EncryptedValue("envelope", name, "", b"\0") for name in names]
        return new_keys.moved(values, lambda call: call())

    assert moved("k1", "k2") == [True, True]
    assert moved("k1", "k3", "foreign") == [True, True, False]
    assert moved("k2") == [True]
    engine.dispose()
