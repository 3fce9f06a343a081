"""`envelope` passes the conformance kit over every key service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.services.moto import ACCESS_KEY, REGION, SECRET_KEY, Moto

from keyhinge.testing import ProviderConformance
from keyhinge_local import envelope

Settings = dict[str, Any]


class Over(ProviderConformance):
    """Two sections of a key service, each with a key of its own, and `envelope` over them."""

    provider = envelope
    client_libraries = ("cryptography", "hvac", "requests", "boto3", "botocore")
    below: Mapping[str, Settings]

    def settings(self) -> Mapping[str, Any]:
        """Name the section below."""
        return {"over": "below"}

    def other_settings(self) -> Mapping[str, Any]:
        """Name the other one."""
        return {"over": "other"}

    def wrong_settings(self) -> Sequence[Mapping[str, Any]]:
        """Give some that can't be right."""
        return [{**self.settings(), "maxAge": "soon"}]

    def other_sections(self) -> Mapping[str, Mapping[str, Any]]:
        """Give both."""
        return self.below


class TestOverVault(Over):
    """Over an ordinary key of Transit: the context is associated data."""

    kind = "vault"
    options: Mapping[str, Any] = {}

    @pytest.fixture(autouse=True)
    def keys_of_this_test(self, bao_section: Callable[..., Settings]) -> None:
        """Make a key and a token for each."""
        self.below = {name: bao_section(self.kind, **self.options) for name in ("below", "other")}


class TestOverDerived(TestOverVault):
    """Over a derived key: the context derives it."""

    options: Mapping[str, Any] = {"derived": True}


class TestOverOpenBao(TestOverVault):
    """The same under its other name."""

    kind = "openbao"


class TestOverAws(Over):
    """Over KMS."""

    @pytest.fixture(autouse=True)
    def keys_of_this_test(self, moto: Moto) -> None:
        """Make a key for each."""
        client = moto.client()
        self.below = {
            name: {
                "type": "aws",
                "region": REGION,
                "accessKey": ACCESS_KEY,
                "secretKey": SECRET_KEY,
                "endpoint": moto.url,
                "keyID": client.create_key()["KeyMetadata"]["Arn"],
            }
            for name in ("below", "other")
        }
        client.close()
