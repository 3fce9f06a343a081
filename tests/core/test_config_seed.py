"""The files that self-hosters already have work unchanged."""

from pathlib import Path
from typing import Literal

from keyhinge._secret import Secret
from keyhinge._settings import secret, setting, settings
from keyhinge.config._configuration import load_configuration

AWS = """\
keyManagement:
  provider: aws
  aws:
    region: "us-east1"
    accessKey: "AKIAEXAMPLE"
    secretKey: "S3CR3T-marker"
    keyID: "1234abcd-12ab-34cd-56ef-1234567890ab"
    endpoint: "http://localhost:4566" # Only for development
"""

VAULT = """\
environment: self-hosted
postgresql: &pg {address: db, password: "S3CR3T-marker"}
redis: *pg
keyManagement:
  provider: vault
  vault:
    keyID: monetr
    authMethod: kubernetes
    role: monetr
    endpoint: https://your-vault-server.local:8200
    tlsCertificatePath: /etc/monetr/vault/tls.crt
    tlsKeyPath: /etc/monetr/vault/tls.key
    tlsCAPath: /etc/monetr/vault/ca.crt
    insecureSkipVerify: false
"""


@settings
class AwsSettings:
    """The keys of the `aws` block."""

    region: str | None = None
    access_key: Secret | None = secret(alias="accessKey", default=None)
    secret_key: Secret | None = secret(alias="secretKey", default=None)
    key_id: str = setting(alias="keyID")
    endpoint: str | None = None


@settings
class VaultSettings:
    """The keys of the `vault` block."""

    key_id: str = setting(alias="keyID", help="The Transit key.", example="monetr")
    auth_method: Literal["token", "kubernetes", "userpass"] = setting(alias="authMethod")
    token: Secret | None = secret(default=None)
    username: str | None = None
    password: Secret | None = secret(default=None)
    role: str | None = None
    endpoint: str = setting()
    tls_certificate_path: Path | None = setting(alias="tlsCertificatePath", default=None)
    tls_key_path: Path | None = setting(alias="tlsKeyPath", default=None)
    tls_ca_path: Path | None = setting(alias="tlsCAPath", default=None)
    insecure_skip_verify: bool = setting(alias="insecureSkipVerify", default=False)


def load(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_configuration(path, {})


def test_aws(tmp_path):
    configuration = load(tmp_path, AWS)
    aws = configuration.structure_section("aws", AwsSettings)
    assert configuration.primary == "aws"
    assert (aws.region, aws.endpoint) == ("us-east1", "http://localhost:4566")
    assert aws.key_id == "1234abcd-12ab-34cd-56ef-1234567890ab"
    assert aws.secret_key.reveal() == "S3CR3T-marker"
    assert "S3CR3T" not in repr(aws)
    assert configuration.check_section("aws", AwsSettings) == ()


def test_vault(tmp_path):
    configuration = load(tmp_path, VAULT)
    vault = configuration.structure_section("vault", VaultSettings)
    assert configuration.problems == ()
    assert (vault.key_id, vault.auth_method, vault.role) == ("monetr", "kubernetes", "monetr")
    assert vault.endpoint == "https://your-vault-server.local:8200"
    assert vault.tls_certificate_path == Path("/etc/monetr/vault/tls.crt")
    assert vault.tls_ca_path == Path("/etc/monetr/vault/ca.crt")
    assert vault.insecure_skip_verify is False


def test_the_spelling_of_monetrs_own_guide(tmp_path):
    configuration = load(tmp_path, VAULT.replace("keyID", "keyId"))
    assert configuration.structure_section("vault", VaultSettings).key_id == "monetr"
    (warning,) = configuration.check_section("vault", VaultSettings)
    assert (warning.severity, warning.path) == ("warning", "keyManagement.vault.keyId")


def test_the_other_blocks_stay_when_the_provider_changes(tmp_path):
    both = VAULT + AWS.partition("provider: aws\n")[2]
    configuration = load(tmp_path, both.replace("provider: vault", "provider: aws"))
    assert configuration.primary == "aws"
    assert list(configuration.sections) == ["vault", "aws"]


def test_plaintext(tmp_path):
    configuration = load(tmp_path, 'keyManagement:\n  provider: "plaintext"\n')
    assert configuration.primary == "plaintext"
    assert load(tmp_path, "keyManagement:\n").implicit_plaintext
