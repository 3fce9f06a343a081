"""A session: requests with a token that is there when it is needed.

It logs in once however many threads wait, finds out on a 403 whether the token or the policy is to
blame, and notices a token file that changed. `_renewal` keeps the token alive meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

from keyhinge import ClosedError
from keyhinge_vault._answer import Answer
from keyhinge_vault._auth import Credentials
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._http import Connection
from keyhinge_vault._lease import Lease, lease_of
from keyhinge_vault._names import api_path
from keyhinge_vault._renewal import Renewal
from keyhinge_vault._retry import Patience
from keyhinge_vault._single import SingleFlight

__all__ = ["Session"]

log = logging.getLogger("keyhinge.vault")

_LOOKUP = api_path("auth/token", "lookup-self")
_RENEW = api_path("auth/token", "renew-self")
_REVOKE = api_path("auth/token", "revoke-self")
_GOODBYE_SECONDS = 2.0
# Where no look-up can tell, a denied request may cost a login: not more often than this.
_BLIND_LOGIN_SECONDS = 60.0
_WARN_SECONDS = 3600.0
# Logging in, and a look at what that gave.
_LOGIN_REQUESTS = 2


class _Asked(NamedTuple):
    """What is asked with a token; not shown, since the body may hold plaintexts.

    Attributes:
        again: Whether it is tried again here.
        seconds: What it may take where it isn't; as long as any request if None.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    accept: Collection[int] = ()
    again: bool = True
    seconds: float | None = None

    def __repr__(self) -> str:
        return "<Asked>"


