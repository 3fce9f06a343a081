"""The `plaintext` provider: stores what it is given, and declares that it does."""

from __future__ import annotations

from keyhinge import (
    Capabilities,
    Context,
    EncryptedValue,
    InvalidCiphertextError,
    KeyRef,
    Provider,
    Sealed,
    Section,
    hookimpl,
    settings,
)

# In front of each value, so that an empty one isn't empty and nothing else is taken for one.
_MARKER = b"\x50"


@settings
class PlaintextSettings:
    """Settings of a `plaintext` section: there are none."""


class PlaintextProvider(Provider):
    """Doesn't encrypt. The context is taken and ignored: nothing here could authenticate it."""

    capabilities = Capabilities(encrypts=False, binds_context=False, blocking=False)

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Put the marker in front."""
        return Sealed(_MARKER + plaintext)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Take the marker away."""
        ciphertext = value.ciphertext
        if value.key_id or value.version or ciphertext[:1] != _MARKER:
            raise InvalidCiphertextError
        return ciphertext[1:]

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell that there is no key."""
        return KeyRef("")


@hookimpl
def keyhinge_configure(
    settings: PlaintextSettings,  # noqa: ARG001
    section: Section,  # noqa: ARG001
) -> PlaintextProvider:
    """Make the provider; there is nothing to configure."""
    return PlaintextProvider()
