"""A session: requests with a token that is there when it is needed.

`_tokens` has the token: it logs in once however many threads wait, notices a token file that
changed, and `_renewal` keeps the token alive meanwhile. `_denials` finds out on a 403 whether the
token or the policy is to blame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from keyhinge_vault._answer import Answer
from keyhinge_vault._asking import Asked, Asking
from keyhinge_vault._auth import Credentials
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._http import Connection
from keyhinge_vault._lease import Lease
from keyhinge_vault._login import LOOKUP
from keyhinge_vault._retry import Patience
from keyhinge_vault._tokens import Tokens

__all__ = ["Session"]


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
        self._asking = Asking(connection)
        self._tokens = Tokens(self._asking, credentials, clock)

    def patience(self) -> Patience:
        """Give the bound in time for one call of the provider."""
        return self._tokens.patience()

    def longest(self, patience: Patience, requests: int) -> float:
        """Give the seconds after which another thread's work isn't waited for any more.

        Args:
            patience: Of whoever waits.
            requests: How many the other one sends, if there is no trouble.
        """
        return self._asking.longest(patience, requests)

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
        asked = Asked(method, path, json, accept, again, timeout)
        denied = None
        try:
            lease = self._tokens.usable(patience)
            try:
                return self._asking.send(lease.token, asked, patience)
            except ServiceError as error:
                if error.kind != "denied":
                    raise error.with_traceback(None) from None
                denied = error
            lease = self._tokens.after_denial(lease, denied, patience)
            return self._asking.send(lease.token, asked, patience)
        finally:
            del json, asked, denied

    def look(self) -> tuple[Lease, dict[str, Any] | None]:
        """Give the token's lease, and what the server says of it; None where it may not.

        Raises:
            ServiceError: There is no token, or the server doesn't answer.
        """
        patience = self.patience()
        lease = self._tokens.usable(patience)
        if lease.token is None:
            return lease, None
        try:
            found = self.request(LOOKUP.method, LOOKUP.path, patience=patience)
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            return self._tokens.lease or lease, None
        # Neither the token nor what could revoke it goes any further.
        shown = {k: v for k, v in found.data.items() if k not in {"id", "accessor"}}
        return self._tokens.lease or lease, shown

    def close(self) -> None:
        """Give back the token that was logged in for, and end. May be called more than once."""
        self._tokens.close()
        self.connection.close()

    def __repr__(self) -> str:
        return f"<Session of section {self.connection.server.section}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Session holds a token and can't be pickled or copied"
        raise TypeError(msg)
