"""The policies of the guide work, word for word, and allow nothing that they needn't.

moto's IAM keeps the users and their policies. It can't evaluate resources and conditions, so the
strict server does that for KMS (`tests/services/kms_policy.py`): what isn't known there fails.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import kms_policy

from keyhinge import (
    NO_CONTEXT,
    AccessDeniedError,
    CheckReport,
    Decrypt,
    EncryptedValue,
    KeyManager,
    Sealed,
)
from keyhinge_aws import AwsProvider

GUIDE = Path(__file__).parents[2] / "docs/how-to/aws.md"
STORED = {
    "table": "secrets",
    "column": "value",
    "account_id": "acct_1",
    "secret_id": "sec_1",
    "kind": "plaid",
}


def policy(name: str, arn: str) -> str:
    """Give a policy as the guide has it, with the key's ARN put in as the guide says."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n```json\n(.*?)```", text, re.DOTALL)
    assert found is not None, name
    return found[1].replace("KEY_ARN", arn)


@pytest.fixture
def client(strict_moto: Any) -> Iterator[Any]:
    """The administrator's bare client."""
    made = strict_moto.client()
    yield made
    made.close()


@pytest.fixture
def key(client: Any) -> str:
    """A key."""
    arn: str = client.create_key()["KeyMetadata"]["Arn"]
    return arn


@pytest.fixture
def user(strict_moto: Any) -> Callable[[str], dict[str, Any]]:
    """Make a user who has a policy; give the settings."""

    def make(text: str) -> dict[str, Any]:
        access_key, secret_key = strict_moto.user(f"user-{uuid.uuid4().hex}", text)
        return {"accessKey": access_key, "secretKey": secret_key, "endpoint": strict_moto.url}

    return make


@pytest.fixture
def as_(
    configure: Callable[..., AwsProvider], user: Callable[[str], dict[str, Any]], key: str
) -> Callable[..., AwsProvider]:
    """Configure a provider for a user who has one of the guide's policies."""
    return lambda name, **more: configure(**user(policy(name, key)), **{"keyID": key, **more})


def stored(sealed: Sealed) -> EncryptedValue:
    """Give what would be stored."""
    return EncryptedValue("aws", sealed.key_id, sealed.version, sealed.ciphertext)


def levels(report: CheckReport) -> dict[str, str]:
    """Give each finding's level by its code."""
    return {finding.code: finding.level for finding in report.findings}


class TestApp:
    """`app.json`: an application that writes and reads."""

    def test_it_writes_and_reads(self, as_):
        provider = as_("app.json")
        value = stored(provider.keyhinge_encrypt(b"x", STORED))
        assert provider.keyhinge_decrypt(value, STORED) == b"x"
        assert provider.keyhinge_current_key().version
        assert provider.keyhinge_decrypt(stored(provider.keyhinge_encrypt(b"x", {})), {}) == b"x"

    def test_nothing_is_missing_for_an_application(self, user, key):
        """Core's own check, with the purpose: no error and no warning."""
        block = {**user(policy("app.json", key)), "keyID": key, "region": "us-east-1"}
        with KeyManager.open({"keyManagement": {"provider": "aws", "aws": block}}) as keys:
            report = keys.check("aws", purpose="app")
            assert not [f for f in report.findings if f.level in ("error", "warning")]
            assert keys.health(max_age=0).ok

    def test_it_can_not_rewrap_in_the_service(self, as_):
        provider = as_("app.json")
        value = stored(provider.keyhinge_encrypt(b"x", STORED))
        (result,) = provider.keyhinge_rewrap_many([Decrypt(value, STORED)])
        assert isinstance(result, AccessDeniedError)
        assert "ReEncrypt" in str(result)
        findings = {finding.code: finding for finding in provider.keyhinge_check().findings}
        assert findings["permission-rewrap"].level == "error"
        assert findings["permission-rewrap"].purposes == ("migrate",)

    @pytest.mark.parametrize("context", [NO_CONTEXT, {"email": "a@b.c"}, {**STORED, "more": "1"}])
    def test_contexts_that_the_condition_does_not_have(self, as_, context):
        with pytest.raises(AccessDeniedError):
            as_("app.json").keyhinge_encrypt(b"x", context)

    def test_another_key(self, as_, client):
        other = client.create_key()["KeyMetadata"]["Arn"]
        with pytest.raises(AccessDeniedError):
            as_("app.json", keyID=other).keyhinge_encrypt(b"x", STORED)

    def test_by_alias(self, as_, client, key):
        """IAM looks at the key that the alias points to."""
        alias = f"alias/keyhinge-{uuid.uuid4().hex}"
        client.create_alias(AliasName=alias, TargetKeyId=key)
        provider = as_("app.json", keyID=alias)
        value = stored(provider.keyhinge_encrypt(b"x", STORED))
        assert provider.keyhinge_decrypt(value, STORED) == b"x"

    def test_administration_is_not_allowed(self):
        """Nothing but the few actions, whatever the key."""
        documents = [json.loads(policy(name, "*")) for name in ("app.json", "app-migrate.json")]
        values = kms_policy.condition_values(STORED)
        for action in ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:CreateGrant", "kms:*"):
            assert not kms_policy.allows(documents, action, "arn", values)
        assert kms_policy.allows(documents, "kms:Encrypt", "arn", values)


