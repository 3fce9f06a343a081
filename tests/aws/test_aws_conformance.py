"""The `aws` provider passes the conformance kit, its key named by ARN, id and alias."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

import keyhinge_aws
from keyhinge.testing import ProviderConformance


class TestKeyArn(ProviderConformance):
    """A section whose `keyID` is an ARN."""

    provider = keyhinge_aws
    client_libraries = ("boto3", "botocore")

    @pytest.fixture(autouse=True)
    def make_keys(self, strict_moto: Any, base_settings: dict[str, Any]) -> None:
        """Make a key for each of two sections, and an alias for the first one."""
        self.base = {**base_settings, "endpoint": strict_moto.url}
        client = strict_moto.client()
        self.one, self.other = (client.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        self.alias = f"alias/keyhinge-{uuid.uuid4().hex}"
        client.create_alias(AliasName=self.alias, TargetKeyId=self.one)
        client.close()

    def settings(self) -> Mapping[str, Any]:
        """Name the key."""
        return {**self.base, "keyID": self.one}

    def other_settings(self) -> Mapping[str, Any]:
        """Name another one."""
        return {**self.base, "keyID": self.other}


class TestKeyId(TestKeyArn):
    """A section whose `keyID` is a bare id."""

    def settings(self) -> Mapping[str, Any]:
        """Give the id alone."""
        return {**self.base, "keyID": self.one.rpartition("/")[2]}


class TestAlias(TestKeyArn):
    """A section whose `keyID` is an alias."""

    def settings(self) -> Mapping[str, Any]:
        """Give the alias."""
        return {**self.base, "keyID": self.alias}
