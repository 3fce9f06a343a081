"""The guide's policies for AWS are enough for the store, its migrations and the command line."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyhinge import AccessDeniedError, KeyManager
from keyhinge_store import NewSecret, SecretStore, migrate, rewrap, verify

GUIDE = Path(__file__).parents[2] / "docs/how-to/aws.md"


def policy(name: str, arn: str) -> str:
    """Give a policy as the guide has it, with the key's ARN put in as the guide says."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n```json\n(.*?)```", text, re.DOTALL)
    assert found is not None, name
    return found[1].replace("KEY_ARN", arn)


@pytest.fixture
def open_as(
    moto: Any,
    aws_section: dict[str, Any],
    local_section: dict[str, Any],
    request: pytest.FixtureRequest,
) -> Callable[..., KeyManager]:
    """Open a file with `local` and `aws` as a user who has one of the guide's policies."""

    def make(name: str, primary: str) -> KeyManager:
        text = policy(name, aws_section["keyID"])
        access, secret = moto.user(f"user-{uuid.uuid4().hex}", text)
        aws = {**aws_section, "accessKey": access, "secretKey": secret}
        blocks = {"provider": primary, "aws": aws, "local": local_section}
        keys = KeyManager.open({"keyManagement": blocks}, environ={})
        request.addfinalizer(keys.close)
        return keys

    return make


@pytest.fixture
def store(sqlite_url: str, open_as: Callable[..., KeyManager]) -> Iterator[SecretStore]:
    """A store of an application with the policy `app.json`."""
    opened = SecretStore(sqlite_url, open_as("app.json", "aws"))
    opened.create_tables()
    yield opened
    opened.close()


def test_the_condition_has_what_the_store_binds(store: SecretStore) -> None:
    """No more and no less, and `keyhinge` for probes."""
    statement = json.loads(policy("app.json", "x"))["Statement"][0]
    allowed = statement["Condition"]["ForAllValues:StringEquals"]["kms:EncryptionContextKeys"]
    assert set(allowed) == {"table", "column", *store.layout.bound, "keyhinge"}


def test_an_application_and_its_operators(
    store: SecretStore, open_as: Callable[..., KeyManager], sqlite_url: str
) -> None:
    """Each does what is theirs: write and read, read only, rewrap, move out and back in."""
    store.put_many(NewSecret("acct", "kind", f"secret {n}", f"sec_{n}") for n in range(20))
    assert store.get(account_id="acct", secret_id="sec_3") == b"secret 3"
    reader = open_as("app-read.json", "aws")
    assert verify(store, reader).opened == 20
    with pytest.raises(AccessDeniedError):
        reader.encrypt(b"x", context={})
    assert migrate(store, open_as("app-read.json", "local")).moved == 20  # out
    assert migrate(store, open_as("app.json", "aws")).moved == 20  # in
    operator = open_as("app-migrate.json", "aws")
    report = rewrap(store, operator)
    assert (report.left, report.failed) == (0, 0)
    assert verify(store, operator).opened == 20
    assert not [
        finding
        for finding in operator.check(purpose="migrate").findings
        if finding.level == "error"
    ]
