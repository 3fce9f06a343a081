"""What `check` finds, and for which purposes."""

from __future__ import annotations

import email.utils
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from keyhinge import CheckReport, Finding, KeyManager, Secret
from keyhinge_aws import AwsProvider
from keyhinge_aws._check_credentials import masked

Configure = Callable[..., AwsProvider]
UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:us-east-1:111122223333:key/{UUID}"
OLD = ARN.replace("1234abcd", "99999999")


def finding(report: CheckReport, code: str) -> Finding:
    """Give the only finding of a code."""
    (found,) = [each for each in report.findings if each.code == code]
    return found


def levels(report: CheckReport) -> dict[str, str]:
    """Give the findings' levels by code."""
    return {each.code: each.level for each in report.findings}


class Service:
    """Answers as KMS does; a test changes the metadata, or refuses actions."""

    def __init__(self) -> None:
        self.refused: dict[str, tuple[int, str]] = {}
        self.metadata: dict[str, Any] = {
            "Arn": ARN,
            "KeyId": UUID,
            "KeyState": "Enabled",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyManager": "CUSTOMER",
            "Origin": "AWS_KMS",
        }

    def __call__(self, action: str, fields: dict[str, Any]) -> tuple[int, Any]:
        if action in self.refused:
            status, code = self.refused[action]
            return status, {"__type": code}
        key = fields.get("KeyId", "")
        if action == "DescribeKey":
            old = {"Arn": OLD, "KeyId": OLD[-36:]} if key == OLD else {}
            return 200, {"KeyMetadata": {**self.metadata, **old}}
        if action == "GetKeyRotationStatus":
            return 200, {"KeyRotationEnabled": True, "NextRotationDate": 1893456000}
        if action == "Decrypt" and key == OLD:
            return 400, {"__type": "InvalidCiphertextException"}
        blob = {"KeyId": ARN, "CiphertextBlob": "Y2M=", "SourceKeyId": ARN}
        return 200, {"KeyId": ARN, "Plaintext": "eA=="} if action == "Decrypt" else blob


@pytest.fixture
def service(stub: Any) -> Service:
    """The stub, answering as KMS does."""
    stub.answer = made = Service()
    return made


@pytest.fixture
def check(configure: Configure, stub: Any, service: Service) -> Callable[..., CheckReport]:
    """Check a provider that speaks to the stub."""

    def run(environ: dict[str, str] | None = None, **values: Any) -> CheckReport:
        given = {"endpoint": stub.url, "keyID": ARN, **values}
        return configure(environ, **given).keyhinge_check()

    return run


def test_all_is_well_with_moto(configure: Configure, key_arn: str) -> None:
    report = configure(keyID=key_arn).keyhinge_check()
    assert report.ok
    found = levels(report)
    for code in (
        "endpoint",
        "credentials",
        "key",
        "permission-encrypt",
        "permission-decrypt",
        "permission-rewrap",
    ):
        assert found[code] == "ok"
    assert found["context-visible"] == "info"
    assert "warning" not in found.values()


