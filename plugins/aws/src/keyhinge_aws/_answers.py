"""What goes into a call of KMS and what may come out of it, and the words for what may not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from keyhinge import (
    NO_CONTEXT,
    Context,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidPlaintextError,
    OperationError,
)
from keyhinge_aws._errors import make
from keyhinge_aws._meanings import INCOMPLETE, INCORRECT_KEY
from keyhinge_aws._target import Target, answers, is_same_key, parse_key_arn, parse_target

MIN_PLAINTEXT = 1
MAX_PLAINTEXT = 4096
MAX_CIPHERTEXT = 6144
EMPTY_CONTEXT = {"keyhinge": "1"}
"""Stands for an empty context: KMS takes an empty one for none at all. Callers can't use it."""
PROBE_CONTEXT = {"keyhinge": "probe/1"}
VERSION = re.compile(r"[0-9a-f]{1,64}")
"""The id of a key's material."""

Answer: TypeAlias = Mapping[str, Any]
Chosen: TypeAlias = tuple[Target, Target, str]
"""A value's label, the configured key that is sent, and that key's region."""


def keys_of(key_id: str, decrypt_key_ids: tuple[str, ...]) -> tuple[Target, ...]:
    """Parse the configured keys; the first one encrypts."""
    return tuple(parse_target(text) for text in dict.fromkeys((key_id, *decrypt_key_ids)))


def bound(context: Context, *names: str) -> dict[str, Any]:
    """Give the parameters that bind a context.

    It becomes KMS's EncryptionContext entry by entry, so that IAM policies can ask for it.

    Args:
        context: The context; `keyhinge.NO_CONTEXT` leaves the parameters out, for values that
            another program made without one.
        names: The parameters' names.
    """
    if context is NO_CONTEXT:
        return {}
    return dict.fromkeys(names, dict(context) or EMPTY_CONTEXT)


def version_of(answer: Answer, name: str) -> str:
    found = answer.get(name)
    return found if isinstance(found, str) and VERSION.fullmatch(found) else ""


def wrong_source(
    key_id: object, version: str, value: EncryptedValue, chosen: Chosen
) -> OperationError | None:
    """Say what is wrong where the service opened a value with another key than its label names."""
    label, key, region = chosen
    if type(key_id) is not str:
        return make(INCOMPLETE, "kms:Decrypt")
    used = parse_key_arn(key_id)
    if used is None or not answers(key, used, region) or not is_same_key(used, label):
        return InvalidCiphertextError()
    # Not compared between replicas of one key: nothing says that their materials' ids are equal.
    if value.version and version and used.region == label.region and value.version != version:
        return InvalidCiphertextError()
    return None


def repointed(label: Target, key: Target) -> str:
    return (
        f"{INCORRECT_KEY.reason}: {key.text} points to another key now. {_line(label)}, as long "
        "as it is a key of yours: it may have been planted by whoever can write to the database"
    )


def not_configured(label: Target) -> str:
    return (
        f"the value was encrypted with {label.text}, which isn't configured. {_line(label)}, as "
        "long as it is a key of yours"
    )


def _line(label: Target) -> str:
    return f"To open it, add this line under `decryptKeyIDs:`\n    - {label.text}\n"


def wrong_size(size: int) -> InvalidPlaintextError:
    if size < MIN_PLAINTEXT:
        return InvalidPlaintextError("the plaintext is empty; AWS KMS takes 1 to 4,096 bytes")
    return InvalidPlaintextError(
        f"the plaintext has {size:,} bytes; AWS KMS takes at most 4,096. Encrypt larger ones in "
        "parts, with the number of the part and of the parts in all in each context, so that none "
        "can be left out or exchanged"
    )
