"""Turning what the client library raises into errors that hold nothing secret.

No exception of the library goes on from here, and no text of it: its messages, requests and
frames hold plaintexts, signatures and tokens. `Failure` keeps type, status, code and request id.
"""

from __future__ import annotations

import re
from typing import Any

from keyhinge import (
    AccessDeniedError,
    Failure,
    InvalidCiphertextError,
    OperationError,
    SecretFileError,
)
from keyhinge_aws._meanings import (
    CLASSES,
    CODES,
    DENIED,
    EXPIRED,
    INCORRECT_KEY,
    INTERNAL,
    STATUSES,
    STRANGE,
    UNKNOWN,
    WHOLE,
    Meaning,
)

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
    return error.failure is not None and error.failure.reason in WHOLE


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
