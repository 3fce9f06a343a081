"""A token and what is known of its time."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["Lease", "lease_of"]


class Lease:
    """A token as this process has it. It isn't shown, pickled or copied.

    Attributes:
        token: The token; None where none is sent.
        ttl: Seconds that it was given for; 0 where it doesn't end, or where that isn't known.
        expires: When it ends, by the session's clock; None where it doesn't.
        renewable: Whether the server said that it can be renewed.
        known: Whether the server told its time at all.
        made_here: Whether this process logged in for it, so that it may revoke it.
        batch: Whether it is a batch token, which can't be revoked.
    """

    __slots__ = (
        "_lock",
        "_uses",
        "batch",
        "expires",
        "known",
        "made_here",
        "pid",
        "renewable",
        "since",
        "token",
        "ttl",
        "warned",
    )

    def __init__(
        self,
        token: str | None,
        *,
        now: float = 0.0,
        ttl: float = 0.0,
        renewable: bool = False,
        known: bool = True,
        uses: int = 0,
        batch: bool = False,
        made_here: bool = False,
    ) -> None:
        self.token = token
        self.since = now
        self.ttl = ttl
        self.expires = now + ttl if ttl > 0 else None
        self.renewable = renewable and ttl > 0
        self.known = known
        self.made_here = made_here
        self.batch = batch
        self.warned = False
        self.pid = os.getpid()
        # 0 means without a limit, as the servers have it.
        self._uses = uses or None
        self._lock = threading.Lock()

    def left(self, now: float) -> float | None:
        """Give the seconds until it ends; None where it doesn't."""
        return None if self.expires is None else self.expires - now

    def ended(self, now: float) -> bool:
        """Whether it has ended by now."""
        return self.expires is not None and now >= self.expires

    def use(self) -> bool:
        """Count a use; False if there was none left. The server forgets a token with its last."""
        if self._uses is None:
            return True
        with self._lock:
            if self._uses < 1:
                return False
            self._uses -= 1
            return True

    @property
    def uses(self) -> int | None:
        """How many uses are left; None where they aren't limited."""
        return self._uses

    def renewed(self, now: float, ttl: float, *, renewable: bool) -> None:
        """Note that the server renewed it."""
        self.expires = now + ttl if ttl > 0 else None
        self.renewable = renewable

    def __repr__(self) -> str:
        return "<Lease>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Lease holds a token and can't be pickled or copied"
        raise TypeError(msg)


def lease_of(
    auth: Mapping[str, Any], now: float, token: str | None = None, *, made_here: bool
) -> Lease | None:
    """Read what a login or a look-up says of a token; None if it says nothing that makes sense.

    Args:
        auth: A login's `auth`, or the `data` of a look-up.
        now: The session's clock, from before it was asked.
        token: The token that was looked up; None after a login, whose answer holds it.
        made_here: Whether it was a login.
    """
    found = auth.get("client_token") if token is None else token
    if not isinstance(found, str) or not found or not found.isascii() or not found.isprintable():
        return None
    return Lease(
        found,
        now=now,
        ttl=_number(auth.get("lease_duration", auth.get("ttl"))),
        renewable=auth.get("renewable") is True,
        uses=int(_number(auth.get("num_uses"))),
        batch=auth.get("token_type", auth.get("type")) == "batch",
        made_here=made_here,
    )


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1 << 40:
        return 0.0
    return float(found)
