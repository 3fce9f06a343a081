"""A key service in memory that does what a test tells it to."""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections import Counter
from typing import Literal, NoReturn

from keyhinge import (
    AccessDeniedError,
    KeyRef,
    KeyUnavailableError,
    ThrottledError,
    UnavailableError,
)

__all__ = ["FakeService", "Wanted"]

Wanted = Literal["encrypt", "decrypt", "rewrap"]


class FakeService:
    """A key service for tests of applications: it encrypts for real, and fails when told to.

    For tests only: its key is made anew each time and is gone when the process ends. What was
    told stays in force until `recover`. It may be told from any thread.

    Attributes:
        calls: How often each operation was asked for, also where it failed: "encrypt", "decrypt",
            "rewrap", "encrypt_many", "decrypt_many", "rewrap_many". A batch is one call.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._key_id = f"fake-{secrets.token_hex(4)}"
        self._keys = {"1": secrets.token_bytes(32)}
        self._error: Exception | None = None
        self._throttled: float = 0
        self._until = 0.0
        self._delay = 0.0
        self._lost = False
        self._denied: frozenset[str] = frozenset()

    # For tests

    def fail(self, error: Exception | type[Exception] = UnavailableError) -> None:
        """Answer every call with an error.

        Args:
            error: The error, or its class. By default the service is down.
        """
        if isinstance(error, type):
            error = error("the fake key service was told to fail")
        self._error = error

    def throttle(self, calls: int | None = None, *, seconds: float | None = None) -> None:
        """Answer calls with a `ThrottledError`.

        Args:
            calls: For so many calls.
            seconds: Or for so long. With neither, until `recover`.
        """
        self._throttled = float("inf") if calls is None else calls
        self._until = float("inf") if seconds is None else time.monotonic() + seconds

    def delay(self, seconds: float) -> None:
        """Take some time for each call.

        Args:
            seconds: How long.
        """
        self._delay = seconds

    def lose_key(self) -> None:
        """Answer calls with a `KeyUnavailableError`, as if the key had been deleted."""
        self._lost = True

    def deny(self, *operations: Wanted) -> None:
        """Answer calls with an `AccessDeniedError`.

        Args:
            operations: Which; all if none is named. Batches are of the same operation.
        """
        self._denied = frozenset(operations or ("encrypt", "decrypt", "rewrap"))

    def recover(self) -> None:
        """Work again, with the key that was there. The counts stay."""
        self._error = None
        self._throttled = self._until = self._delay = 0
        self._lost = False
        self._denied = frozenset()

    def rotate(self) -> None:
        """Make a new version of the key: older values open still, and are stale."""
        with self._lock:
            self._keys[str(len(self._keys) + 1)] = secrets.token_bytes(32)

    @property
    def current_key(self) -> KeyRef:
        """The key and version that encrypt now."""
        with self._lock:  # a version that is added meanwhile would end the look at the last one
            return KeyRef(self._key_id, next(reversed(self._keys)))

    # For its provider

    def ask(self, call: str) -> None:
        """Count a call, and do what was told: wait, raise, or nothing."""
        with self._lock:
            self.calls[call] += 1
        if self._delay:
            time.sleep(self._delay)
        if self._error is not None:
            # Another one each time: what is raised again and again collects tracebacks.
            raise copy.copy(self._error)
        with self._lock:
            throttled = self._throttled > 0 and time.monotonic() < self._until
            self._throttled -= throttled
        if throttled:
            raise ThrottledError("the fake key service was told to throttle")
        if call.removesuffix("_many") in self._denied:
            raise AccessDeniedError(f"the fake key service was told to deny {call}")
        if self._lost:
            raise KeyUnavailableError("the fake key service was told to lose its key")

    def key(self, key: KeyRef) -> bytes | None:
        """Give a version of the key; None if it never had it."""
        return self._keys.get(key.version) if key.key_id == self._key_id else None

    def __repr__(self) -> str:
        return f"<FakeService {self._key_id}, {sum(self.calls.values())} calls>"

    def __reduce__(self) -> NoReturn:
        msg = "a FakeService can't be copied: what is told to one wouldn't reach the other"
        raise TypeError(msg)
