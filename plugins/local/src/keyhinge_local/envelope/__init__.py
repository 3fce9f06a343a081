"""The Keyhinge provider that encrypts with data keys, which another section wraps.

One call to the key service serves many values. `docs/reference/formats.md` has the format.
"""

from keyhinge_local.envelope._provider import EnvelopeProvider, keyhinge_configure
from keyhinge_local.envelope._settings import EnvelopeSettings

__all__ = [
    "EnvelopeProvider",
    "EnvelopeSettings",
    "keyhinge_api",
    "keyhinge_configure",
    "keyhinge_settings",
]

keyhinge_api = 1
keyhinge_settings = EnvelopeSettings
