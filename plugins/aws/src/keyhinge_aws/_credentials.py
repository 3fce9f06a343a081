"""Credentials that botocore's own classes don't give: secrets in files, and a role.

Both are subclasses of botocore's public `Credentials` and answer `get_frozen_credentials`, which
its signer asks once for each request. botocore's own `AssumeRoleCredentialFetcher` and
`RefreshableCredentials` aren't used for the role: they are undocumented, they make their STS
client with botocore's time-outs of a minute, and for the last ten minutes of a role's hour they
refuse to go on with credentials that are still good, so that an outage of STS would stop KMS.

This module imports botocore: only import it inside functions that run at the first operation.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NoReturn

from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
)
from botocore.exceptions import NoCredentialsError

from keyhinge import Secret
from keyhinge_aws._errors import make
from keyhinge_aws._meanings import EXPIRED, INCOMPLETE

_log = logging.getLogger("keyhinge.aws")

RENEW_SECONDS = 300.0
"""How long before its end a role is assumed again, or a third of its life if that is less."""
RETRY_SECONDS = 15.0
"""How long to wait after a failure before it is tried again, while the old ones are good."""


class _Sealed(Credentials):
    """Credentials that aren't shown, copied or pickled, and have no attributes to set."""

    method = ""
    account_id = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, hidden>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = f"{type(self).__name__} holds credentials and can't be copied or pickled"
        raise TypeError(msg)

    # botocore's attributes, for whatever looks at them instead of a frozen set.
    @property
    def access_key(self) -> str | None:  # type: ignore[override]
        """The access key's id."""
        return self.get_frozen_credentials().access_key

    @property
    def secret_key(self) -> str | None:  # type: ignore[override]
        """The secret access key."""
        return self.get_frozen_credentials().secret_key

    @property
    def token(self) -> str | None:  # type: ignore[override]
        """The session token."""
        return self.get_frozen_credentials().token


class SecretCredentials(_Sealed):
    """Explicit keys, read again from their files whenever those change."""

    method = "explicit"

    def __init__(self, access_key: Secret, secret_key: Secret, token: Secret | None) -> None:
        self._secrets = (access_key, secret_key, token)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Give the keys as they are now."""
        found = self._read()
        for _ in range(3):
            # Several files: what was read while they were being replaced doesn't belong together.
            again = self._read()
            if again == found:
                break
            found = again
        return ReadOnlyCredentials(*found)

    def _read(self) -> tuple[str, str, str | None]:
        access_key, secret_key, token = self._secrets
        return access_key.reveal(), secret_key.reveal(), token.reveal() if token else None


class RoleCredentials(_Sealed):
    """A role's temporary credentials, assumed anew some minutes before they end.

    One thread at a time asks; the others go on with what there is, as long as it is good. Where
    asking fails, so does the asking thread: until the end, it goes on with what there is.

    Args:
        assume: Calls STS and gives its answer.
        clock: Gives the seconds since 1970.
    """

    method = "assume-role"

    def __init__(
        self, assume: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.time
    ) -> None:
        self._assume = assume
        self._clock = clock
        self._lock = threading.Lock()
        self._made: ReadOnlyCredentials | None = None
        self.expires = 0.0
        self._renew_at = 0.0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Give credentials that are good now."""
        made, now = self._made, self._clock()
        if made is not None and now < self._renew_at:
            return made
        good = made is not None and now < self.expires
        if not self._lock.acquire(blocking=not good):
            assert made is not None  # noqa: S101 - that is what `good` says
            return made  # another thread is asking
        try:
            return self._renewed()
        finally:
            self._lock.release()

    def _renewed(self) -> ReadOnlyCredentials:
        made, now = self._made, self._clock()
        if made is not None and now < self._renew_at:
            return made  # another thread asked while this one waited
        try:
            self._take(self._assume(), now)
        except Exception as failure:
            if made is None or now >= self.expires:
                raise
            self._renew_at = now + RETRY_SECONDS
            _log.warning(
                "assuming the role again failed (%s); its credentials are good for %d s more",
                type(failure).__name__,
                self.expires - now,
                extra={"event": "keyhinge.aws.role_renewal_failed"},
            )
            return made
        assert self._made is not None  # noqa: S101 - _take sets it, or raises
        return self._made

    def _take(self, answer: dict[str, Any], now: float) -> None:
        found = answer.get("Credentials")
        found = found if isinstance(found, dict) else {}
        keys = [found.get(name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        end = found.get("Expiration")
        if not isinstance(end, datetime) or not all(isinstance(key, str) and key for key in keys):
            raise make(INCOMPLETE, "sts:AssumeRole")
        if end.tzinfo is None:
            end = end.replace(tzinfo=timezone.utc)
        life = end.timestamp() - now
        if life <= 0:
            raise make(EXPIRED, "sts:AssumeRole")
        self._renew_at = now + life - min(RENEW_SECONDS, life / 3)
        self.expires = end.timestamp()
        self._made = ReadOnlyCredentials(*keys)
        _log.info("assumed the role for %d s", life, extra={"event": "keyhinge.aws.role_assumed"})


class _Fixed(CredentialProvider):
    """A link of botocore's chain that has its credentials already."""

    METHOD = CANONICAL_NAME = "keyhinge"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        """Give them."""
        return self._credentials


def use(session: Any, credentials: Credentials) -> None:
    """Make a botocore session use these credentials instead of its chain."""
    session.register_component("credential_provider", CredentialResolver([_Fixed(credentials)]))


def found(session: Any) -> Credentials:
    """Give the credentials that a botocore session finds.

    Raises:
        NoCredentialsError: There are none.
    """
    credentials: Credentials | None = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    return credentials
