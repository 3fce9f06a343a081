"""Every error code that AWS documents, and every class of botocore's: what the caller gets.

The codes come from three places: AWS's own description of the actions, which botocore carries; a
list written from the API Reference, "Common Errors"; and the provider's table. What stands in one
of them and not in the others fails.
"""

from __future__ import annotations

import builtins
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import botocore.exceptions
import botocore.parsers
import botocore.session
import pytest
from botocore.stub import Stubber

from keyhinge import (
    AccessDeniedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    ThrottledError,
    UnavailableError,
)
from keyhinge_aws import AwsProvider
from keyhinge_aws._errors import translate
from keyhinge_aws._meanings import CLASSES, CODES, DENIED, STATUSES

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
REQUEST = "12345678-1234-1234-1234-123456789012"
SECRET = "s3cret-in-the-message"
ACTIONS = {"Encrypt": "encrypt", "Decrypt": "decrypt", "ReEncrypt": "re_encrypt"}

# Written from the API Reference: the errors of Encrypt, Decrypt, ReEncrypt, DescribeKey and
# GetKeyRotationStatus, and the common ones.
EXPECTED: dict[str, type[OperationError]] = {
    "NotFoundException": KeyUnavailableError,
    "InvalidArnException": KeyUnavailableError,
    "DisabledException": KeyUnavailableError,
    "KMSInvalidStateException": KeyUnavailableError,
    "InvalidKeyUsageException": KeyUnavailableError,
    "UnsupportedOperationException": KeyUnavailableError,
    # For an ARN that is the label's own; `test_aws_planted.py` has the aliases.
    "IncorrectKeyException": InvalidCiphertextError,
    "InvalidCiphertextException": InvalidCiphertextError,
    "AccessDeniedException": AccessDeniedError,
    "NotAuthorized": AccessDeniedError,
    "OptInRequired": AccessDeniedError,
    "InvalidGrantTokenException": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "InvalidClientTokenId": AccessDeniedError,
    "InvalidSignatureException": AccessDeniedError,
    "IncompleteSignature": AccessDeniedError,
    "MissingAuthenticationToken": AccessDeniedError,
    "ExpiredTokenException": AccessDeniedError,
    "RequestExpired": AccessDeniedError,
    "ThrottlingException": ThrottledError,
    "LimitExceededException": ThrottledError,
    "KMSInternalException": UnavailableError,
    "DependencyTimeoutException": UnavailableError,
    "KeyUnavailableException": UnavailableError,
    "InternalFailure": UnavailableError,
    "ServiceUnavailable": UnavailableError,
    "RequestTimeoutException": UnavailableError,
    "RequestAbortedException": UnavailableError,
}
# What our own requests can't cause, or what says nothing beyond itself.
PLAIN = {
    "DryRunOperationException",  # never asked for
    "InvalidAction",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidQueryParameter",
    "MalformedHttpRequestException",
    "MalformedQueryString",
    "MissingAction",
    "MissingParameter",
    "RequestEntityTooLargeException",
    "UnknownOperationException",
    "ValidationError",
    "ValidationException",
    "SomethingNewException",
}
ASKED = ("Encrypt", "Decrypt", "ReEncrypt", "DescribeKey", "GetKeyRotationStatus")


@pytest.fixture
def provider(configure: Callable[..., AwsProvider]) -> AwsProvider:
    """A provider whose client is stubbed by the test."""
    return configure(keyID=KEY)


@pytest.fixture
def stubbed(provider: AwsProvider) -> Any:
    """botocore's stub in the provider's own client."""
    client = provider._kms.clients.kms("us-east-1")
    with Stubber(client) as stubber:
        yield stubber


def fail(stubber: Stubber, method: str, code: str, status: int = 400) -> None:
    """Have the next call of an action refused."""
    stubber.add_client_error(
        method,
        service_error_code=code,
        service_message=SECRET,
        http_status_code=status,
        response_meta={"RequestId": REQUEST},
    )


def raised_by(call: Callable[[], object]) -> OperationError:
    """Call, and give our error; it refers to nothing of botocore's."""
    with pytest.raises(OperationError) as raised:
        call()
    check(raised.value)
    return raised.value


def check(error: OperationError) -> None:
    """See to it that an error is our own altogether."""
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in str(error)
    assert SECRET not in repr(error)
    assert SECRET.encode() not in pickle.dumps(error)
    assert error.failure is not None
    assert SECRET not in repr(error.failure)


def of(code: str) -> type[OperationError]:
    """Tell what class a code must become."""
    return EXPECTED.get(code, CODES[code].error if code in CODES else OperationError)


VALUE = EncryptedValue("aws", KEY, "", b"ciphertext")