class TestRead:
    """`app-read.json`: a process that only reads."""

    def test_it_reads_and_does_nothing_else(self, as_):
        value = stored(as_("app.json").keyhinge_encrypt(b"x", STORED))
        reader = as_("app-read.json")
        assert reader.keyhinge_decrypt(value, STORED) == b"x"
        with pytest.raises(AccessDeniedError, match="kms:Encrypt"):
            reader.keyhinge_encrypt(b"x", STORED)

    def test_what_is_missing_is_no_matter_to_a_reader(self, as_):
        report = as_("app-read.json").keyhinge_check()
        for finding in report.findings:
            assert finding.level != "error" or "read" not in finding.purposes, finding
        assert levels(report)["permission-encrypt"] == "error"
        assert levels(report)["key-untold"] == "info"


class TestMigrate:
    """`app-migrate.json`: an operator who rewraps and migrates."""

    def test_it_does_everything(self, as_):
        provider = as_("app-migrate.json")
        value = stored(provider.keyhinge_encrypt(b"x", STORED))
        (result,) = provider.keyhinge_rewrap_many([Decrypt(value, STORED)])
        assert isinstance(result, Sealed)
        assert provider.keyhinge_decrypt(stored(result), STORED) == b"x"
        found = levels(provider.keyhinge_check())
        assert "error" not in found.values()
        assert "rotation" in found
        assert not {"key-untold", "rotation-untold"} & set(found)


@pytest.mark.parametrize("name", ["app.json", "app-read.json", "app-migrate.json"])
def test_no_action_could_be_left_out(name, configure, user, key):
    """Without any one of a policy's actions, its holder misses something."""
    whole = json.loads(policy(name, key))
    admin = configure(endpoint=user(policy(name, key))["endpoint"], keyID=key)
    value = stored(admin.keyhinge_encrypt(b"x", STORED))
    baseline = _abilities(configure(**user(json.dumps(whole)), keyID=key), value)
    for statement in range(len(whole["Statement"])):
        actions = whole["Statement"][statement]["Action"]
        for action in actions if isinstance(actions, list) else [actions]:
            less = json.loads(policy(name, key))
            left = [each for each in actions if each != action] if isinstance(actions, list) else []
            less["Statement"][statement]["Action"] = left or "kms:ListKeys"
            provider = configure(**user(json.dumps(less)), keyID=key)
            assert _abilities(provider, value) < baseline, action


def _abilities(provider: AwsProvider, value: EncryptedValue) -> set[str]:
    """Find out what a provider's identity can do."""
    found = levels(provider.keyhinge_check())
    able = {code for code, level in found.items() if level == "ok"} | ({"rotation"} & set(found))
    try:
        provider.keyhinge_decrypt(value, STORED)
    except AccessDeniedError:
        return able
    return able | {"decrypt"}


class TestEvaluation:
    """The evaluation of policies that these tests rest on."""

    def allows(self, *statements: dict[str, Any], context: dict[str, str] | None = None) -> bool:
        documents = [
            {"Statement": [{"Action": "kms:Decrypt", "Resource": "*", **s}]} for s in statements
        ]
        values = kms_policy.condition_values(context, "alias/app")
        return kms_policy.allows(documents, "kms:Decrypt", "arn:key/1", values)

    def test_a_denial_wins_and_nothing_is_no_permission(self):
        assert self.allows({"Effect": "Allow"})
        assert not self.allows({"Effect": "Allow"}, {"Effect": "Deny"})
        assert not self.allows()
        assert not self.allows({"Effect": "Allow", "Resource": "arn:key/2"})
        assert self.allows({"Effect": "Allow", "Resource": "arn:key/*", "Action": "kms:De*"})

    @pytest.mark.parametrize(
        ("condition", "context", "expected"),
        [
            ({"StringEquals": {"kms:EncryptionContext:a": "1"}}, {"a": "1"}, True),
            ({"StringEquals": {"kms:EncryptionContext:a": "1"}}, {"a": "2"}, False),
            ({"StringEquals": {"kms:EncryptionContext:a": "1"}}, {}, False),
            ({"StringLike": {"kms:EncryptionContext:a": ["x", "t-*"]}}, {"a": "t-1"}, True),
            ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "a"}}, {"a": "1"}, True),
            ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "a"}}, {"b": "1"}, False),
            # AWS calls this one a trap: no key at all is fine, too. Hence `Null` in the guide.
            ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "a"}}, {}, True),
            ({"Null": {"kms:EncryptionContextKeys": "false"}}, {}, False),
            ({"Null": {"kms:EncryptionContextKeys": "false"}}, {"a": "1"}, True),
            ({"StringEquals": {"kms:RequestAlias": "alias/app"}}, {}, True),
        ],
    )
    def test_conditions(self, condition, context, expected):
        assert self.allows({"Effect": "Allow", "Condition": condition}, context=context) == expected

    def test_what_it_does_not_know_is_no_guess(self):
        with pytest.raises(NotImplementedError):
            self.allows({"Effect": "Allow", "NotAction": "kms:Encrypt"})
        with pytest.raises(NotImplementedError):
            self.allows({"Effect": "Allow", "Condition": {"StringEquals": {"aws:SourceIp": "::1"}}})
