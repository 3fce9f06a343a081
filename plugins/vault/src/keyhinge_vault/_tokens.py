"""The token in use: had when it is needed, watched or kept alive, given back at the end."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import NoReturn

from keyhinge import ClosedError
from keyhinge_vault._asking import Asked, Asking
from keyhinge_vault._auth import Credentials
from keyhinge_vault._denials import Denials
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._lease import Lease, lease_of
from keyhinge_vault._login import GOODBYE_SECONDS, Logins
from keyhinge_vault._names import api_path
from keyhinge_vault._renewal import Renewal
from keyhinge_vault._retry import Patience
from keyhinge_vault._single import SingleFlight

__all__ = ["Tokens"]

_RENEW = Asked("POST", api_path("auth/token", "renew-self"), {})
_WARN_SECONDS = 3600.0
# Logging in, and a look at what that gave.
_LOGIN_REQUESTS = 2


class Tokens:
    """Holds the token of this process, for any thread.

    Args:
        asking: Sends requests.
        credentials: What to log in with.
        clock: Monotonic seconds.

    Attributes:
        lease: The token in use; None where there is none (yet).
    """

    def __init__(
        self, asking: Asking, credentials: Credentials, clock: Callable[[], float]
    ) -> None:
        self.credentials = credentials
        self._asking = asking
        self._logins = Logins(asking, credentials, clock)
        self._clock = clock
        self._closed = False
        self._start_anew()

    def _start_anew(self) -> None:
        self._single: SingleFlight[Lease] = SingleFlight(self._clock)
        self._closing = threading.Event()
        self.lease: Lease | None = None
        self._denials = Denials(self._asking, self.credentials, self._clock)
        self._renewal: Renewal | None = None
        # Last: whoever sees it finds nothing of the parent's any more.
        self._pid = os.getpid()

    def patience(self) -> Patience:
        """Give the bound in time for one call of the provider."""
        self.after_fork()  # the event that ends pauses is this process's own
        return Patience(self._asking.connection.server.retry_for, sleep=self._closing.wait)

    def usable(self, patience: Patience) -> Lease:
        """Give a token that is good as far as anybody here can tell.

        Args:
            patience: The caller's bound in time.

        Raises:
            ServiceError: There is none to be had.
            ClosedError: The session was closed.
        """
        self.after_fork()
        self._check_open()
        while True:
            lease = self.lease
            if lease is None:
                lease = self.replace(None, patience)
            elif not self.credentials.logs_in:
                lease = self._watched(lease, patience)
            elif lease.ended(self._clock()):
                lease = self.replace(lease, patience)
            if lease.use() or not self.credentials.logs_in:
                return lease
            # Used up, perhaps by other threads that waited for it, too.
            self.replace(lease, patience)

    def after_denial(self, lease: Lease, denied: ServiceError, patience: Patience) -> Lease:
        """Give another token to try with, or raise what the denial of this one means.

        Raises:
            ServiceError: It is the policy, or no other token is to be had.
        """
        return self._denials.another(self, lease, denied, patience)

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        if self._pid != os.getpid():
            # The parent's token is the parent's: neither used nor revoked here.
            self._start_anew()

    def _check_open(self) -> None:
        if self._closed:
            msg = "the provider was closed"
            raise ClosedError(msg)

    def _watched(self, lease: Lease, patience: Patience) -> Lease:
        """Look at a token that somebody else keeps: another one, or one that ends soon?"""
        try:
            changed = self.credentials.token() != lease.token
        except ServiceError as error:
            # It may be in the middle of being replaced; the one at hand is still good.
            if lease.ended(self._clock()):
                raise error.with_traceback(None) from None
            changed = False
        if changed:
            self.say("token_changed", logging.INFO, "another token is given: using it")
            return self.replace(lease, patience)
        left = lease.left(self._clock())
        ending = left is not None and left < max(_WARN_SECONDS, lease.ttl / 10)
        if ending and not lease.warned and not lease.renewable:
            lease.warned = True
            text = f"the token ends in {max(0, round(left or 0))} s, and nothing here can renew it"
            self.say("token_ending", logging.WARNING, text)
        return lease

    def replace(
        self, old: Lease | None, patience: Patience, then: Callable[[Lease], None] | None = None
    ) -> Lease:
        """Get another token than `old`: one thread does, the others take what it got.

        Args:
            old: The token that isn't good any more; None if there was none.
            patience: The caller's bound in time.
            then: Called with the new token before anybody uses it.

        Raises:
            ServiceError: There is none to be had.
            ClosedError: The session was closed.
        """

        def another() -> Lease | None:
            return None if self.lease is old else self.lease

        def obtain() -> Lease:
            self._check_open()
            lease = self._logins.obtain(patience)
            if then is not None:
                then(lease)
            if self._closed:
                self._logins.give_back(lease)
            self._check_open()
            self.lease = lease
            self._keep_alive(lease)
            return lease

        return self._single.run(another, obtain, self._asking.longest(patience, _LOGIN_REQUESTS))

    # Keeping it alive

    def _keep_alive(self, lease: Lease) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        if lease.expires is None or not (lease.renewable or self.credentials.logs_in):
            return  # it needs nobody, or nobody can help
        renewal = Renewal(self, lease, self._clock)
        try:
            renewal.start()
        except RuntimeError:
            # No thread is to be had. The login is good all the same, and its end brings another.
            text = "no thread can be started that renews the token; its end brings another login"
            self.say("no_renewal", logging.WARNING, text)
            return
        self._renewal = renewal

    def renew(self, lease: Lease) -> float:
        """Renew a token; for the renewal's thread.

        Returns:
            For how many seconds it was renewed.

        Raises:
            ServiceError: It wasn't.
        """
        lease.use()
        now = self._clock()
        answer = self._asking.send(lease.token, _RENEW, self.patience())
        again = lease_of({**answer.auth, "client_token": lease.token}, now, made_here=True)
        if again is None or again.ttl <= 0:
            raise ServiceError("answer", status=answer.status)
        lease.renewed(now, again.ttl, renewable=again.renewable)
        return again.ttl

    def log_in_anew(self, lease: Lease) -> None:
        """Get another token in place of one that ends; for the renewal's thread.

        Raises:
            ServiceError: It didn't work.
        """
        self.replace(lease, self.patience())

    def is_current(self, lease: Lease) -> bool:
        """Whether requests go with this token now."""
        return self.lease is lease and not self._closed

    def close(self) -> None:
        """Give back the token that was logged in for, and give out no more."""
        self.after_fork()
        self._closed = True
        self._closing.set()
        # A login under way gives back by itself what it gets, while there still is a connection.
        self._single.wait(GOODBYE_SECONDS)
        lease, self.lease = self.lease, None
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        if lease is not None:
            self._logins.give_back(lease)

    def say(self, event: str, level: int, text: str) -> None:
        """Log something of this section."""
        self._asking.say(event, level, text)

    def __repr__(self) -> str:
        return f"<Tokens of section {self._asking.connection.server.section}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Tokens holds a token and can't be pickled or copied"
        raise TypeError(msg)
