"""Clients and credentials: chain, profile, role, files, endpoints, time-outs, processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from keyhinge import AccessDeniedError, OperationError, Secret
from keyhinge.testing._support import in_fork, in_threads
from keyhinge_aws import AwsProvider
from keyhinge_aws._client import config_of, endpoint_of
from keyhinge_aws._credentials import RENEW_SECONDS, RETRY_SECONDS, RoleCredentials
from keyhinge_aws._settings import AwsSettings

Configure = Callable[..., AwsProvider]
ROLE = "arn:aws:iam::123456789012:role/keyhinge"
NO_KEYS = {"accessKey": None, "secretKey": None}


def key_used(stub: Any) -> list[str]:
    """List the ids of the access keys that signed the stub's requests."""
    found = []
    for _, _, headers in stub.requests:
        authorization = headers.get("Authorization") or headers["authorization"]
        found.append(authorization.partition("Credential=")[2].partition("/")[0])
    return found


def ask(provider: AwsProvider) -> OperationError:
    """Encrypt where that fails, and give the error."""
    with pytest.raises(OperationError) as raised:
        provider.keyhinge_encrypt(b"x", {})
    return raised.value


@pytest.fixture
def refusing(stub: Any) -> Any:
    """A stub that refuses every request, once it saw it."""
    stub.answer = lambda *_: (400, {"__type": "AccessDeniedException"})
    return stub


class TestChain:
    """Where credentials come from."""

    def test_explicit_keys(self, configure: Configure, refusing: Any) -> None:
        ask(configure(endpoint=refusing.url, keyID="alias/a", accessKey="AKIAEXPLICIT"))
        assert key_used(refusing) == ["AKIAEXPLICIT"]

    def test_explicit_keys_come_before_the_environment(
        self, configure: Configure, refusing: Any
    ) -> None:
        environ = {"AWS_ACCESS_KEY_ID": "AKIAENVIRON", "AWS_SECRET_ACCESS_KEY": "x"}
        ask(configure(environ, endpoint=refusing.url, keyID="alias/a", accessKey="AKIAEXPLICIT"))
        assert key_used(refusing) == ["AKIAEXPLICIT"]

    def test_the_section_s_environment(self, configure: Configure, refusing: Any) -> None:
        environ = {
            "AWS_ACCESS_KEY_ID": "AKIAENVIRON",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_SESSION_TOKEN": "t0ken",
        }
        ask(configure(environ, endpoint=refusing.url, keyID="alias/a", **NO_KEYS))
        assert key_used(refusing) == ["AKIAENVIRON"]
        ((_, _, headers),) = refusing.requests
        assert headers["X-Amz-Security-Token"] == "t0ken"

    def test_a_profile_and_its_region(
        self, configure: Configure, refusing: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "aws-credentials").write_text(
            "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = x\n"
            "[work]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n"
        )
        (tmp_path / "aws-config").write_text("[profile work]\nregion = eu-west-3\n")
        environ = {"AWS_ACCESS_KEY_ID": "AKIAENVIRON", "AWS_SECRET_ACCESS_KEY": "x"}
        given = {"endpoint": refusing.url, "keyID": "alias/a", "region": None, **NO_KEYS}
        provider = configure(environ, profile="work", **given)
        ask(provider)
        assert key_used(refusing) == ["AKIAPROFILE"]
        assert provider._kms.clients.home() == "eu-west-3"
        ask(configure(**{**given, "region": "us-east-1"}))
        assert key_used(refusing) == ["AKIAPROFILE", "AKIADEFAULT"]

    def test_a_profile_that_is_not_there(self, configure: Configure, refusing: Any) -> None:
        error = ask(configure(endpoint=refusing.url, keyID="alias/a", profile="none", **NO_KEYS))
        assert isinstance(error, AccessDeniedError)
        assert "ProfileNotFound" in str(error)
        assert refusing.requests == []

    def test_no_credentials_at_all(self, configure: Configure, refusing: Any) -> None:
        error = ask(configure(endpoint=refusing.url, keyID="alias/a", **NO_KEYS))
        assert isinstance(error, AccessDeniedError)
        assert "there are no credentials" in str(error)
        assert refusing.requests == []

    def test_a_process_s_credentials(
        self, configure: Configure, refusing: Any, tmp_path: Path
    ) -> None:
        program = tmp_path / "credentials"
        program.write_text(
            '#!/bin/sh\necho \'{"Version": 1, "AccessKeyId": "AKIAPROCESS", '
            '"SecretAccessKey": "x"}\'\n'
        )
        program.chmod(0o755)
        (tmp_path / "aws-config").write_text(f"[profile p]\ncredential_process = {program}\n")
        ask(configure(endpoint=refusing.url, keyID="alias/a", profile="p", **NO_KEYS))
        assert key_used(refusing) == ["AKIAPROCESS"]


