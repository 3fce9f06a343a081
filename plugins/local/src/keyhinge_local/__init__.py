"""The Keyhinge provider that keeps its keys in a local file.

`keyhinge_local.keyfile` makes and changes key files.
"""

from keyhinge_local._errors import KeyFileError
from keyhinge_local._provider import LocalProvider, keyhinge_configure
from keyhinge_local._settings import LocalSettings

__all__ = [
    "KeyFileError",
    "LocalProvider",
    "LocalSettings",
    "keyhinge_api",
    "keyhinge_configure",
    "keyhinge_settings",
]

keyhinge_api = 1
keyhinge_settings = LocalSettings
