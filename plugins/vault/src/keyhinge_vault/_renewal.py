"""The thread that keeps a token alive. There is one only where a lease needs it."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Protocol

from keyhinge import ClosedError
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._lease import Lease

__all__ = ["Renewal"]

_SHARE = 2 / 3
_JITTER = 0.1
# "A few moments" before the end: a tenth of the lease, and no more than this many seconds.
# Not less than the second one either: servers count some tokens' time in whole seconds.
_LONGEST_MARGIN = 30.0
_SHORTEST_MARGIN = 1.5
_SHORTEST_PAUSE = 0.2
_LONGEST_RETRY = 15.0


class Keeper(Protocol):
    """What the thread needs of a session."""

    def renew(self, lease: Lease) -> float:
        """Renew a token; give the seconds that it was renewed for."""

    def log_in_anew(self, lease: Lease) -> None:
        """Get another token in its place."""

    def is_current(self, lease: Lease) -> bool:
        """Whether it is still the one in use."""

    def say(self, event: str, level: int, text: str) -> None:
        """Log something."""

    @property
    def credentials(self) -> CanLogIn:
        """Whether logging in is possible."""


class CanLogIn(Protocol):
    """Says whether logging in is possible."""

    logs_in: bool


class Renewal:
    """Renews one lease until it can't be renewed, then logs in anew shortly before its end.

    Args:
        keeper: Does it.
        lease: The token to keep.
        clock: Monotonic seconds.
    """

    def __init__(self, keeper: Keeper, lease: Lease, clock: Callable[[], float]) -> None:
        self._keeper = keeper
        self._lease = lease
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="keyhinge-vault-renewal", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting for it: it may be the caller itself, or wait for a dead server."""
        self._stopping.set()

    def _run(self) -> None:
        lease, wanted = self._lease, self._lease.ttl
        pause = self._pause(wanted)
        while not self._stopping.wait(pause) and self._keeper.is_current(lease):
            left = lease.left(self._clock())
            if left is None:
                return
            try:
                if lease.renewable and left > 0:
                    wanted = self._renewed(wanted)
                    pause = self._pause(wanted)
                    continue
                if not self._keeper.credentials.logs_in:
                    return  # whoever uses it next is told, and warned
                self._keeper.log_in_anew(lease)
            except ClosedError:
                return
            except ServiceError as error:
                if self._stopping.is_set():
                    return  # cut off by a close, or somebody has got another token meanwhile
                if error.kind in {"denied", "token-gone", "not-renewable"}:
                    lease.renewable = False
                text = f"keeping the token failed: {error}"
                self._keeper.say("renewal_failed", logging.WARNING, text)
                pause = self._again(lease)
            else:
                return  # the new token has a thread of its own, if it needs one

    def _renewed(self, wanted: float) -> float:
        """Renew; give how long a full renewal is, as far as it is known by now.

        A token that was looked up near its end was renewed for longer than what it had left.
        """
        got = self._keeper.renew(self._lease)
        self._keeper.say("renewed", logging.DEBUG, f"renewed the token for {round(got)} s")
        if got < wanted * 0.9:
            # Less than before: it has met its last end, and renewing can't move that.
            self._lease.renewable = False
        return max(wanted, got)

    def _pause(self, ttl: float) -> float:
        """Give the seconds until the next step."""
        left = self._lease.left(self._clock())
        if left is None:
            return _LONGEST_RETRY
        if self._lease.renewable:
            jitter = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - no secret
            return max(_SHORTEST_PAUSE, min(left, ttl) * _SHARE * jitter)
        margin = min(_LONGEST_MARGIN, max(_SHORTEST_MARGIN, ttl / 10), left / 2)
        return max(_SHORTEST_PAUSE, left - margin)

    def _again(self, lease: Lease) -> float:
        """Give the seconds until a failed step is tried again."""
        left = max(0.0, lease.left(self._clock()) or 0.0)
        spread = random.uniform(0.5, 1)  # noqa: S311 - no secret
        return max(_SHORTEST_PAUSE, min(_LONGEST_RETRY, left / 3) * spread)