class TestFiles:
    """Secrets in files are read again when they change."""

    def test_all_three(self, configure: Configure, refusing: Any, tmp_path: Path) -> None:
        names = ("accessKey", "secretKey", "sessionToken")
        for name in names:
            (tmp_path / name).write_text(f"{name}-1\n")
        secrets = {name: Secret.from_file(tmp_path / name) for name in names}
        provider = configure(endpoint=refusing.url, keyID="alias/a", **secrets)
        ask(provider)
        client = provider._kms.clients.kms("us-east-1")
        for name in names:
            (tmp_path / name).write_text(f"{name}-2\n")
        ask(provider)
        assert key_used(refusing) == ["accessKey-1", "accessKey-2"]
        tokens = [headers["X-Amz-Security-Token"] for _, _, headers in refusing.requests]
        assert tokens == ["sessionToken-1", "sessionToken-2"]
        assert provider._kms.clients.kms("us-east-1") is client

    def test_a_file_that_is_gone(self, configure: Configure, refusing: Any, tmp_path: Path) -> None:
        """The error names the file, and all works again when it is back."""
        path = tmp_path / "secret"
        provider = configure(
            endpoint=refusing.url, keyID="alias/a", secretKey=Secret.from_file(path)
        )
        error = ask(provider)
        assert isinstance(error, AccessDeniedError)
        assert str(path) in str(error)
        path.write_text("here")
        ask(provider)
        assert len(refusing.requests) == 1


