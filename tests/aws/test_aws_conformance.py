"""The `aws` provider passes the conformance kit, its key named by ARN, id and alias."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from tests.services.moto import ACCESS_KEY, REGION, SECRET_KEY, Moto

import keyhinge_aws
from keyhinge.testing import ProviderConformance

Keys = tuple[str, str, str]


@pytest.fixture(scope="class")
def made(strict_moto: Moto) -> Keys:
    """The ARNs of two keys, and an alias of the first one: no case changes a key."""
    client = strict_moto.client()
    one, other = (client.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    alias = f"alias/keyhinge-{uuid.uuid4().hex}"
    client.create_alias(AliasName=alias, TargetKeyId=one)
    client.close()
    return one, other, alias


class TestKeyArn(ProviderConformance):
    """A section whose `keyID` is an ARN."""

    provider = keyhinge_aws
    client_libraries = ("boto3", "botocore")

    @pytest.fixture(autouse=True)
    def name_keys(self, strict_moto: Moto, made: Keys) -> None:
        """Take a key for each of two sections."""
        self.base = {
            "region": REGION,
            "accessKey": ACCESS_KEY,
            "secretKey": SECRET_KEY,
            "endpoint": strict_moto.url,
        }
        self.one, self.other, self.alias = made

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
