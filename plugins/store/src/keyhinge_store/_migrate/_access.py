"""Telling a section that is closed to us from rows that can't be opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyhinge import (
    AccessDeniedError,
    Decrypt,
    EncryptedValue,
    KeyManager,
    KeyUnavailableError,
    OperationError,
    Outcome,
    SectionNotConfiguredError,
)
from keyhinge_store._migrate._keys_failed import KeysFailedError

__all__ = ["Access"]

_CLOSED = (AccessDeniedError, KeyUnavailableError)
_Decrypt = Callable[[Sequence[Decrypt]], Sequence[Outcome[bytes]]]
_Sure = Callable[[EncryptedValue], bool]


class Access:
    """Remembers, for each section, a value that it has opened.

    A token that ends in the middle of a run would make every row behind it one that failed. Where
    all of a batch is refused, what was opened before is tried again: if that is refused too, it
    isn't the rows. Where nothing was opened before, the section's own key tells: if the section
    can't name it, or refuses a value under exactly that key, it isn't the rows either. Values
    under another key may be those of a key that is lost, and fail one by one.
    """

    def __init__(self) -> None:
        self._opened: dict[str, Decrypt] = {}

    def look(
        self,
        items: Sequence[Decrypt],
        outcomes: Sequence[Outcome[bytes]],
        decrypt: _Decrypt,
        *,
        cold: KeyManager,
        is_sure: _Sure,
    ) -> None:
        """Look at what became of a batch.

        Args:
            items: The batch.
            outcomes: What became of it.
            decrypt: Decrypts a batch.
            cold: Asked for a section's own key, since it remembers none from before.
            is_sure: Whether a value says itself which section made it.

        Raises:
            KeysFailedError: A section that was open isn't any more, or never was.
        """
        answered = set[str]()
        refused: dict[str, list[tuple[EncryptedValue, OperationError]]] = {}
        for item, outcome in zip(items, outcomes, strict=True):
            section, error = item.value.section, outcome.error
            if error is None and section not in answered:
                self._opened[section] = item
            if isinstance(error, SectionNotConfiguredError) and _is_configured(cold, section):
                raise _closed(section, error)  # it can't be used, whatever its values are
            if isinstance(error, _CLOSED):
                refused.setdefault(section, []).append((item.value, error))
            else:
                answered.add(section)
        for section in refused.keys() - answered:
            known = self._opened.get(section)
            if known is None:
                self._look_at_key(
                    section, [each for each in refused[section] if is_sure(each[0])], cold
                )
                continue
            [again] = decrypt([known])
            if isinstance(again.error, _CLOSED):
                raise KeysFailedError(again.error)

    def _look_at_key(
        self,
        section: str,
        refused: Sequence[tuple[EncryptedValue, OperationError]],
        cold: KeyManager,
    ) -> None:
        """Find out from a section's own key whether it refuses everything."""
        if not refused:
            return
        try:
            own = cold.current_key(cold.section_of(section))
        except _CLOSED as error:
            raise _closed(section, error) from None
        except OperationError:
            return  # nothing speaks against the section
        for value, refusal in refused:
            # A version that wasn't recorded is any version.
            if value.key_id == own.key_id and value.version in ("", own.version):
                raise _closed(section, refusal)


def _is_configured(keys: KeyManager, label: str) -> bool:
    sections = keys.configuration.sections
    return label in sections or any(label in block.aliases for block in sections.values())


def _closed(section: str, error: OperationError) -> KeysFailedError:
    about = (
        f"the section {section!r} opens none of its values. Mend that; what other sections made "
        "can be moved without it (source, --from)"
    )
    return KeysFailedError(error.with_traceback(None), about)
