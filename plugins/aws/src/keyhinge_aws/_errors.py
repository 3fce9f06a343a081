"""What the client library's failures mean: tables by error code and by exception class.

No exception of the library goes on from here, and no text of it: its messages, requests and
frames hold plaintexts, signatures and tokens. `Failure` keeps type, status, code and request id.

Source: the errors of each action in the AWS KMS API Reference, and its "Common Errors".
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from keyhinge import (
    AccessDeniedError,
    Failure,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    SecretFileError,
    ThrottledError,
    UnavailableError,
)


@attrs.frozen
class Meaning:
    """What one kind of failure means.

    Attributes:
        error: The class of our error.
        reason: For `Failure.reason`, and the beginning of the message.
        advice: What to do next.
        whole: Whether all calls would fail now, not just this one.
    """

    error: type[OperationError]
    reason: str
    advice: str = ""
    whole: bool = False


NOT_FOUND = Meaning(
    KeyUnavailableError,
    "KMS has no such key",
    "compare keyID, the region and the account with those of the key; an alias must exist in "
    "this region, and a key that was deleted is gone for good",
)
DISABLED = Meaning(KeyUnavailableError, "the key is disabled", "enable it in KMS")
BAD_STATE = Meaning(
    KeyUnavailableError,
    "the key's state doesn't allow this",
    "`keyhinge check` shows the state: cancel a pending deletion, import missing key material, "
    "or wait until the key or its key store is ready",
)
INCORRECT_KEY = Meaning(
    KeyUnavailableError, "the value was encrypted with another key than the configured one"
)
BAD_USAGE = Meaning(
    KeyUnavailableError,
    "the key can't be used for this",
    "it must be a symmetric key whose usage is ENCRYPT_DECRYPT",
)
DENIED = Meaning(
    AccessDeniedError,
    "AWS refused",
    "the key's policy, an IAM policy of this identity, or a condition on the encryption context "
    "doesn't allow it; a key that the identity may not know about looks the same",
)
BAD_CREDENTIALS = Meaning(
    AccessDeniedError,
    "AWS doesn't accept the credentials",
    "compare accessKey and secretKey (or the profile), and this machine's clock",
    whole=True,
)
EXPIRED = Meaning(
    AccessDeniedError,
    "the credentials have expired",
    "get new ones; with a role, web identity, container or instance they renew themselves",
    whole=True,
)
CLOCK = Meaning(
    AccessDeniedError,
    "AWS says that the request's time is wrong",
    "set this machine's clock",
    whole=True,
)
NO_CREDENTIALS = Meaning(
    AccessDeniedError,
    "there are no credentials",
    "give accessKey and secretKey, a profile, or let the environment, the container or the "
    "instance have them",
    whole=True,
)
SETTINGS = Meaning(
    AccessDeniedError,
    "the AWS configuration can't be used",
    "look at profile, region and endpoint, and at AWS's own configuration files",
    whole=True,
)
TAMPERED = Meaning(InvalidCiphertextError, "KMS can't open the ciphertext")
THROTTLED = Meaning(
    ThrottledError,
    "KMS asks for fewer requests",
    "try again later, or have the account's quota for this region raised",
    whole=True,
)
INTERNAL = Meaning(
    UnavailableError,
    "KMS failed",
    "try again; if it goes on, look at AWS's health page",
    whole=True,
)
NO_MATERIAL = Meaning(
    UnavailableError, "KMS can't reach the key's material now", "try again later", whole=True
)
UNREACHABLE = Meaning(
    UnavailableError,
    "the endpoint can't be reached",
    "look at the network, region and endpoint",
    whole=True,
)
TOO_SLOW = Meaning(
    UnavailableError, "the endpoint didn't answer in time", "try again later", whole=True
)
TLS = Meaning(
    UnavailableError,
    "the TLS connection failed",
    "look at the endpoint's certificate, AWS_CA_BUNDLE, and proxies between",
    whole=True,
)
INCOMPLETE = Meaning(
    UnavailableError,
    "the answer was cut short, or isn't one of KMS",
    "try again; if it goes on, look at what stands between here and the endpoint",
    whole=True,
)
STRANGE = Meaning(OperationError, "KMS refused the request", "the code says why")
UNKNOWN = Meaning(OperationError, "the client library failed")

CODES: dict[str, Meaning] = {
    "NotFoundException": NOT_FOUND,
    "InvalidArnException": NOT_FOUND,
    "DisabledException": DISABLED,
    "KMSInvalidStateException": BAD_STATE,
    "IncorrectKeyException": INCORRECT_KEY,
    "InvalidKeyUsageException": BAD_USAGE,
    "UnsupportedOperationException": BAD_USAGE,
    "InvalidCiphertextException": TAMPERED,
    "AccessDeniedException": DENIED,
    "AccessDenied": DENIED,
    "NotAuthorized": DENIED,
    "OptInRequired": DENIED,
    "InvalidGrantTokenException": DENIED,
    "UnrecognizedClientException": BAD_CREDENTIALS,
    "InvalidClientTokenId": BAD_CREDENTIALS,
    "InvalidAccessKeyId": BAD_CREDENTIALS,
    "InvalidSignatureException": BAD_CREDENTIALS,
    "SignatureDoesNotMatch": BAD_CREDENTIALS,
    "IncompleteSignature": BAD_CREDENTIALS,
    "IncompleteSignatureException": BAD_CREDENTIALS,
    "MissingAuthenticationToken": BAD_CREDENTIALS,
    "MissingAuthenticationTokenException": BAD_CREDENTIALS,
    "AuthFailure": BAD_CREDENTIALS,
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "InvalidIdentityToken": EXPIRED,
    "RequestExpired": CLOCK,
    "RequestTimeTooSkewed": CLOCK,
    "Throttling": THROTTLED,
    "ThrottlingException": THROTTLED,
    "ThrottledException": THROTTLED,
    "RequestThrottled": THROTTLED,
    "RequestThrottledException": THROTTLED,
    "RequestLimitExceeded": THROTTLED,
    "LimitExceededException": THROTTLED,
    "TooManyRequestsException": THROTTLED,
    "SlowDown": THROTTLED,
    "KMSInternalException": INTERNAL,
    "InternalFailure": INTERNAL,
    "InternalError": INTERNAL,
    "InternalServerError": INTERNAL,
    "InternalServiceError": INTERNAL,
    "ServiceUnavailable": INTERNAL,
    "ServiceUnavailableException": INTERNAL,
    "DependencyTimeoutException": TOO_SLOW,
    "RequestTimeout": TOO_SLOW,
    "RequestTimeoutException": TOO_SLOW,
    "KeyUnavailableException": NO_MATERIAL,
}
"""By the error code of an answer. Codes count, not messages: emulators leave those empty."""

STATUSES: dict[int, Meaning] = {401: BAD_CREDENTIALS, 403: DENIED, 408: TOO_SLOW, 429: THROTTLED}
"""By HTTP status, where the code says nothing: a proxy's answer, say. From 500 on, `INTERNAL`."""

