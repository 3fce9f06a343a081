"""What the store does between the caller and the database, without touching either.

`SecretStore` and `AsyncSecretStore` share it: they only differ in how they wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import attrs

from keyhinge import (
    ConfigError,
    Encrypt,
    EncryptedValue,
    InvalidContextError,
    InvalidPlaintextError,
    KeyManager,
    ProviderError,
    encode_context,
)
from keyhinge_store._errors import (
    DuplicateSecretError,
    NotTextError,
    SecretNotFoundError,
    StoreError,
)
from keyhinge_store._layout import Layout
from keyhinge_store._table import now

__all__ = [
    "NewSecret",
    "Prepared",
    "SecretInfo",
    "SecretKey",
    "as_bytes",
    "as_text",
    "check_ids",
    "not_found",
    "prepare",
    "sealed_rows",
    "unencrypting",
]

ID_PREFIX = "sec_"


class SecretKey(NamedTuple):
    """The primary key of a secret."""

    account_id: str
    secret_id: str


@attrs.frozen
class NewSecret:
    """A secret to store, for `put_many`.

    Attributes:
        account_id: The account it belongs to.
        kind: What it is for, as in "plaid".
        value: The secret itself; str is stored as UTF-8.
        secret_id: Its id; one is made if this is None.
    """

    account_id: str
    kind: str
    value: str | bytes = attrs.field(repr=False)
    secret_id: str | None = None


@attrs.frozen
class SecretInfo:
    """What is known about a stored secret without decrypting it."""

    account_id: str
    secret_id: str
    kind: str
    section: str
    key_id: str
    version: str
    encrypted_at: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> SecretKey:
        """Its primary key."""
        return SecretKey(self.account_id, self.secret_id)


@attrs.frozen
class Prepared:
    """A secret with its id and context, ready to be encrypted."""

    key: SecretKey
    kind: str
    item: Encrypt


def prepare(layout: Layout, secrets: Iterable[NewSecret]) -> list[Prepared]:
    """Check secrets and give them ids and contexts.

    Raises:
        InvalidContextError: An account, id or kind breaks a rule.
        InvalidPlaintextError: A value is neither bytes nor text that UTF-8 can hold.
        DuplicateSecretError: Two of them have the same key.
        StoreError: One isn't a NewSecret.
    """
    prepared = [_prepare(layout, secret) for secret in secrets]
    if len({each.key for each in prepared}) != len(prepared):
        msg = "two secrets of the batch have the same account and id; which one should win?"
        raise DuplicateSecretError(msg)
    return prepared


def _prepare(layout: Layout, secret: object) -> Prepared:
    if not isinstance(secret, NewSecret):
        kind = type(secret).__name__
        msg = f"the secrets must be NewSecret(account_id, kind, value), not {kind}"
        raise StoreError(msg)
    secret_id = new_id() if secret.secret_id is None else secret.secret_id
    check_ids(account_id=secret.account_id, secret_id=secret_id, kind=secret.kind)
    context = {
        "table": layout.label,
        "column": layout.column_label,
        "account_id": secret.account_id,
        "secret_id": secret_id,
        "kind": secret.kind,
    }
    encode_context(context)  # also the limit on all of them together
    key = SecretKey(secret.account_id, secret_id)
    return Prepared(key, secret.kind, Encrypt(as_bytes(secret.value), context))


def check_ids(**ids: object) -> None:
    """Refuse an id or kind that can't be in a context, before anything else is done.

    Raises:
        InvalidContextError: It isn't str, is empty, too long, or holds NUL or a lone surrogate.
    """
    for name, value in ids.items():
        # Nor a subclass: drivers write an enum's member by its name or by its value, as they like.
        if type(value) is not str:
            msg = f"{name} must be str, not {type(value).__name__}"
            raise InvalidContextError(msg)
    encode_context({name: str(value) for name, value in ids.items()})


def new_id() -> str:
    """Make an id: `sec_`, the time in milliseconds and 80 random bits, both in hexadecimal.

    Ids that grow with time keep the index compact; they hold nothing that has to be secret.
    """
    return f"{ID_PREFIX}{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def sealed_rows(
    prepared: Sequence[Prepared], values: Sequence[EncryptedValue]
) -> list[dict[str, Any]]:
    """Make the rows to write, in the order of their keys, so that writers don't deadlock."""
    moment = now()
    rows = [
        {
            "secret_id": each.key.secret_id,
            "account_id": each.key.account_id,
            "kind": each.kind,
            "section": value.section,
            "key_id": value.key_id,
            "version": value.version,
            "secret": value.to_text(),
            "encrypted_at": moment,
            "created_at": moment,
            "updated_at": moment,
        }
        for each, value in zip(prepared, values, strict=True)
    ]
    return sorted(rows, key=lambda row: (row["account_id"], row["secret_id"]))


def unencrypting(keys: KeyManager) -> frozenset[str]:
    """Name the sections that store values as they are."""
    return frozenset(name for name in keys.sections if not _may_encrypt(keys, name))


def _may_encrypt(keys: KeyManager, section: str) -> bool:
    try:
        return keys.capabilities(section).encrypts
    except (ConfigError, ProviderError):
        return True  # it can't be used here, so nothing says that its values are open


def not_found(key: SecretKey) -> SecretNotFoundError:
    """Make the error for a secret that isn't there."""
    msg = f"the account {key.account_id!r} has no secret {key.secret_id!r}"
    return SecretNotFoundError(msg)


def as_text(value: bytes) -> str:
    """Decode a secret.

    Raises:
        NotTextError: It isn't UTF-8.
    """
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        pass  # raised below: that exception holds the whole secret
    msg = "the secret isn't UTF-8 text; use get() for its bytes"
    raise NotTextError(msg)


def as_bytes(value: object) -> bytes:
    """Encode a secret.

    Raises:
        InvalidPlaintextError: It is neither bytes nor text that UTF-8 can hold.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:
            pass  # raised below, as above
        msg = "the secret holds half of a surrogate pair, which UTF-8 can't encode; pass bytes"
        raise InvalidPlaintextError(msg)
    msg = f"a secret is str or bytes, not {type(value).__name__}"
    raise InvalidPlaintextError(msg)
