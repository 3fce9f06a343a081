"""`vault` and `openbao` pass the conformance kit, with both ways of binding a context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge.testing import ProviderConformance
from keyhinge_vault import openbao, vault

if TYPE_CHECKING:
    from tests.vault._openbao import Bao


class TestVault(ProviderConformance):
    """Ordinary keys: the context is associated data."""

    provider = vault
    client_libraries = ("hvac", "requests")
    options: Mapping[str, Any] = {}

    @pytest.fixture(autouse=True)
    def keys_of_this_test(self, bao: Bao) -> None:
        """Make a key and a token for each of two sections."""
        self.blocks = []
        for _ in range(2):
            key = bao.key(**self.options)
            token = bao.token([bao.transit_policy(key)])
            self.blocks.append({"endpoint": bao.url, "keyID": key, "token": token})

    def settings(self) -> Mapping[str, Any]:
        """Name one key."""
        return self.blocks[0]

    def other_settings(self) -> Mapping[str, Any]:
        """Name another."""
        return self.blocks[1]


class TestVaultDerived(TestVault):
    """Derived keys: the context derives the key."""

    options: Mapping[str, Any] = {"derived": True}


class TestOpenBao(TestVault):
    """The same under its other name."""

    provider = openbao
