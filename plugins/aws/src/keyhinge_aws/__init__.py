"""The Keyhinge provider for AWS KMS."""

from keyhinge_aws._provider import AwsProvider, keyhinge_configure
from keyhinge_aws._settings import AwsSettings

__all__ = [
    "AwsProvider",
    "AwsSettings",
    "keyhinge_api",
    "keyhinge_configure",
    "keyhinge_settings",
]

keyhinge_api = 1
keyhinge_settings = AwsSettings