CLASSES: dict[str, Meaning] = {
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": NO_CREDENTIALS,
    "CredentialRetrievalError": NO_CREDENTIALS,
    "MetadataRetrievalError": NO_CREDENTIALS,
    "UnknownCredentialError": NO_CREDENTIALS,
    "NoAuthTokenError": NO_CREDENTIALS,
    "RefreshWithMFAUnsupportedError": NO_CREDENTIALS,
    "UnauthorizedSSOTokenError": EXPIRED,
    "SSOTokenLoadError": EXPIRED,
    "SSOError": EXPIRED,
    "LoginError": EXPIRED,
    "TokenRetrievalError": EXPIRED,
    "ProfileNotFound": SETTINGS,
    "ConfigParseError": SETTINGS,
    "ConfigNotFound": SETTINGS,
    "InvalidConfigError": SETTINGS,
    "InvalidRegionError": SETTINGS,
    "BaseEndpointResolverError": SETTINGS,
    "EndpointProviderError": SETTINGS,
    "InvalidEndpointConfigurationError": SETTINGS,
    "InvalidProxiesConfigError": SETTINGS,
    "UnknownServiceError": SETTINGS,
    "SSLError": TLS,
    "ReadTimeoutError": TOO_SLOW,
    "ConnectTimeoutError": UNREACHABLE,
    "IncompleteReadError": INCOMPLETE,
    "ResponseStreamingError": INCOMPLETE,
    "ResponseParserError": INCOMPLETE,
    "ConnectionError": UNREACHABLE,
    "HTTPClientError": UNREACHABLE,
    "ParamValidationError": STRANGE,
    # What a garbled answer makes of base64, JSON and times.
    "ValueError": INCOMPLETE,
    "AttributeError": INCOMPLETE,
    "LookupError": INCOMPLETE,
    "OSError": UNREACHABLE,
}
"""By the name of an exception's class or of the nearest of its bases."""

