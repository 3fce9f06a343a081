"""The Keyhinge providers for HashiCorp Vault and OpenBao Transit: `vault` and `openbao`."""

from keyhinge_vault._provider import VaultProvider
from keyhinge_vault._settings import OpenBaoSettings, VaultSettings

__all__ = ["OpenBaoSettings", "VaultProvider", "VaultSettings"]