class TestCodes:
    """An answer with an error code."""

    @pytest.mark.parametrize("code", sorted({*EXPECTED, *CODES, *PLAIN}))
    def test_through_every_hook(self, provider, stubbed, code):
        """The class, whether trying again helps, and what is kept of the answer."""
        expected = of(code)
        for method, call in (
            ("encrypt", lambda: provider.keyhinge_encrypt(b"x", {})),
            ("decrypt", lambda: provider.keyhinge_decrypt(VALUE, {})),
            ("describe_key", provider.keyhinge_current_key),
        ):
            fail(stubbed, method, code)
            if method == "describe_key" and CODES.get(code) is DENIED:
                fail(stubbed, "encrypt", code)  # what it falls back to
            error = raised_by(call)
            if method == "decrypt" or expected is not InvalidCiphertextError:
                assert type(error) is expected, method
            assert error.retryable == (expected in (ThrottledError, UnavailableError))
            assert error.failure is not None
            assert (error.failure.code, error.failure.status) == (code, 400)
            assert error.failure.request_id == REQUEST
            if not isinstance(error, InvalidCiphertextError):
                assert code in str(error)

    @pytest.mark.parametrize("code", sorted(EXPECTED))
    def test_in_batches_each_item_has_its_own(self, provider, stubbed, code):
        for method, hook, item in (
            ("encrypt", provider.keyhinge_encrypt_many, Encrypt(b"x", {})),
            ("decrypt", provider.keyhinge_decrypt_many, Decrypt(VALUE, {})),
            ("re_encrypt", provider.keyhinge_rewrap_many, Decrypt(VALUE, {})),
        ):
            fail(stubbed, method, code)
            (error,) = hook([item])
            assert isinstance(error, OperationError)
            assert error.__traceback__ is None
            check(error)
            if method != "encrypt":
                assert type(error) is EXPECTED[code]

    @pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 504, 507, 418, 413])
    def test_a_status_alone(self, provider, stubbed, status):
        """A code that nobody knows: a proxy's, say."""
        fail(stubbed, "encrypt", "Strange", status)
        error = raised_by(lambda: provider.keyhinge_encrypt(b"x", {}))
        expected = STATUSES[status].error if status in STATUSES else OperationError
        assert type(error) is (UnavailableError if status >= 500 else expected)

    def test_what_is_no_code_is_not_kept(self, provider, stubbed):
        for code in (SECRET, "a b", "", "X" * 65, "Has1Digit"):
            fail(stubbed, "encrypt", code)
            error = raised_by(lambda: provider.keyhinge_encrypt(b"x", {}))
            assert error.failure is not None
            assert error.failure.code == ""


class TestTables:
    """The table is whole."""

    def test_every_code_that_aws_describes_for_our_actions_has_its_line(self):
        model = botocore.session.get_session().get_service_model("kms")
        shapes = {
            shape.name for action in ASKED for shape in model.operation_model(action).error_shapes
        }
        assert shapes <= {*EXPECTED, *PLAIN}
        assert shapes - PLAIN <= set(CODES)

    def test_every_code_of_the_list_has_its_line(self):
        assert set(EXPECTED) <= set(CODES)
        assert not PLAIN & set(CODES)

    @pytest.mark.parametrize("code", sorted(set(EXPECTED) - {"IncorrectKeyException"}))
    def test_the_line_says_the_same(self, code):
        assert CODES[code].error is EXPECTED[code]

    def test_every_code_that_botocore_tries_again_can_be_tried_again(self):
        """Its list of transient and throttling errors, but for those of other services."""
        from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

        again = {
            *vars(ThrottledRetryableChecker)["_THROTTLED_ERROR_CODES"],
            *vars(TransientRetryableChecker)["_TRANSIENT_ERROR_CODES"],
        }
        others = {
            "ProvisionedThroughputExceededException",
            "TransactionInProgressException",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
            "EC2ThrottledException",
        }
        for code in again - others:
            assert code in CODES, code
            assert CODES[code].error in (ThrottledError, UnavailableError), code


class TestClasses:
    """An exception of botocore's without an answer."""

    @pytest.mark.parametrize("name", sorted(vars(botocore.exceptions)))
    def test_every_class_of_botocore_becomes_ours(self, name):
        """Nothing of it stays; none that is about the connection is a plain error."""
        kind = getattr(botocore.exceptions, name)
        if not inspect.isclass(kind) or not issubclass(kind, Exception):
            return
        failure = kind.__new__(kind)
        Exception.__init__(failure, SECRET)
        error = translate(failure, "kms:Encrypt")
        check(error)
        if issubclass(kind, botocore.exceptions.HTTPClientError):
            assert isinstance(error, UnavailableError)
            assert error.retryable
        if "Credential" in name and "Error" in name:
            assert isinstance(error, AccessDeniedError), name

    @pytest.mark.parametrize("name", sorted(CLASSES))
    def test_every_line_names_a_class_that_there_is(self, name):
        """A misspelt name would match nothing, and nobody would notice."""
        places = (botocore.exceptions, botocore.parsers, builtins)
        later = {"LoginError"}  # than the oldest botocore that the provider takes
        assert name in later or any(hasattr(place, name) for place in places)

    def test_an_exception_of_nobody_we_know(self):
        error = translate(KeyboardInterrupt(SECRET), "kms:Encrypt")
        check(error)
        assert type(error) is OperationError


class TestCheck:
    """What `check` says of an outage, so that the command line's exit code can."""

    @pytest.mark.parametrize(
        ("code", "passes"), [("KMSInternalException", True), ("UnrecognizedClientException", False)]
    )
    def test_errors_tell_whether_they_may_pass(self, provider, stubbed, code, passes):
        fail(stubbed, "describe_key", code)
        errors = [f for f in provider.keyhinge_check().findings if f.level == "error"]
        assert errors
        assert all(finding.data["retryable"] is passes for finding in errors)