class TestCredentials:
    """Whose they are, and when they end; never the secret parts."""

    def test_what_is_shown(self, check: Callable[..., CheckReport]) -> None:
        report = check(accessKey="AKIAIOSFODNN7EXAMPLE", secretKey="S3CR3T-marker")
        found = finding(report, "credentials")
        assert found.data["source"] == "explicit"
        assert found.data["access_key"] == "AKIA…MPLE"
        assert "IOSFODNN7" not in repr(report)
        assert "S3CR3T" not in repr(report)
        assert masked("short") == "…"

    def test_a_session_token_ends(self, check: Callable[..., CheckReport], tmp_path: Any) -> None:
        assert finding(check(sessionToken="t"), "credentials-renewal").level == "warning"
        (tmp_path / "token").write_text("t")
        report = check(sessionToken=Secret.from_file(tmp_path / "token"))
        assert finding(report, "credentials-renewal").level == "info"

    def test_the_environment_tells_its_end(self, check: Callable[..., CheckReport]) -> None:
        environ = {
            "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_SESSION_TOKEN": "t",
            "AWS_CREDENTIAL_EXPIRATION": "2099-01-02T03:04:05+01:00",
        }
        report = check(environ, accessKey=None, secretKey=None)
        found = finding(report, "credentials-renewal")
        assert found.data["expires"] == "2099-01-02T02:04:05Z"
        assert "session token" in str(found.data["breaks"])

    def test_a_role_renews_itself(self, configure: Configure, key_arn: str, moto: Any) -> None:
        role = "arn:aws:iam::123456789012:role/keyhinge"
        provider = configure({"AWS_ENDPOINT_URL_STS": moto.url}, keyID=key_arn, roleARN=role)
        report = provider.keyhinge_check()
        found = finding(report, "credentials")
        assert found.data["role"] == role
        assert 0 < int(found.data["ttl"] or 0) <= 3600
        assert finding(report, "credentials-renewal").level == "ok"
        assert not any("expires" in each.data for each in report.findings)

    def test_there_are_none(self, check: Callable[..., CheckReport], stub: Any) -> None:
        report = check(accessKey=None, secretKey=None)
        assert not report.ok
        assert levels(report) == {"credentials": "error"}
        assert stub.requests == []


class TestKeys:
    """State and use of the keys."""

    @pytest.mark.parametrize(
        "state", ["Disabled", "PendingImport", "Unavailable", "PendingReplicaDeletion"]
    )
    def test_states(self, check: Callable[..., CheckReport], service: Service, state: str) -> None:
        service.metadata["KeyState"] = state
        found = finding(check(), "key-state")
        assert found.level == "error"
        assert state in found.message

    def test_a_pending_deletion_is_what_breaks_next(
        self, check: Callable[..., CheckReport], service: Service
    ) -> None:
        service.metadata |= {"KeyState": "PendingDeletion", "DeletionDate": 1893456000}
        found = finding(check(), "key-state")
        assert found.data["expires"] == "2030-01-01T00:00:00Z"
        assert "deleted" in str(found.data["breaks"])

    def test_imported_material_that_expires(
        self, check: Callable[..., CheckReport], service: Service
    ) -> None:
        service.metadata |= {"Origin": "EXTERNAL", "ValidTo": 1893456000}
        found = finding(check(), "key-material")
        assert (found.level, found.data["expires"]) == ("warning", "2030-01-01T00:00:00Z")

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"KeyUsage": "SIGN_VERIFY"}, "key-usage"),
            ({"KeySpec": "RSA_2048"}, "key-usage"),
            ({"KeyManager": "AWS"}, "key-manager"),
        ],
    )
    def test_keys_of_the_wrong_kind(
        self, check: Callable[..., CheckReport], service: Service, changed: Any, code: str
    ) -> None:
        service.metadata |= changed
        assert finding(check(), code).level == "error"

    def test_rotation(self, check: Callable[..., CheckReport], service: Service) -> None:
        assert finding(check(), "rotation").data["next"] == "2030-01-01T00:00:00Z"
        service.refused["GetKeyRotationStatus"] = 400, "AccessDeniedException"
        report = check()
        assert report.ok
        assert finding(report, "rotation-untold").level == "info"

    def test_without_the_right_to_describe(
        self, check: Callable[..., CheckReport], service: Service
    ) -> None:
        service.refused["DescribeKey"] = 400, "AccessDeniedException"
        report = check()
        assert report.ok
        assert finding(report, "key-untold").level == "info"

    def test_multi_region_keys(self, check: Callable[..., CheckReport], service: Service) -> None:
        service.metadata["MultiRegionConfiguration"] = {
            "MultiRegionKeyType": "PRIMARY",
            "PrimaryKey": {"Arn": ARN, "Region": "us-east-1"},
            "ReplicaKeys": [{"Arn": ARN, "Region": "eu-west-1"}],
        }
        assert finding(check(), "key-regions").data["regions"] == "us-east-1,eu-west-1"

    def test_each_old_key(self, check: Callable[..., CheckReport], service: Service) -> None:
        report = check(decryptKeyIDs=(OLD,))
        assert report.ok
        assert [f.data["arn"] for f in report.findings if f.code == "key"] == [ARN, OLD]


