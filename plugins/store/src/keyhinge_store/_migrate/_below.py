"""What a migration's KeyManagers ask of key services through sections that build on those."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from keyhinge import Asked, ClosedError, ConfigError, KeyManager, ProviderError
from keyhinge_store._migrate._report import Tally

__all__ = ["Below"]

_NOTHING = Asked(0, 0)


class Below:
    """Counts it from now on.

    Args:
        managers: The KeyManagers.
    """

    def __init__(self, managers: Sequence[KeyManager]) -> None:
        self._managers = [(keys, keys.asked_below()) for keys in managers]

    def add_to(self, tally: Tally) -> None:
        """Add what was asked to the calls of a migration. Of one that was closed, nothing is."""
        for keys, before in self._managers:
            with contextlib.suppress(ClosedError):
                _add(tally, keys, before)


def _add(tally: Tally, keys: KeyManager, before: Mapping[str, Asked]) -> None:
    for name, asked in keys.asked_below().items():
        calls, values = before.get(name, _NOTHING)
        if asked.calls < calls:  # it was reloaded meanwhile, and has counted anew
            calls = values = 0
        if asked.calls > calls and _is_service(keys, name):
            tally.called(name, asked.values - values, asked.calls - calls)


def _is_service(keys: KeyManager, name: str) -> bool:
    try:
        return keys.capabilities(name).blocking and not keys.builds_on(name)
    except (ConfigError, ProviderError):
        return False
