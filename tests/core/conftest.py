"""A provider that encrypts for real with nothing but the standard library, and ways to open it."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from keyhinge import (
    Capabilities,
    Context,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
    Provider,
    Sealed,
    Section,
    canonical,
    hookimpl,
    setting,
    settings,
)


@settings
class ToySettings:
    """Settings of a toy section."""

    key: str = setting(default="k", help="The key.")
    key_id: str = setting(alias="keyID", default="toy", help="Its id.")
    version: str = setting(default="1", help="Its version.")


class ToyProvider(Provider):
    """SHAKE-256 for the stream, HMAC-SHA256 for the tag. Made for tests alone."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)

    def __init__(self, settings: ToySettings, name: str, events: list[str]) -> None:
        self._key = settings.key.encode()
        self._label = (settings.key_id, settings.version)
        self._name = name
        self._events = events

    def _tag(self, data: bytes, context: Context) -> bytes:
        return hmac.digest(self._key, canonical(*self._label, context) + data, "sha256")

    def _stream(self, nonce: bytes, data: bytes) -> bytes:
        stream = hashlib.shake_256(self._key + nonce).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, stream, strict=True))

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt."""
        return self.own_encrypt(plaintext, context)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt."""
        return self.own_decrypt(value, context)

    def own_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt, for variants whose hook does more."""
        nonce = os.urandom(16)
        body = nonce + self._stream(nonce, plaintext)
        return Sealed(self._tag(body, context) + body, *self._label)

    def own_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt, for variants whose hook does more."""
        if value.key_id != self._label[0]:
            raise KeyUnavailableError("another key")
        tag, body = value.ciphertext[:32], value.ciphertext[32:]
        if value.version != self._label[1] or not hmac.compare_digest(
            tag, self._tag(body, context)
        ):
            raise InvalidCiphertextError
        return self._stream(body[:16], body[16:])

    @hookimpl
    def keyhinge_close(self) -> None:
        """Note that it was called."""
        self._events.append(f"close {self._name}")


class Module:
    """What a provider's entry point names, over any class like `ToyProvider`."""

    keyhinge_api = 1
    keyhinge_settings: Any = ToySettings

    def __init__(self, kind: Callable[..., Any] = ToyProvider) -> None:
        self._kind = kind
        self.events: list[str] = []

    @hookimpl
    def keyhinge_configure(self, settings: ToySettings, section: Section) -> Any:
        """Make the provider."""
        self.events.append(f"configure {section.name}")
        return self._kind(settings, section.name, self.events)


@pytest.fixture
def toy() -> SimpleNamespace:
    """The toy provider's parts, for tests that build on them."""
    return SimpleNamespace(Settings=ToySettings, Provider=ToyProvider, Module=Module)


@pytest.fixture
def module() -> Module:
    """The toy provider as a module, with the events that it saw."""
    return Module()


@pytest.fixture
def variant() -> Callable[..., Module]:
    """Make the toy provider with other hooks or attributes than its own."""

    def make(**members: Any) -> Module:
        return Module(type("Variant", (ToyProvider,), members))

    return make


@pytest.fixture
def opened(module: Module) -> Iterator[Callable[..., KeyManager]]:
    """Open a KeyManager over sections of the toy provider; closed afterwards.

    `opened("a", "b")` makes two sections, the first one primary; a mapping gives their settings.
    """
    made: list[KeyManager] = []

    def make(*names: str, using: Any = None, blocks: Any = None, **options: Any) -> KeyManager:
        names = names or ("a",)
        sections = {
            name: {"type": "toy", "key": name, **(blocks or {}).get(name, {})} for name in names
        }
        config = {"keyManagement": {"provider": names[0], **sections}}
        options.setdefault("environ", {})
        keys = KeyManager.open(config, providers={"toy": using or module}, **options)
        made.append(keys)
        return keys

    yield make
    for keys in made:
        keys.close()
