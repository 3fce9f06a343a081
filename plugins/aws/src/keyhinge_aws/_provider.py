"""The `aws` provider: settings in, hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from keyhinge import (
    Capabilities,
    CheckReport,
    ConfigError,
    Context,
    Decrypt,
    Encrypt,
    EncryptedValue,
    KeyRef,
    OperationError,
    Problem,
    Provider,
    Sealed,
    Section,
    hookimpl,
)
from keyhinge_aws import _batch
from keyhinge_aws._answers import MAX_PLAINTEXT, MIN_PLAINTEXT, keys_of
from keyhinge_aws._client import Clients
from keyhinge_aws._kms import Kms
from keyhinge_aws._settings import AwsSettings, endpoint_problem

T = TypeVar("T")


class AwsProvider(Provider):
    """AWS KMS under one key, and further ones that only decrypt.

    Args:
        kms: KMS with the section's keys.
    """

    capabilities = Capabilities(
        encrypts=True,
        binds_context=True,
        key_versions=True,
        blocking=True,
        min_plaintext=MIN_PLAINTEXT,
        max_plaintext=MAX_PLAINTEXT,
    )

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def __repr__(self) -> str:
        return "<AwsProvider>"

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt under the configured key."""
        result = self._kms.encrypt(plaintext, context)
        del plaintext  # a traceback of what is raised refers to this frame
        return _value(result)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt with the configured key that the value's ARN means."""
        return _value(self._kms.decrypt(value, context))

    @hookimpl
    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        """Encrypt a batch, a few at a time."""
        return _batch.run(items, lambda item: self._kms.encrypt(item.plaintext, item.context))

    @hookimpl
    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch, a few at a time."""
        return _batch.run(items, lambda item: self._kms.decrypt(item.value, item.context))

    @hookimpl
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        """Have KMS encrypt a batch anew, so that no plaintext leaves it."""
        return _batch.run(items, self._kms.rewrap)

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the key's ARN, and its material's id where KMS tells it."""
        return _value(self._kms.current())

    @hookimpl
    def keyhinge_check(self) -> CheckReport:
        """Look at credentials, key, permissions and endpoint."""
        from keyhinge_aws._check import check

        return check(self._kms)

    @hookimpl
    def keyhinge_close(self) -> None:
        """Close the connections."""
        self._kms.clients.close()


def _value(result: T | OperationError) -> T:
    if not isinstance(result, OperationError):
        return result
    try:
        raise result
    finally:
        del result  # or error, traceback and frame would refer to each other


@hookimpl
def keyhinge_configure(settings: AwsSettings, section: Section) -> AwsProvider:
    """Make the provider; connects nowhere."""
    clients = Clients(settings, section.environ, section.name)
    problem = endpoint_problem(clients.endpoint) if clients.endpoint else None
    if problem is not None:
        message = f"AWS_ENDPOINT_URL_KMS or AWS_ENDPOINT_URL in the environment {problem}"
        raise ConfigError(Problem(f"{section.path}.endpoint", message))
    if settings.use_fips and clients.endpoint:
        message = "can't be used with an endpoint that the environment names"
        raise ConfigError(Problem(f"{section.path}.useFIPS", message))
    return AwsProvider(Kms(clients, keys_of(settings.key_id, settings.decrypt_key_ids)))
