"""What can go wrong with KMS: tables by error code, by HTTP status and by exception class.

Source: the errors of each action in the AWS KMS API Reference, and its "Common Errors".
"""

from __future__ import annotations

import attrs

from keyhinge import (
    AccessDeniedError,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
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
NO_LIBRARY = Meaning(
    OperationError,
    "boto3 can't be imported",
    "it isn't installed, or is broken: install keyhinge-aws anew",
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
    "RequestAbortedException": INTERNAL,
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
    "ImportError": NO_LIBRARY,
    # What a garbled answer makes of base64, JSON and times.
    "ValueError": INCOMPLETE,
    "AttributeError": INCOMPLETE,
    "LookupError": INCOMPLETE,
    "OSError": UNREACHABLE,
}
"""By the name of an exception's class or of the nearest of its bases."""

WHOLE = frozenset(
    meaning.reason
    for meaning in (*CODES.values(), *STATUSES.values(), *CLASSES.values(), INCOMPLETE)
    if meaning.whole
)
"""The reasons that concern the service or the credentials."""
