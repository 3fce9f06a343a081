"""The provider `vault`: HashiCorp Vault's Transit engine."""

from __future__ import annotations

from keyhinge import Section, hookimpl
from keyhinge_vault._provider import VaultProvider, configure
from keyhinge_vault._settings import VaultSettings

__all__ = ["keyhinge_api", "keyhinge_configure", "keyhinge_settings"]

keyhinge_api = 1
keyhinge_settings = VaultSettings


@hookimpl
def keyhinge_configure(settings: VaultSettings, section: Section) -> VaultProvider:
    """Make the provider; connects nowhere."""
    return configure(settings, section)
