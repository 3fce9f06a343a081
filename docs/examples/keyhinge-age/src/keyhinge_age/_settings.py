"""What stands in an `age` section."""

import re

from keyhinge import InvalidSettings, Secret, secret, setting, settings

# Bech32 of 32 bytes. A recipient that looks right and isn't is found when it is first used.
RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}")


@settings
class AgeSettings:
    """Settings of an `age` section."""

    identity: Secret = secret(
        help=(
            "Identities as `age-keygen` writes them, one a line. The first one encrypts, and "
            "each of them decrypts."
        ),
        example="${AGE_IDENTITY}",
    )
    recovery_recipients: list[str] = setting(
        factory=list,
        alias="recoveryRecipients",
        help=(
            "Public keys that can open every new value as well, with age alone. Keep their "
            "identities away from the application."
        ),
        example="[age1…]",
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what can't be a public key."""
        for number, recipient in enumerate(self.recovery_recipients, start=1):
            if not RECIPIENT.fullmatch(recipient):
                # Not repeated: somebody may have put a secret key there.
                message = f"number {number} isn't an age public key (age1…, 62 characters)"
                raise InvalidSettings({"recoveryRecipients": message})
