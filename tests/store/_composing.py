"""A provider that builds on other sections, as envelope encryption does, small enough to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keyhinge import (
    Capabilities,
    Context,
    Decrypt,
    EncryptedValue,
    KeyRef,
    OperationError,
    Provider,
    Sealed,
    Section,
    hookimpl,
    setting,
    settings,
)

PURPOSE = {"keyhinge": "wrapper/1"}


@settings
class WrapperSettings:
    """Settings of a section that wraps another one's values."""

    over: str = setting(help="The section below.")
    also: list[str] = setting(factory=list, help="Sections whose values are opened too.")
    names: bool = setting(default=True, help="Whether key ids name the section below.")


class Wrapper(Provider):
    """Hands everything down, and names in its key id what is below."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)

    def __init__(self, client: Any, *, names: bool) -> None:
        self._client = client
        self._names = names

    def _sealed(self, inner: EncryptedValue) -> Sealed:
        key_id = f"{inner.section}/{inner.key_id}" if self._names else "w"
        return Sealed(inner.to_bytes(), key_id, inner.version)

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt below."""
        return self._sealed(self._client.encrypt(plaintext, {**PURPOSE, **context}))

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt below."""
        inner = EncryptedValue.from_bytes(value.ciphertext)
        found: bytes = self._client.decrypt(inner, {**PURPOSE, **context})
        return found

    @hookimpl
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> list[Sealed | OperationError]:
        """Rewrap below."""
        below = [
            Decrypt(EncryptedValue.from_bytes(each.value.ciphertext), {**PURPOSE, **each.context})
            for each in items
        ]
        found = self._client.rewrap_many(below)
        return [each if isinstance(each, OperationError) else self._sealed(each) for each in found]

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the key below."""
        key = self._client.current_key()
        return KeyRef(f"{self._client.name}/{key.key_id}" if self._names else "w", key.version)


class WrapperModule:
    """What its entry point would name."""

    keyhinge_api, keyhinge_settings = 1, WrapperSettings

    @hookimpl
    def keyhinge_configure(self, settings: WrapperSettings, section: Section) -> Wrapper:
        """Make the provider."""
        client = section.over(settings.over, also=settings.also)
        return Wrapper(client, names=settings.names)
