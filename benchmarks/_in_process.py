"""A key service in this process: AES-GCM with one key, and a count of the calls to it."""

from __future__ import annotations

import os
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyhinge import (
    Capabilities,
    Context,
    EncryptedValue,
    InvalidCiphertextError,
    Provider,
    Sealed,
    Section,
    encode_context,
    hookimpl,
    settings,
)


@settings
class ServiceSettings:
    """No settings."""


class Service(Provider):
    """Encrypts at once and counts."""

    capabilities = Capabilities(encrypts=True, binds_context=True)

    def __init__(self) -> None:
        self.calls = 0
        self._cipher = AESGCM(AESGCM.generate_key(256))

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt."""
        self.calls += 1
        nonce = os.urandom(12)
        body = self._cipher.encrypt(nonce, plaintext, _aad(context))
        return Sealed(nonce + body, "key-1", "1")

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt."""
        self.calls += 1
        nonce, body = value.ciphertext[:12], value.ciphertext[12:]
        try:
            return self._cipher.decrypt(nonce, body, _aad(context))
        except InvalidTag:
            raise InvalidCiphertextError("it doesn't open") from None


class ServiceModule(NamedTuple):
    """What an entry point would name; all its sections are one service."""

    service: Service
    keyhinge_api: int = 1
    keyhinge_settings: type = ServiceSettings

    @hookimpl
    def keyhinge_configure(self, settings: ServiceSettings, section: Section) -> Service:
        """Give the service."""
        return self.service


def _aad(context: Context) -> bytes:
    return getattr(context, "encoded", None) or encode_context(context)
