"""The provider `openbao`: OpenBao's Transit engine."""

from __future__ import annotations

from keyhinge import Section, hookimpl
from keyhinge_vault._provider import VaultProvider, configure
from keyhinge_vault._settings import OpenBaoSettings

__all__ = ["keyhinge_api", "keyhinge_configure", "keyhinge_settings"]

keyhinge_api = 1
keyhinge_settings = OpenBaoSettings


@hookimpl
def keyhinge_configure(settings: OpenBaoSettings, section: Section) -> VaultProvider:
    """Make the provider; connects nowhere."""
    return configure(settings, section)