class TestRole:
    """A role is assumed, and again some minutes before its credentials end."""

    def test_with_an_external_id_against_moto(
        self, configure: Configure, moto: Any, make_key: Callable[..., str]
    ) -> None:
        arn = make_key()
        environ = {"AWS_ENDPOINT_URL_STS": moto.url}
        provider = configure(environ, keyID=arn, roleARN=ROLE, externalID="ext")
        assert provider.keyhinge_encrypt(b"x", {}).ciphertext
        credentials: Any = provider._kms.clients.credentials()
        assert credentials.get_frozen_credentials().access_key.startswith("ASIA")
        assert credentials.expires > 0

    def test_what_is_asked_of_sts(self, configure: Configure, stub: Any) -> None:
        environ = {"AWS_ENDPOINT_URL_STS": stub.url}
        stub.answer = lambda *_: (403, SAYS_NO)
        error = ask(configure(environ, keyID="alias/a", roleARN=ROLE, externalID="ext-1"))
        assert isinstance(error, AccessDeniedError)
        assert "sts:AssumeRole" in str(error)
        ((_, fields, _),) = stub.requests
        for part in ("RoleArn=arn%3Aaws", "RoleSessionName=keyhinge-aws", "ExternalId=ext-1"):
            assert part in fields["raw"]

    def test_sts_is_down(self, configure: Configure) -> None:
        environ = {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
        assert ask(configure(environ, keyID="alias/a", roleARN=ROLE)).retryable


SAYS_NO = (
    b"<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Type>Sender</Type>"
    b"<Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
)


class Sts:
    """Gives credentials that end after `life` seconds of a clock that the test moves."""

    def __init__(self, life: float) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
        self.life = life
        self.calls = 0
        self.fails = False

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        if self.fails:
            raise ConnectionError
        end = datetime.fromtimestamp(self.now, timezone.utc) + timedelta(seconds=self.life)
        keys = {"AccessKeyId": f"ASIA{self.calls}", "SecretAccessKey": "s", "SessionToken": "t"}
        return {"Credentials": {**keys, "Expiration": end}}


class TestRefresh:
    """When a role is assumed again."""

    def made(self, life: float) -> tuple[Sts, Callable[[], str | None]]:
        sts = Sts(life)
        credentials = RoleCredentials(sts, clock=lambda: sts.now)
        return sts, lambda: credentials.get_frozen_credentials().access_key

    def test_only_when_they_are_about_to_end(self) -> None:
        sts, key = self.made(3600)
        assert [key(), key()] == ["ASIA1", "ASIA1"]
        sts.now += 3600 - RENEW_SECONDS - 1
        assert key() == "ASIA1"
        sts.now += 2
        assert [key(), key()] == ["ASIA2", "ASIA2"]
        assert sts.calls == 2

    def test_short_ones_at_two_thirds(self) -> None:
        sts, key = self.made(3)
        assert key() == "ASIA1"
        sts.now += 1.9
        assert key() == "ASIA1"
        sts.now += 0.2
        assert key() == "ASIA2"

    def test_an_outage_of_sts_is_waited_for_with_what_there_is(self) -> None:
        sts, key = self.made(3600)
        assert key() == "ASIA1"
        sts.fails = True
        sts.now += 3600 - RENEW_SECONDS
        assert [key() for _ in range(5)] == ["ASIA1"] * 5
        assert sts.calls == 2  # not at each request
        sts.now += RETRY_SECONDS
        assert key() == "ASIA1"
        assert sts.calls == 3
        sts.fails = False
        sts.now += RETRY_SECONDS
        assert key() == "ASIA4"

    def test_an_outage_beyond_the_end_is_an_error(self) -> None:
        sts, key = self.made(3600)
        key()
        sts.fails = True
        sts.now += 3600
        with pytest.raises(ConnectionError):
            key()

    def test_threads_together_ask_once(self) -> None:
        sts, key = self.made(3600)
        assert in_threads(32, lambda _: [key()].clear()) == []
        assert sts.calls == 1

    def test_others_go_on_while_one_asks(self) -> None:
        sts, key = self.made(3600)
        key()
        asking, go_on = threading.Event(), threading.Event()
        answer = Sts.__call__

        def slow(self: Sts) -> dict[str, Any]:
            asking.set()
            assert go_on.wait(10)
            return answer(self)

        sts.now += 3600 - RENEW_SECONDS
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Sts, "__call__", slow)
            thread = threading.Thread(target=key)
            thread.start()
            assert asking.wait(10)
            assert key() == "ASIA1"
            go_on.set()
            thread.join()
        assert key() == "ASIA2"

    @pytest.mark.parametrize(
        "answer", [{}, {"Credentials": None}, {"Credentials": {"AccessKeyId": "A"}}]
    )
    def test_incomplete_answers(self, answer: dict[str, Any]) -> None:
        with pytest.raises(OperationError) as raised:
            RoleCredentials(lambda: answer).get_frozen_credentials()
        assert raised.value.retryable

    def test_credentials_that_have_ended_already(self) -> None:
        _, key = self.made(-1)
        with pytest.raises(AccessDeniedError):
            key()

    def test_they_are_not_shown_or_copied(self) -> None:
        sts = Sts(10)
        credentials = RoleCredentials(sts, clock=lambda: sts.now)
        credentials.get_frozen_credentials()
        assert "ASIA" not in repr(credentials)
        with pytest.raises(TypeError):
            pickle.dumps(credentials)


