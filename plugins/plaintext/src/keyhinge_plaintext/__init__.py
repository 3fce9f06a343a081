"""The Keyhinge provider that doesn't encrypt, for development."""

from keyhinge_plaintext._provider import (
    PlaintextProvider,
    PlaintextSettings,
    keyhinge_configure,
)

__all__ = [
    "PlaintextProvider",
    "PlaintextSettings",
    "keyhinge_api",
    "keyhinge_configure",
    "keyhinge_settings",
]

keyhinge_api = 1
keyhinge_settings = PlaintextSettings