class Session:
    """Sends requests with a token, from any thread.

    Args:
        connection: Sends them.
        credentials: What to log in with.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        connection: Connection,
        credentials: Credentials,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection
        self.credentials = credentials
        self._clock = clock
        self._closed = False
        self._start_anew()

    def _start_anew(self) -> None:
        self._single: SingleFlight[Lease] = SingleFlight(self._clock)
        self._closing = threading.Event()
        self._lease: Lease | None = None
        self._may_look: bool | None = None
        self._blind_login = -_BLIND_LOGIN_SECONDS
        self._renewal: Renewal | None = None
        # Last: whoever sees it finds nothing of the parent's any more.
        self._pid = os.getpid()

    # Requests

    def patience(self) -> Patience:
        """Give the bound in time for one call of the provider."""
        self._after_fork()  # the event that ends pauses is this process's own
        return Patience(self.connection.server.retry_for, sleep=self._closing.wait)

    def longest(self, patience: Patience, requests: int) -> float:
        """Give the seconds after which another thread's work isn't waited for any more.

        Args:
            patience: Of whoever waits.
            requests: How many the other one sends, if there is no trouble.
        """
        return patience.left + requests * self.connection.server.timeout

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        patience: Patience | None = None,
        accept: Collection[int] = (),
        again: bool = True,
        timeout: float | None = None,
    ) -> Answer:
        """Send a request with the token.

        Args:
            method: The HTTP method.
            path: What `api_path` made.
            json: The body.
            patience: The bound in time; one of its own if None.
            accept: Statuses of 400 and more that are answers too.
            again: Whether to try it again here; if not, the caller does, with what belongs to it.
            timeout: The seconds that this one attempt may take, if it isn't tried again here.

        Raises:
            ServiceError: It failed. "denied" means that the token is good and the policy isn't.
            ClosedError: The session was closed.
        """
        patience = self.patience() if patience is None else patience
        asked = _Asked(method, path, json, accept, again, timeout)
        denied = None
        try:
            lease = self._usable(patience)
            try:
                return self._send(lease, asked, patience)
            except ServiceError as error:
                if error.kind != "denied":
                    raise error.with_traceback(None) from None
                denied = error
            lease = self._after_denial(lease, denied, patience)
            return self._send(lease, asked, patience)
        finally:
            del json, asked, denied

    def _send(self, lease: Lease, asked: _Asked, patience: Patience) -> Answer:
        attempt = partial(self._attempt, asked, lease.token)
        try:
            return patience.call(attempt) if asked.again else attempt(asked.seconds)
        finally:
            # The traceback of an error keeps this frame.
            del asked, attempt

    def _attempt(self, asked: _Asked, token: str | None, seconds: float | None) -> Answer:
        try:
            return self.connection.request(
                asked.method,
                asked.path,
                json=asked.json,
                token=token,
                accept=asked.accept,
                timeout=seconds,
            )
        finally:
            del asked, token

    def _after_denial(self, lease: Lease, denied: ServiceError, patience: Patience) -> Lease:
        """Give another token to try with, or raise what the denial means."""
        if lease.token is None:
            raise denied.with_traceback(None)
        current = self._lease
        if current is not None and current is not lease:
            return self._usable(patience)  # another thread has been here already
        valid = self._is_valid(lease, patience)
        if valid:
            raise denied.with_traceback(None)
        if not self.credentials.logs_in:
            fresh = self.credentials.token()
            if fresh != lease.token:
                self._replace(lease, patience)
                return self._usable(patience)
            if valid is None:
                raise denied.with_traceback(None)  # nobody can tell, and its message says both
            self.say("token_gone", logging.ERROR, "the token is no longer valid")
            raise ServiceError("token-gone", status=denied.status)
        if valid is None:
            # Nobody can tell whether it is the policy: log in anew, but not each time.
            now = self._clock()
            if self._may_look is False and now - self._blind_login < _BLIND_LOGIN_SECONDS:
                raise denied.with_traceback(None)
            self._blind_login = now
        gone = "is" if valid is False else "may be"
        self.say("token_gone", logging.WARNING, f"the token {gone} no longer valid: logging in")
        self._replace(lease, patience, learning=True)
        return self._usable(patience)

    def _is_valid(self, lease: Lease, patience: Patience) -> bool | None:
        """Ask the server whether a token is good; None where it may not be asked."""
        lease.use()
        try:
            self._send(lease, _Asked("GET", _LOOKUP), patience)
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
        else:
            self._may_look = True
            return True
        # A token that could be looked up once, or whose like could be, and can't be now, is gone.
        could = self._may_look if self.credentials.logs_in else lease.known
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
            self.say("lookup_denied", logging.INFO, text)

    # The token

    def _usable(self, patience: Patience) -> Lease:
        """Give a token that is good as far as anybody here can tell."""
        self._after_fork()
        self._check_open()
        while True:
            lease = self._lease
            if lease is None:
                lease = self._replace(None, patience)
            elif not self.credentials.logs_in:
                lease = self._watched(lease, patience)
            elif lease.ended(self._clock()):
                lease = self._replace(lease, patience)
            if lease.use() or not self.credentials.logs_in:
                return lease
            # Used up, perhaps by other threads that waited for it, too.
            self._replace(lease, patience)

    def _after_fork(self) -> None:
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
            return self._replace(lease, patience)
        left = lease.left(self._clock())
        ending = left is not None and left < max(_WARN_SECONDS, lease.ttl / 10)
        if ending and not lease.warned and not lease.renewable:
            lease.warned = True
            text = f"the token ends in {max(0, round(left or 0))} s, and nothing here can renew it"
            self.say("token_ending", logging.WARNING, text)
        return lease

    def _replace(self, old: Lease | None, patience: Patience, *, learning: bool = False) -> Lease:
        """Get another token than `old`: one thread does, the others take what it got."""

        def another() -> Lease | None:
            return None if self._lease is old else self._lease

        def obtain() -> Lease:
            self._check_open()
            lease = self._obtain(patience)
            if learning:
                self._learn(lease, patience)
            if self._closed:
                self._give_back(lease)
            self._check_open()
            self._lease = lease
            self._keep_alive(lease)
            return lease

        return self._single.run(another, obtain, self.longest(patience, _LOGIN_REQUESTS))

    def _obtain(self, patience: Patience) -> Lease:
        if self.credentials.logs_in:
            return self._log_in(patience)
        token = self.credentials.token()
        if token is None:
            return Lease(None)
        return self._look_up(token, patience)

    def _log_in(self, patience: Patience) -> Lease:
        login = self.credentials.login()
        now = self._clock()
        error = lease = answer = None
        attempt = partial(self._attempt, _Asked("POST", login.path, login.body), None)
        try:
            try:
                answer = patience.call(attempt)
            except ServiceError as failure:
                error = _refused(failure)
            else:
                lease = lease_of(answer.auth, now, made_here=True)
            if lease is not None:
                self.say("login", logging.INFO, f"logged in ({self.credentials.method})")
                return lease
            error = error or ServiceError("answer")
            error.request = f"update on {login.path}"
            self.say("login_failed", logging.WARNING, f"logging in failed: {error}")
            raise error
        finally:
            del login, attempt, answer, lease, error

    def _look_up(self, token: str, patience: Patience) -> Lease:
        """Make a lease of a token that is given, as far as the server tells about it."""
        now = self._clock()
        lease = Lease(token, now=now, known=False)
        try:
            answer = self._send(lease, _Asked("GET", _LOOKUP), patience)
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            # No right to look itself up, or no good token: its first use will tell.
            self.say("lookup_denied", logging.INFO, "the token may not look itself up")
            return lease
        return lease_of(answer.data, now, token, made_here=False) or lease

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
        answer = self._send(lease, _Asked("POST", _RENEW, {}), self.patience())
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
        self._replace(lease, self.patience())

    def is_current(self, lease: Lease) -> bool:
        """Whether requests go with this token now."""
        return self._lease is lease and not self._closed

    # For check

    def look(self) -> tuple[Lease, dict[str, Any] | None]:
        """Give the token's lease, and what the server says of it; None where it may not.

        Raises:
            ServiceError: There is no token, or the server doesn't answer.
        """
        patience = self.patience()
        lease = self._usable(patience)
        if lease.token is None:
            return lease, None
        try:
            found = self.request("GET", _LOOKUP, patience=patience)
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            return self._lease or lease, None
        # Neither the token nor what could revoke it goes any further.
        shown = {k: v for k, v in found.data.items() if k not in {"id", "accessor"}}
        return self._lease or lease, shown

    def close(self) -> None:
        """Give back the token that was logged in for, and end. May be called more than once."""
        self._after_fork()
        self._closed = True
        self._closing.set()
        # A login under way gives back by itself what it gets, while there still is a connection.
        self._single.wait(_GOODBYE_SECONDS)
        lease, self._lease = self._lease, None
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.stop()
        if lease is not None:
            self._give_back(lease)
        self.connection.close()

    def _give_back(self, lease: Lease) -> None:
        ours = lease.made_here and not lease.batch and lease.pid == os.getpid()
        if not ours or lease.ended(self._clock()):
            return
        try:
            self.connection.request(
                "POST", _REVOKE, json={}, token=lease.token, timeout=_GOODBYE_SECONDS
            )
        except (ServiceError, ClosedError) as error:
            self.say("revoke_failed", logging.INFO, f"the token wasn't given back: {error}")
        else:
            self.say("revoked", logging.INFO, "gave the token back")

    def say(self, event: str, level: int, text: str) -> None:
        """Log something of this section."""
        section = self.connection.server.section
        extra = {"event": f"keyhinge.vault.{event}", "section": section}
        log.log(level, "section %s: %s", section, text, extra=extra)

    def __repr__(self) -> str:
        return f"<Session of section {self.connection.server.section}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Session holds a token and can't be pickled or copied"
        raise TypeError(msg)


_REFUSED_LOGINS = frozenset(
    {"denied", "bad-request", "no-key", "ciphertext", "too-old", "no-version", "needs-context"}
)


def _refused(error: ServiceError) -> ServiceError:
    """Say of a refused login that it was one; the servers do it with several statuses."""
    # A login has no ciphertext and no key: whatever its refusal reads like, it isn't about those.
    if error.kind in _REFUSED_LOGINS:
        return ServiceError("bad-login", status=error.status, request_id=error.failure.request_id)
    return error.with_traceback(None)