# Narrow, so that nothing else passes for them: the far end may send back what it was sent.
_CODE = re.compile(r"[A-Z][A-Za-z]{2,63}")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def translate(failure: BaseException, action: str) -> OperationError:
    """Make our error of whatever a call of the client library raised.

    Args:
        failure: The exception; nothing refers to it afterwards.
        action: What was asked for, as in `kms:Encrypt`.
    """
    if isinstance(failure, OperationError):
        failure.__cause__ = failure.__context__ = None  # botocore's, if it passed through
        return failure.with_traceback(None)
    if isinstance(failure, SecretFileError):
        return AccessDeniedError(str(failure), failure=Failure(type="SecretFileError"))
    kind = type(failure).__name__
    response = getattr(failure, "response", None)
    if type(response) is dict:
        return _of_answer(kind, response, str(getattr(failure, "operation_name", "")), action)
    names = (base.__name__ for base in type(failure).__mro__)
    meaning = next((CLASSES[name] for name in names if name in CLASSES), UNKNOWN)
    if kind == "RuntimeError":  # botocore's word for new credentials that have expired already
        meaning = EXPIRED
    return make(meaning, action, Failure(type=kind, reason=meaning.reason))


def make(meaning: Meaning, action: str, failure: Failure | None = None) -> OperationError:
    """Make the error of a kind.

    Args:
        meaning: What happened.
        action: What was asked for, as in `kms:Encrypt`; for the message.
        failure: What is known beyond; the reason alone if None.
    """
    failure = failure or Failure(reason=meaning.reason)
    if meaning.error is InvalidCiphertextError:
        return InvalidCiphertextError(failure=failure)
    told = f" ({failure.code})" if failure.code else ""
    if not failure.code and failure.type:
        told = f" ({failure.type})"
    advice = f"; {meaning.advice}" if meaning.advice else ""
    return meaning.error(f"{action}: {meaning.reason}{told}{advice}", failure=failure)


def is_whole(error: OperationError) -> bool:
    """Tell whether an error concerns the service or the credentials, so that all would fail."""
    return error.failure is not None and error.failure.reason in _WHOLE


def is_incorrect_key(error: OperationError) -> bool:
    """Tell whether the service says that another key encrypted the value."""
    return error.failure is not None and error.failure.reason == INCORRECT_KEY.reason


def is_denied(error: OperationError) -> bool:
    """Tell whether a permission is missing, as opposed to credentials."""
    return error.failure is not None and error.failure.reason == DENIED.reason


def _of_answer(kind: str, response: dict[str, Any], asked: str, action: str) -> OperationError:
    told = response.get("Error")
    code = _text(told.get("Code") if isinstance(told, dict) else None, _CODE)
    metadata = response.get("ResponseMetadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    status = metadata.get("HTTPStatusCode")
    status = status if type(status) is int else None
    meaning = CODES.get(code)
    if meaning is None and status is not None:
        meaning = INTERNAL if status >= 500 else STATUSES.get(status)
    meaning = meaning or STRANGE
    request_id = _text(metadata.get("RequestId"), _REQUEST_ID)
    if asked.startswith("AssumeRole"):  # a call for credentials, within ours
        action = f"sts:{asked}" if _CODE.fullmatch(asked) else "sts:AssumeRole"
    failure = Failure(kind, status, code, request_id, meaning.reason)
    return make(meaning, action, failure)


def _text(value: object, grammar: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and grammar.fullmatch(value) else ""


_WHOLE = frozenset(
    meaning.reason
    for meaning in (*CODES.values(), *STATUSES.values(), *CLASSES.values(), INCOMPLETE)
    if meaning.whole
)
