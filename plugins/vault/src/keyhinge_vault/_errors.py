"""What the server or the way to it can answer, as a table, and the errors that callers see.

`ServiceError` is internal: it says what kind of failure it was, in our own words, and holds
nothing that came from the server but numbers and the request's id. `operation_error` makes the
public error of it. The texts of the server are matched here and never kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from keyhinge import (
    AccessDeniedError,
    Failure,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    ThrottledError,
    UnavailableError,
)

__all__ = ["KINDS", "Kind", "ServiceError", "classify", "operation_error"]


class Kind(NamedTuple):
    """One kind of failure.

    Attributes:
        error: The public error.
        reason: What goes into `Failure.reason`.
        message: For the operator; `{request}` is what was asked, `{where}` the namespace.
        retry: Whether trying again, in this very call, can help.
        retryable: Whether the same call may succeed later; the error's own default if None.
    """

    error: type[OperationError]
    reason: str
    message: str
    retry: bool = False
    retryable: bool | None = None


KINDS: dict[str, Kind] = {
    # What the server says of the request
    "denied": Kind(
        AccessDeniedError,
        "permission denied",
        "the server denied {request}{where}: the token is no longer valid, or no policy of it "
        "allows this. `mount` and `namespace` have to be right, too",
    ),
    "no-route": Kind(
        KeyUnavailableError,
        "nothing is mounted there",
        "nothing is mounted where {request}{where} went: `mount` or `namespace` is wrong",
    ),
    "missing": Kind(
        KeyUnavailableError,
        "not found",
        "the server has nothing at {request}{where}: the key, or `mount` or `namespace`, is wrong",
    ),
    "no-key": Kind(
        KeyUnavailableError,
        "the key does not exist",
        "there is no such key for {request}{where}: it was deleted, or `keyID`, `mount` or "
        "`namespace` is wrong",
    ),
    "too-old": Kind(
        KeyUnavailableError,
        "the key version is below min_decryption_version",
        "the key's version is too old for {request}{where}: its min_decryption_version forbids it",
    ),
    "no-version": Kind(
        KeyUnavailableError,
        "the key has no such version",
        "the key has no version as it is asked for by {request}{where}: it was trimmed, or the key "
        "was deleted and made anew",
    ),
    "ciphertext": Kind(
        InvalidCiphertextError, "the ciphertext does not open", InvalidCiphertextError.MESSAGE
    ),
    "too-large": Kind(
        OperationError,
        "the request is larger than the server takes",
        "the server takes no request as large as {request}{where}",
    ),
    "needs-context": Kind(
        OperationError,
        "the key is derived and needs a context",
        "the key is a derived one, and {request}{where} came without its context",
    ),
    "not-renewable": Kind(
        AccessDeniedError,
        "the token is not renewable",
        "the server doesn't renew this token ({request}{where})",
    ),
    "bad-login": Kind(
        AccessDeniedError,
        "the login was refused",
        "the server refused the login by {request}{where}: the credentials or the role are wrong",
    ),
    "token-gone": Kind(
        AccessDeniedError,
        "the token is no longer valid",
        "the token is no longer valid: it ended, was revoked, or was never one of this server "
        "({request}{where})",
    ),
    "no-token": Kind(
        AccessDeniedError,
        "no token is given",
        "there is no token: give `token` or `tokenFile`, or the environment's, or another "
        "`authMethod`",
    ),
    "secret-file": Kind(
        AccessDeniedError,
        "a file with a secret cannot be read",
        "the file with the token, password or secret id can't be read, is empty, or holds what "
        "can't be one",
    ),
    "convergent": Kind(
        KeyUnavailableError,
        "the key is convergent",
        "the key of {request}{where} has convergent_encryption: equal secrets would have equal "
        "ciphertexts. Use a key without it",
    ),
    "key-type": Kind(
        KeyUnavailableError,
        "the key is of a type that binds no context",
        "the key of {request}{where} is of a type that can't authenticate a context; make one of "
        "the type aes256-gcm96",
    ),
    "context-ignored": Kind(
        KeyUnavailableError,
        "the server ignores the context",
        "the server ignores the context ({request}{where}): a value opened under another one than "
        "its own. It is too old for associated_data, or the key was made anew as another kind",
    ),
    "key-changed": Kind(
        KeyUnavailableError,
        "the key was made anew meanwhile",
        "the key of {request}{where} was made anew as another kind, and again, while it was used",
        retryable=True,
    ),
    "bad-request": Kind(
        OperationError,
        "the server refused the request",
        "the server refused {request}{where} as a bad request",
    ),
    "unsupported": Kind(
        OperationError,
        "the server does not support the request",
        "the server doesn't support {request}{where}: it is too old, or something else is mounted",
    ),
    # What the server says of itself
    "throttled": Kind(
        ThrottledError,
        "too many requests",
        "the server asks for fewer requests than {request}{where}: a quota is exceeded",
        retry=True,
    ),
    "behind": Kind(
        UnavailableError,
        "the node has not caught up yet",
        "the node that was asked for {request}{where} hasn't caught up with the others yet",
        retry=True,
    ),
    "sealed": Kind(
        UnavailableError,
        "the server is sealed",
        "the server is sealed; it has to be unsealed before {request}{where} can work",
        retry=True,
    ),
    "standby": Kind(
        UnavailableError,
        "the node is a standby",
        "only a standby answered {request}{where}; there is no active node at the moment",
        retry=True,
    ),
    "uninitialized": Kind(
        UnavailableError,
        "the server is not initialized",
        "the server isn't initialized; nobody has set it up yet",
        retry=True,
    ),
    "unavailable": Kind(
        UnavailableError,
        "the server failed",
        "the server, or a proxy before it, failed at {request}{where}",
        retry=True,
    ),
    # The way to it
    "connection": Kind(
        UnavailableError,
        "the connection was refused or broke",
        "there is no connection to the server: it is down, unreachable, or it closes connections "
        "(as a server does that wants a client certificate: `tlsCertificatePath`)",
        retry=True,
    ),
    "name": Kind(
        UnavailableError,
        "the host name could not be resolved",
        "the host of `endpoint` has no address at the moment, or is misspelt",
        retry=True,
    ),
    "timeout": Kind(
        UnavailableError,
        "no answer in time",
        "the server gave no complete answer within `timeout`",
        retry=True,
    ),
    "tls-alert": Kind(
        UnavailableError,
        "the server ended the TLS connection",
        "the server ended the TLS connection: it wants a client certificate that it trusts "
        "(`tlsCertificatePath`, `tlsKeyPath`), or another version of TLS",
    ),
    "tls-untrusted": Kind(
        UnavailableError,
        "the server's certificate is not trusted",
        "the server's certificate isn't trusted for this host: it has ended, it is for other "
        "names, or `tlsCAPath` doesn't hold the CA that signed it",
        retryable=False,
    ),
    "tls-files": Kind(
        UnavailableError,
        "the TLS files cannot be used",
        "the files of `tlsCAPath`, `tlsCertificatePath` or `tlsKeyPath` can't be used: missing, "
        "unreadable, no PEM, encrypted, or certificate and key don't belong together",
        retryable=False,
    ),
    "proxy": Kind(
        UnavailableError,
        "the proxy failed",
        "the proxy of `proxy` can't be reached, or refuses to connect to the server",
        retry=True,
    ),
    "redirect": Kind(
        UnavailableError,
        "a redirect was refused",
        "the server redirected {request}{where} to a place that isn't allowed: only `endpoint` and "
        "the hosts of `allowRedirectTo` are, never from https to http, never to another path, "
        "and only once",
        retryable=False,
    ),
    # Answers that aren't any
    "answer": Kind(
        UnavailableError,
        "the answer is not one of this API",
        "what answered {request}{where} isn't a Vault or OpenBao server: `endpoint` is wrong, or "
        "something stands before it",
        retryable=False,
    ),
    "probe": Kind(
        UnavailableError,
        "a probe of the key failed",
        "the server didn't open what it had just sealed itself, or refused a probe as it refuses a "
        "wrong value ({request}{where}): the key was replaced meanwhile, nodes differ, or "
        "something stands before the server",
    ),
    "answer-size": Kind(
        UnavailableError,
        "the answer is too large",
        "the answer to {request}{where} is larger than any that belongs to it",
        retryable=False,
    ),
    "library": Kind(
        OperationError,
        "the client library can't be imported",
        "hvac can't be imported: it isn't installed, or is broken. Install keyhinge-vault anew",
    ),
    "client": Kind(
        OperationError,
        "the client library failed",
        "the client library failed at {request}{where} in a way that isn't known",
    ),
}
"""Every kind of failure, by name."""

# What is known of the servers' messages; the first match counts. They are searched in lower case.
_MESSAGES: tuple[tuple[frozenset[int], str, str], ...] = tuple(
    (frozenset(statuses), pattern, kind)
    for statuses, pattern, kind in (
        ((400,), r"encryption key not found|\bkey not found|no key found with name", "no-key"),
        ((400,), r"disallowed by policy \(too old\)", "too-old"),
        (
            (400,),
            r"(no|invalid) key version|version is too new|requested version for encryption",
            "no-version",
        ),
        ((400,), r"missing ['\"]context", "needs-context"),
        ((400,), r"lease is not renewable", "not-renewable"),
        (
            (400,),
            (
                r"message authentication failed|invalid ciphertext|unable to decrypt|"
                r"could not decode|failed to base64-decode ciphertext"
            ),
            "ciphertext",
        ),
        (
            (400, 413, 500),
            (
                r"exceeded maximum number of strings|high complexity|request body too large|"
                r"exceeds? (the )?max|exceeds allowed|too large"
            ),
            "too-large",
        ),
        (
            (400,),
            r"invalid (username or password|role|secret)|missing (client token|secret_id)",
            "bad-login",
        ),
        ((400, 404), r"no handler for route|unsupported path|namespace not found", "no-route"),
        (
            (400, 405, 500),
            r"not supported for key type|unsupported operation|failed to rsa decrypt",
            "unsupported",
        ),
        ((400, 403, 500, 503), r"is sealed", "sealed"),
        ((500, 503), r"standby|active cluster node not found", "standby"),
        ((501, 503, 400), r"not initialized", "uninitialized"),
    )
)
_COMPILED = tuple((statuses, re.compile(text), kind) for statuses, text, kind in _MESSAGES)

_STATUS = {
    400: "bad-request",
    401: "denied",
    403: "denied",
    404: "missing",
    405: "unsupported",
    412: "behind",
    413: "too-large",
    429: "throttled",
    472: "standby",
    473: "standby",
    501: "uninitialized",
    503: "unavailable",
}


class ServiceError(Exception):
    """A request failed. Internal: never leaves the provider; see `operation_error`.

    Attributes:
        kind: A key of `KINDS`.
        failure: What the public error will carry.
        retry_after: Seconds that the server asks to wait; None if it doesn't.
        request: What was asked, where it wasn't what the caller wanted but a login on the way.
    """

    kind: str
    failure: Failure
    retry_after: float | None
    request: str = ""

    def __init__(
        self,
        kind: str,
        *,
        type: str = "",  # noqa: A002 - as in Failure
        status: int | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        reason = KINDS[kind].reason
        super().__init__(reason)
        self.kind = kind
        self.failure = Failure(type, status, kind, request_id, reason)
        self.retry_after = retry_after

    def copy(self, kind: str = "") -> ServiceError:
        """Make another one of the same content: one that is raised twice collects tracebacks.

        Args:
            kind: What it really is; as it was if empty.
        """
        failure = self.failure
        copy = ServiceError(
            kind or self.kind,
            type=failure.type,
            status=failure.status,
            request_id=failure.request_id,
            retry_after=self.retry_after,
        )
        copy.request = self.request
        return copy

    @property
    def status(self) -> int | None:
        """The HTTP status; None where there was no answer."""
        return self.failure.status

    @property
    def retry(self) -> bool:
        """Whether trying again at once, or in a few seconds, can help."""
        return KINDS[self.kind].retry


def classify(status: int, messages: Iterable[Any]) -> str:
    """Name the kind of failure that a status and the server's messages mean.

    "ciphertext" is for whoever sent one: with any other request the same words mean something else.

    Args:
        status: The HTTP status.
        messages: The `errors` of the answer, or the one `error` of an item of a batch.

    Returns:
        A key of `KINDS`.
    """
    text = "\n".join(message for message in messages if isinstance(message, str)).lower()[:4096]
    if text:
        for statuses, pattern, kind in _COMPILED:
            if status in statuses and pattern.search(text):
                return kind
    if status < 400:
        return "answer"
    return _STATUS.get(status, "unavailable" if status >= 500 else "bad-request")


def operation_error(
    error: ServiceError,
    *,
    request: str = "the request",
    namespace: str = "",
    operation: str | None = None,
) -> OperationError:
    """Make the public error. Raise it outside of the `except` block that caught the other.

    Args:
        error: What `Connection.request` raised.
        request: What was asked, as capability and path: `update on transit/encrypt/app`.
        namespace: The namespace that it was asked in.
        operation: "encrypt", "decrypt", …
    """
    kind = KINDS[error.kind]
    message = kind.message.format(
        request=error.request or request, where=f" (namespace {namespace})" if namespace else ""
    )
    return kind.error(message, operation=operation, retryable=kind.retryable, failure=error.failure)
