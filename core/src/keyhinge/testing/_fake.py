"""A real `KeyManager` over key services in memory, for tests of applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from keyhinge import (
    API_VERSION,
    Capabilities,
    Context,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Provider,
    Sealed,
    Section,
    canonical,
    hookimpl,
    setting,
    settings,
)
from keyhinge.testing._fake_cipher import cipher_for_tests
from keyhinge.testing._fake_service import FakeService

__all__ = ["FakeModule", "FakeProvider", "fake_keys"]

TYPE = "fake"
I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")


@settings
class FakeSettings:
    """Settings of a section over a `FakeService`."""

    service: str = setting(help="The name of the service.")


class FakeProvider(Provider):
    """Encrypts with a `FakeService`. For tests only."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)

    def __init__(self, service: FakeService) -> None:
        self._service = service
        self._cipher = cipher_for_tests()

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt under the newest version."""
        self._service.ask("encrypt")
        return self._seal(plaintext, context)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt under the version that the value names, if the service has it."""
        self._service.ask("decrypt")
        return self._open(value, context)

    @hookimpl
    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        """Encrypt a batch."""
        self._service.ask("encrypt_many")
        return _each(items, lambda item: self._seal(item.plaintext, item.context))

    @hookimpl
    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch."""
        self._service.ask("decrypt_many")
        return _each(items, lambda item: self._open(item.value, item.context))

    @hookimpl
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        """Decrypt a batch and encrypt it under the newest version."""
        self._service.ask("rewrap" if len(items) == 1 else "rewrap_many")
        return _each(
            items, lambda item: self._seal(self._open(item.value, item.context), item.context)
        )

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the newest version."""
        return self._service.current_key

    def _seal(self, plaintext: bytes, context: Context) -> Sealed:
        current = self._service.current_key
        key = self._service.key(current)
        if key is None:
            raise KeyUnavailableError("the fake key service has no key")
        bound = canonical(current.key_id, current.version, context)
        return Sealed(self._cipher.seal(key, plaintext, bound), current.key_id, current.version)

    def _open(self, value: EncryptedValue, context: Context) -> bytes:
        key = self._service.key(KeyRef(value.key_id, value.version))
        if key is None:
            raise KeyUnavailableError("the value was encrypted with another key than this one")
        bound = canonical(value.key_id, value.version, context)
        plaintext = self._cipher.open(key, value.ciphertext, bound)
        if plaintext is None:
            raise InvalidCiphertextError
        return plaintext


class FakeModule:
    """What an entry point would name.

    Args:
        services: The services by the name that a section's `service` gives.
    """

    keyhinge_api = API_VERSION
    keyhinge_settings = FakeSettings

    def __init__(self, services: Mapping[str, FakeService]) -> None:
        self._services = dict(services)

    @hookimpl
    def keyhinge_configure(self, settings: FakeSettings, section: Section) -> FakeProvider:
        """Make the provider."""
        return FakeProvider(self._services[settings.service])


def fake_keys(
    services: FakeService | Mapping[str, FakeService] | None = None,
    *,
    observers: Iterable[object] = (),
) -> KeyManager:
    """Open a `KeyManager` whose key service is in memory, for tests of an application.

    It is the real class, with all of its checks. Only the key service behind it is another one.

    Args:
        services: The service behind the section `fake`; or services by their section's names, the
            first one primary. Keep it to make it fail. None for one of its own.
        observers: As for `KeyManager.open`.

    Returns:
        A `KeyManager`, to be closed as any other.
    """
    if not isinstance(services, Mapping):
        services = {"fake": services or FakeService()}
    sections = {name: {"type": TYPE, "service": name} for name in services}
    config = {"keyManagement": {"provider": next(iter(services)), **sections}}
    module = FakeModule(services)
    return KeyManager.open(config, observers=observers, providers={TYPE: module}, environ={})


def _each(items: Sequence[I], one: Callable[[I], T]) -> list[T | OperationError]:
    results: list[T | OperationError] = []
    for item in items:
        try:
            results.append(one(item))
        except OperationError as error:
            results.append(error)
    return results