class TestPlace:
    """Region and endpoint."""

    @pytest.mark.parametrize(
        ("environ", "home"),
        [
            ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
            ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ],
    )
    def test_the_environment_s_region(
        self, configure: Configure, environ: dict[str, str], home: str
    ) -> None:
        assert configure(environ, keyID="alias/a", region=None)._kms.clients.home() == home
        assert configure(environ, keyID="alias/a")._kms.clients.home() == "us-east-1"

    @pytest.mark.parametrize("environ", [{}, {"AWS_REGION": "us-east1"}])
    def test_no_region(self, configure: Configure, environ: dict[str, str]) -> None:
        error = ask(configure(environ, keyID="alias/a", region=None))
        assert "region" in str(error)
        assert not error.retryable

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"])
    def test_the_environment_s_endpoint(
        self, configure: Configure, refusing: Any, name: str
    ) -> None:
        ask(configure({name: refusing.url}, keyID="alias/a", endpoint=None))
        assert refusing.actions() == ["Encrypt"]

    def test_order_of_endpoints(self) -> None:
        both = {"AWS_ENDPOINT_URL_KMS": "http://a", "AWS_ENDPOINT_URL": "http://b"}
        assert endpoint_of(both) == "http://a"
        assert endpoint_of(both, "STS") == "http://b"
        assert endpoint_of({**both, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}) is None
        assert endpoint_of({}) is None

    def test_fips(self, configure: Configure) -> None:
        provider = configure(keyID="alias/a", endpoint=None, useFIPS=True)
        client = provider._kms.clients.kms("us-east-1")
        assert client.meta.endpoint_url == "https://kms-fips.us-east-1.amazonaws.com"
        plain = configure(keyID="alias/a", endpoint=None)._kms.clients.kms("us-east-1")
        assert plain.meta.endpoint_url == "https://kms.us-east-1.amazonaws.com"


class TestPinned:
    """Nothing of importance is left to botocore's defaults, or to its environment."""

    def test_retries_and_time_outs(
        self, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_RETRY_MODE", "legacy")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "50")
        client: Any = configure(keyID="alias/a")._kms.clients.kms("us-east-1")
        config = client.meta.config
        assert config.retries == {"mode": "standard", "total_max_attempts": 3}
        assert (config.connect_timeout, config.read_timeout) == (5.0, 5.0)
        assert config.max_pool_connections >= 32

    def test_the_setting(self) -> None:
        given = AwsSettings(keyID="alias/a", timeout=30.0)
        config: Any = config_of(given, None)
        assert (config.connect_timeout, config.read_timeout) == (5.0, 30.0)
        given = AwsSettings(keyID="alias/a", timeout=0.5)
        config = config_of(given, None)
        assert (config.connect_timeout, config.read_timeout) == (0.5, 0.5)

    def test_loopback_needs_no_proxy(
        self, configure: Configure, refusing: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert isinstance(ask(configure(endpoint=refusing.url, keyID="alias/a")), AccessDeniedError)


class TestProcesses:
    """One client for each process and region."""

    def test_threads_share_one(self, provider: AwsProvider) -> None:
        found: list[object] = []
        clients = provider._kms.clients
        assert in_threads(32, lambda _: found.append(clients.kms("us-east-1"))) == []
        assert len(found) == 32
        assert len(set(map(id, found))) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
    def test_a_child_makes_its_own(self, provider: AwsProvider) -> None:
        """Also where a thread of the parent holds the lock at that moment."""
        sealed = provider.keyhinge_encrypt(b"x", {})
        clients = provider._kms.clients
        before = clients.kms("us-east-1")

        def child() -> bytes:
            assert provider.keyhinge_encrypt(b"x", {}).key_id == sealed.key_id
            assert clients.kms("us-east-1") is not before
            provider.keyhinge_close()
            return b"done"

        with clients._process.lock:
            assert in_fork(child) == b"done"
        assert clients.kms("us-east-1") is before
        assert provider.keyhinge_encrypt(b"x", {}).key_id == sealed.key_id

    def test_configuring_imports_no_client_library(self) -> None:
        program = (
            "import sys\n"
            "from keyhinge import KeyManager\n"
            "block = {'keyID': 'alias/a', 'region': 'us-east-1', 'decryptKeyIDs': []}\n"
            "KeyManager.open({'keyManagement': {'provider': 'aws', 'aws': block}}).close()\n"
            "heavy = {'boto3', 'botocore', 'urllib3', 'hvac', 'concurrent.futures'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
