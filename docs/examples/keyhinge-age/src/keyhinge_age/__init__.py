"""The Keyhinge provider `age`: values are age files, under an identity of one's own."""

from keyhinge_age._identities import OFFSET
from keyhinge_age._provider import AgeProvider, keyhinge_configure
from keyhinge_age._settings import AgeSettings

__all__ = ["OFFSET", "AgeProvider", "AgeSettings", "keyhinge_configure"]

keyhinge_api = 1
keyhinge_settings = AgeSettings
