"""The settings of an `aws` section, as a file gives them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from keyhinge import ConfigError, InvalidSettings, KeyManager, Secret
from keyhinge_aws import AwsSettings

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:eu-west-1:111122223333:key/{UUID}"
SEED = """\
keyManagement:
  provider: aws
  aws:
    region: "{region}"
    accessKey: "AKIAEXAMPLE"
    secretKey: "S3CR3T-marker"
    keyID: "1234abcd-12ab-34cd-56ef-1234567890ab"
    endpoint: "http://localhost:4566" # Only for development
"""


def open_block(**block):
    """Open a configuration with one `aws` section, and close it."""
    file = {"keyManagement": {"provider": "aws", "aws": {"keyID": UUID, **block}}}
    KeyManager.open(file, environ={}).close()


def problem(**block):
    """Give the message for settings that are refused."""
    with pytest.raises(ConfigError) as raised:
        open_block(**block)
    return str(raised.value)


def test_the_seed_s_file_works_unchanged(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(SEED.format(region="us-east-1"))
    KeyManager.open(path, environ={}).close()


def test_the_seed_s_slip_gets_a_suggestion(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(SEED.format(region="us-east1"))
    with pytest.raises(ConfigError, match=r"did you mean us-east-1\?") as raised:
        KeyManager.open(path, environ={})
    assert "S3CR3T" not in str(raised.value)


def test_all_keys_together(tmp_path: Path):
    (tmp_path / "secret").write_text("x\n")
    open_block(
        region="eu-west-1",
        accessKey="AKIA",
        secretKeyFile=str(tmp_path / "secret"),
        sessionToken="t",
        endpoint="https://vpce-1.kms.eu-west-1.vpce.amazonaws.com",
        decryptKeyIDs=[KEY_ARN],
        roleARN="arn:aws:iam::111122223333:role/path/keyhinge",
        externalID="ext",
        timeout=2.5,
    )
    open_block(profile="production", useFIPS=True)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"keyID": "my-key"}, r"keyID: isn't a key's id; if it is an alias"),
        ({"decryptKeyIDs": ["alias/x"]}, r"decryptKeyIDs: must be ARNs"),
        ({"decryptKeyIDs": [UUID]}, r"decryptKeyIDs: must be ARNs"),
        ({"accessKey": "AKIA"}, r"secretKey: is required beside `accessKey`"),
        ({"secretKey": "x"}, r"accessKey: is required beside `secretKey`"),
        ({"sessionToken": "x"}, r"sessionToken: needs"),
        ({"accessKey": "A", "secretKey": "x", "profile": "p"}, r"profile: can't stand beside"),
        ({"profile": " "}, r"profile: is empty"),
        ({"roleARN": "role/x"}, r"roleARN: must be the ARN of a role"),
        ({"externalID": "xx"}, r"externalID: needs `roleARN`"),
        ({"endpoint": "localhost:4566"}, r"endpoint: must be a URL"),
        ({"endpoint": "ftp://h"}, r"endpoint: must be a URL"),
        ({"endpoint": "http://h:port"}, r"endpoint: must be a URL"),
        ({"endpoint": "https://u:S3CR3T@h"}, r"endpoint: can't hold a user name"),
        ({"endpoint": "https://h/?S3CR3T"}, r"endpoint: can't have a part"),
        ({"endpoint": "https://h", "useFIPS": True}, r"useFIPS: can't stand beside"),
        ({"timeout": 0}, r"timeout: must be at least"),
        ({"timeout": 3600}, r"timeout: must be at most"),
        ({"keyId": UUID, "secretkeyfile": "x"}, r""),
    ],
)
def test_what_does_not_fit_together_is_refused(block, says):
    message = problem(**block)
    assert re.search(says, message)
    assert "S3CR3T" not in message


def test_all_problems_at_once():
    with pytest.raises(InvalidSettings) as raised:
        AwsSettings(keyID="x y", region="us-east1", externalID="x", accessKey=Secret("x"))
    assert set(raised.value.messages) == {"keyID", "region", "externalID", "secretKey"}


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"])
def test_an_endpoint_of_the_environment_is_checked_too(name):
    file = {"keyManagement": {"provider": "aws", "aws": {"keyID": UUID}}}
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL") as raised:
        KeyManager.open(file, environ={name: "https://u:S3CR3T@h"})
    assert "S3CR3T" not in str(raised.value)


def test_fips_and_an_endpoint_of_the_environment():
    file = {"keyManagement": {"provider": "aws", "aws": {"keyID": UUID, "useFIPS": True}}}
    with pytest.raises(ConfigError, match="useFIPS"):
        KeyManager.open(file, environ={"AWS_ENDPOINT_URL_KMS": "https://h"})


def test_secrets_do_not_show():
    given = AwsSettings(
        keyID=UUID,
        accessKey=Secret("AKIA-marker"),
        secretKey=Secret("S3CR3T-marker"),
        sessionToken=Secret("t0ken-marker"),
    )
    assert "marker" not in repr(given)
    with pytest.raises(TypeError):
        pickle.dumps(given)
