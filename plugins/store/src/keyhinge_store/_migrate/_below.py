"""What a migration's KeyManagers ask of key services through sections that build on those."""

from __future__ import annotations

from collections.abc import Sequence

from keyhinge import Asked, ConfigError, KeyManager, ProviderError
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
        """Add what was asked to the calls of a migration. They must still be open."""
        for keys, before in self._managers:
            for name, asked in keys.asked_below().items():
                calls, values = before.get(name, _NOTHING)
                # Fewer than before: it was reloaded meanwhile, and has counted anew.
                new = (
                    asked
                    if asked.calls < calls
                    else Asked(asked.calls - calls, asked.values - values)
                )
                if new.calls and _is_service(keys, name):
                    tally.called(name, new.values, new.calls)


def _is_service(keys: KeyManager, name: str) -> bool:
    try:
        return keys.capabilities(name).blocking and not keys.builds_on(name)
    except (ConfigError, ProviderError):
        return False
