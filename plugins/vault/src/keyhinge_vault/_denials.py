"""What a 403 means: that the token has ended, or that its policy doesn't allow something."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from keyhinge_vault._asking import Asking
from keyhinge_vault._auth import Credentials
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._lease import Lease
from keyhinge_vault._login import LOOKUP
from keyhinge_vault._retry import Patience

__all__ = ["Denials"]

# Where no look-up can tell, a denied request may cost a login: not more often than this.
_BLIND_LOGIN_SECONDS = 60.0


class Holder(Protocol):
    """What is needed of whoever has the token."""

    @property
    def lease(self) -> Lease | None:
        """The token in use."""

    def usable(self, patience: Patience) -> Lease:
        """Give a token that is good as far as anybody here can tell."""

    def replace(
        self, old: Lease | None, patience: Patience, then: Callable[[Lease], None] | None = None
    ) -> Lease:
        """Get another token than `old`."""


class Denials:
    """Finds out what denials mean; remembers whether tokens may be looked up.

    Args:
        asking: Sends the look-ups.
        credentials: Whether logging in is possible.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        asking: Asking,
        credentials: Credentials,
        clock: Callable[[], float],
    ) -> None:
        self._asking = asking
        self._credentials = credentials
        self._clock = clock
        self._may_look: bool | None = None
        self._blind_login = -_BLIND_LOGIN_SECONDS

    def another(
        self, tokens: Holder, lease: Lease, denied: ServiceError, patience: Patience
    ) -> Lease:
        """Give another token to try with, or raise what the denial means.

        Args:
            tokens: Has the token in use, and gets another one.
            lease: The token that was denied something.
            denied: The denial.
            patience: The caller's bound in time.

        Raises:
            ServiceError: It is the policy, or no other token is to be had.
        """
        if lease.token is None:
            raise denied.with_traceback(None)
        current = tokens.lease
        if current is not None and current is not lease:
            return tokens.usable(patience)  # another thread has been here already
        valid = self._is_valid(lease, patience)
        if valid:
            raise denied.with_traceback(None)
        if not self._credentials.logs_in:
            fresh = self._credentials.token()
            if fresh != lease.token:
                tokens.replace(lease, patience)
                return tokens.usable(patience)
            if valid is None:
                raise denied.with_traceback(None)  # nobody can tell, and its message says both
            self._asking.say("token_gone", logging.ERROR, "the token is no longer valid")
            raise ServiceError("token-gone", status=denied.status)
        if valid is None:
            # Nobody can tell whether it is the policy: log in anew, but not each time.
            now = self._clock()
            if self._may_look is False and now - self._blind_login < _BLIND_LOGIN_SECONDS:
                raise denied.with_traceback(None)
            self._blind_login = now
        gone = "is" if valid is False else "may be"
        text = f"the token {gone} no longer valid: logging in"
        self._asking.say("token_gone", logging.WARNING, text)
        tokens.replace(lease, patience, partial(self._learn, patience=patience))
        return tokens.usable(patience)

    def _is_valid(self, lease: Lease, patience: Patience) -> bool | None:
        """Ask the server whether a token is good; None where it may not be asked."""
        lease.use()
        try:
            self._asking.send(lease.token, LOOKUP, patience)
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
        else:
            self._may_look = True
            return True
        # A token that could be looked up once, or whose like could be, and can't be now, is gone.
        could = self._may_look if self._credentials.logs_in else lease.known
        return False if could else None

    def _learn(self, lease: Lease, patience: Patience) -> None:
        """Find out with a new token whether such tokens may look themselves up."""
        try:
            found = self._is_valid(lease, patience)
        except ServiceError:
            return  # an outage: the next one to ask may learn it
        if found is not True:
            self._may_look = False
            text = "tokens may not look themselves up: a missing right looks like one that ended"
            self._asking.say("lookup_denied", logging.INFO, text)
