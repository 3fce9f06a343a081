"""Getting a token, by logging in or as it is given, and giving it back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from keyhinge import ClosedError
from keyhinge_vault._asking import Asked, Asking
from keyhinge_vault._auth import Credentials
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._lease import Lease, lease_of
from keyhinge_vault._names import api_path
from keyhinge_vault._retry import Patience

__all__ = ["GOODBYE_SECONDS", "LOOKUP", "Logins"]

LOOKUP = Asked("GET", api_path("auth/token", "lookup-self"))
"""Asks what the server says of the token that is sent."""
GOODBYE_SECONDS = 2.0
_REVOKE = api_path("auth/token", "revoke-self")


class Logins:
    """Gets tokens; keeps none.

    Args:
        asking: Sends the requests.
        credentials: What to log in with.
        clock: Monotonic seconds.
    """

    def __init__(
        self, asking: Asking, credentials: Credentials, clock: Callable[[], float]
    ) -> None:
        self._asking = asking
        self._credentials = credentials
        self._clock = clock

    def obtain(self, patience: Patience) -> Lease:
        """Get a token: by logging in, or as it is given.

        Raises:
            ServiceError: There is none to be had.
        """
        if self._credentials.logs_in:
            return self._log_in(patience)
        token = self._credentials.token()
        if token is None:
            return Lease(None)
        return self._look_up(token, patience)

    def _log_in(self, patience: Patience) -> Lease:
        login = self._credentials.login()
        now = self._clock()
        error = lease = answer = asked = None
        try:
            try:
                asked = Asked("POST", login.path, login.body)
                answer = self._asking.send(None, asked, patience)
            except ServiceError as failure:
                error = _refused(failure)
            else:
                lease = lease_of(answer.auth, now, made_here=True)
            if lease is not None:
                self._asking.say("login", logging.INFO, f"logged in ({self._credentials.method})")
                return lease
            error = error or ServiceError("answer")
            error.request = f"update on {login.path}"
            self._asking.say("login_failed", logging.WARNING, f"logging in failed: {error}")
            raise error
        finally:
            del login, asked, answer, lease, error

    def _look_up(self, token: str, patience: Patience) -> Lease:
        """Make a lease of a token that is given, as far as the server tells about it."""
        now = self._clock()
        lease = Lease(token, now=now, known=False)
        try:
            answer = self._asking.send(token, LOOKUP, patience)
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            # No right to look itself up, or no good token: its first use will tell.
            self._asking.say("lookup_denied", logging.INFO, "the token may not look itself up")
            return lease
        return lease_of(answer.data, now, token, made_here=False) or lease

    def give_back(self, lease: Lease) -> None:
        """Revoke a token that this process logged in for; no other."""
        ours = lease.made_here and not lease.batch and lease.pid == os.getpid()
        if not ours or lease.ended(self._clock()):
            return
        try:
            self._asking.connection.request(
                "POST", _REVOKE, json={}, token=lease.token, timeout=GOODBYE_SECONDS
            )
        except (ServiceError, ClosedError) as error:
            self._asking.say("revoke_failed", logging.INFO, f"the token wasn't given back: {error}")
        else:
            self._asking.say("revoked", logging.INFO, "gave the token back")


_REFUSED_LOGINS = frozenset(
    {"denied", "bad-request", "no-key", "ciphertext", "too-old", "no-version", "needs-context"}
)


def _refused(error: ServiceError) -> ServiceError:
    """Say of a refused login that it was one; the servers do it with several statuses."""
    # A login has no ciphertext and no key: whatever its refusal reads like, it isn't about those.
    if error.kind in _REFUSED_LOGINS:
        return ServiceError("bad-login", status=error.status, request_id=error.failure.request_id)
    return error.with_traceback(None)
