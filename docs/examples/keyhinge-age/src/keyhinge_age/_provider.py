"""The provider: settings in, hooks, and how a value finds its identity."""

from contextlib import suppress
from typing import TYPE_CHECKING

from keyhinge import (
    Capabilities,
    CheckReport,
    Context,
    EncryptedValue,
    InvalidCiphertextError,
    KeyRef,
    KeyUnavailableError,
    Provider,
    Sealed,
    Section,
    hookimpl,
)
from keyhinge_age._identities import Identities
from keyhinge_age._settings import RECIPIENT, AgeSettings

if TYPE_CHECKING:
    from pyrage import x25519


class AgeProvider(Provider):
    """Encrypts with the first identity, and decrypts with each.

    Args:
        identities: Parses the setting when it is first needed.
        recovery: Public keys that can open new values as well.
    """

    capabilities = Capabilities(
        encrypts=True,
        binds_context=True,
        key_versions=True,  # in a sense: a new identity makes older values stale
        max_plaintext=16 * 1024 * 1024,
    )

    def __init__(self, identities: Identities, recovery: tuple[str, ...]) -> None:
        self._identities = identities
        self._recovery = recovery

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt for the first identity and for those that are kept for recovery."""
        identity = self._identities.all()[0]
        recovery = recipients(self._recovery)
        return Sealed(identity.seal(plaintext, context, recovery), identity.key_id)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt with exactly the identity that the value names."""
        for identity in self._identities.all():
            if (value.key_id, value.version) == (identity.key_id, ""):
                return identity.open(value.ciphertext, context)
        if not RECIPIENT.fullmatch(value.key_id) or value.version:
            raise InvalidCiphertextError  # no identity was ever called that: it was changed
        msg = (
            f"the value was encrypted for {value.key_id}, and this section hasn't got that "
            "identity: add its line to those that `identity` has"
        )
        raise KeyUnavailableError(msg)

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the first identity's public key."""
        return KeyRef(self._identities.all()[0].key_id)

    @hookimpl
    def keyhinge_check(self) -> CheckReport:
        """Look at the identities, at who else can read their file, and at recovery."""
        from keyhinge_age._check import findings

        return CheckReport(findings(self._identities, self._recovery))

    @hookimpl
    def keyhinge_close(self) -> None:
        """Drop the keys."""
        self._identities.forget()


def recipients(names: tuple[str, ...]) -> "list[x25519.Recipient]":
    """Parse public keys.

    Raises:
        KeyUnavailableError: One of them only looks like one.
    """
    from pyrage import RecipientError, x25519

    parsed = []
    for name in names:
        recipient = None
        with suppress(RecipientError):
            recipient = x25519.Recipient.from_str(name)
        if recipient is None:
            msg = f"{name} in 'recoveryRecipients' isn't a public key: a character is wrong"
            raise KeyUnavailableError(msg)
        parsed.append(recipient)
    return parsed


@hookimpl
def keyhinge_configure(settings: AgeSettings, section: Section) -> AgeProvider:
    """Make the provider; reads nothing."""
    return AgeProvider(Identities(settings.identity), tuple(settings.recovery_recipients))