class TestAlias:
    """Where an alias points."""

    def test_its_target_should_be_listed(
        self, configure: Configure, key_arn: str, kms_client: Any
    ) -> None:
        alias = f"alias/{uuid.uuid4().hex}"
        kms_client.create_alias(AliasName=alias, TargetKeyId=key_arn)
        found = finding(configure(keyID=alias).keyhinge_check(), "alias-target")
        assert found.level == "warning"
        assert key_arn in found.message
        listed = configure(keyID=alias, decryptKeyIDs=(key_arn,)).keyhinge_check()
        assert finding(listed, "alias-target").level == "ok"


class TestPermissions:
    """The action that is missing, and for whom it matters."""

    @pytest.mark.parametrize(
        ("action", "code", "says", "purposes"),
        [
            ("Encrypt", "permission-encrypt", "kms:Encrypt", ("app", "migrate")),
            ("Decrypt", "permission-decrypt", "kms:Decrypt", ("app", "read", "migrate")),
            ("ReEncrypt", "permission-rewrap", "kms:ReEncryptFrom", ("migrate",)),
        ],
    )
    def test_what_is_missing(
        self,
        check: Callable[..., CheckReport],
        service: Service,
        action: str,
        code: str,
        says: str,
        purposes: tuple[str, ...],
    ) -> None:
        service.refused[action] = 400, "AccessDeniedException"
        found = finding(check(), code)
        assert found.level == "error"
        assert says in found.message
        assert found.purposes == purposes

    def test_an_old_key_that_may_not_decrypt(
        self, check: Callable[..., CheckReport], service: Service
    ) -> None:
        service.refused["Decrypt"] = 400, "AccessDeniedException"
        report = check(decryptKeyIDs=(OLD,))
        assert {OLD, None} == {
            f.data.get("key") for f in report.findings if f.code == "permission-decrypt"
        }

    def test_a_reader_needs_no_right_to_encrypt(
        self, base_settings: dict[str, Any], stub: Any, service: Service
    ) -> None:
        service.refused["Encrypt"] = 400, "AccessDeniedException"
        block = {**base_settings, "endpoint": stub.url, "keyID": ARN}
        file = {"keyManagement": {"provider": "aws", "aws": block}}
        with KeyManager.open(file, environ={}) as keys:
            assert keys.check(purpose="read").ok
            assert not keys.check(purpose="app").ok


class TestPlace:
    """Endpoint, region, clock."""

    def test_plain_http_off_this_machine(self, configure: Configure) -> None:
        provider = configure(endpoint="http://kms.invalid", keyID=ARN, timeout=1.0)
        report = provider.keyhinge_check()
        assert finding(report, "endpoint-plain").level == "warning"
        assert finding(report, "service").level == "error"

    def test_a_region_that_is_not_used(self, check: Callable[..., CheckReport]) -> None:
        assert finding(check(region="eu-west-1"), "region-unused").level == "warning"

    @pytest.mark.parametrize(("skew", "level"), [(0, "ok"), (-200, "warning"), (200, "warning")])
    def test_the_clock(
        self, check: Callable[..., CheckReport], stub: Any, skew: int, level: str
    ) -> None:
        stub.date = email.utils.formatdate(time.time() - skew, usegmt=True)
        found = finding(check(), "clock")
        assert found.level == level
        assert abs(int(found.data["skew"] or 0) - skew) <= 5

    def test_down(self, configure: Configure, stub: Any) -> None:
        """One finding, and not one for each call that can't be made."""
        stub.answer = lambda *_: (500, {})
        report = configure(endpoint=stub.url, keyID=ARN, decryptKeyIDs=(OLD,)).keyhinge_check()
        assert [each.code for each in report.findings if each.level == "error"] == ["service"]
        assert len(stub.requests) == 3
