"""KMS down, frozen, cut off and back again; throttling. All by itself, within bounds."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from keyhinge import (
    Decrypt,
    Encrypt,
    EncryptedValue,
    KeyManager,
    OperationError,
    Sealed,
    ThrottledError,
    UnavailableError,
)
from keyhinge_aws import AwsProvider

Configure = Callable[..., AwsProvider]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between botocore's attempts: what is tested is their number."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture
def key(own_moto: Any) -> str:
    """A key on the server that the test may stop."""
    client = own_moto.client()
    arn: str = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    return arn


def down(call: Callable[[], object]) -> UnavailableError:
    """Call, and give the error that says that the service is away."""
    with pytest.raises(UnavailableError) as raised:
        call()
    assert raised.value.retryable
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    return raised.value


class TestServer:
    """A real server that goes away and comes back."""

    def test_frozen_for_longer_than_the_time_out(
        self, configure: Configure, own_moto: Any, key: str
    ) -> None:
        provider = configure(endpoint=own_moto.url, keyID=key, timeout=0.3)
        sealed = provider.keyhinge_encrypt(b"x", {})
        value = EncryptedValue("aws", sealed.key_id, "", sealed.ciphertext)
        own_moto.signal(signal.SIGSTOP)
        sent: list[Any] = []
        events = provider._kms.clients.kms("us-east-1").meta.events
        events.register("before-send.kms", lambda request, **_: sent.append(request))
        error = down(lambda: provider.keyhinge_decrypt(value, {}))
        assert "in time" in str(error)
        assert len(sent) == 3
        # A batch of a hundred takes no longer than one value: each thread tries one of them.
        results = provider.keyhinge_decrypt_many([Decrypt(value, {})] * 100)
        assert all(isinstance(result, UnavailableError) for result in results)
        assert len(sent) <= 3 + 8 * 3
        own_moto.signal(signal.SIGCONT)
        assert provider.keyhinge_decrypt(value, {}) == b"x"

    def test_killed_and_started_again(self, configure: Configure, own_moto: Any, key: str) -> None:
        """moto forgets its keys, so that only whether it is reached shows that it is back."""
        provider = configure(endpoint=own_moto.url, keyID=key)
        provider.keyhinge_encrypt(b"x", {})
        own_moto.stop()
        for _ in range(2):
            assert "reached" in str(down(lambda: provider.keyhinge_encrypt(b"x", {})))
        results = provider.keyhinge_encrypt_many([Encrypt(b"x", {})] * 100)
        assert all(isinstance(result, UnavailableError) for result in results)
        own_moto.start()
        with pytest.raises(OperationError) as raised:
            provider.keyhinge_encrypt(b"x", {})
        assert raised.value.failure is not None
        assert raised.value.failure.code == "NotFoundException"

    def test_down_at_the_start(self, base_settings: dict[str, Any], own_moto: Any) -> None:
        """Opening connects nowhere, and the first call after the server is there works."""
        own_moto.stop()
        block = {**base_settings, "endpoint": own_moto.url, "keyID": "alias/app"}
        file = {"keyManagement": {"provider": "aws", "aws": block}}
        with KeyManager.open(file, environ={}, fail_fast=True) as keys:
            down(lambda: keys.encrypt(b"x", context={}))
            assert not keys.health(max_age=0).ok
            own_moto.start()
            client = own_moto.client()
            arn = client.create_key()["KeyMetadata"]["Arn"]
            client.create_alias(AliasName="alias/app", TargetKeyId=arn)
            client.close()
            assert keys.encrypt(b"x", context={}).key_id == arn
            assert keys.health(max_age=0).ok


class TestAnswers:
    """Answers that a stub gives."""

    ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    @pytest.fixture
    def provider(self, configure: Configure, stub: Any) -> AwsProvider:
        """A provider that speaks to the stub."""
        return configure(endpoint=stub.url, keyID=self.ARN, timeout=1.0)

    @pytest.mark.parametrize("code", ["ThrottlingException", "LimitExceededException"])
    def test_throttling_for_a_while(self, provider: AwsProvider, stub: Any, code: str) -> None:
        """Two refusals are made up for; for more, the caller is told."""
        refusals = [400, 400]
        good = {"KeyId": self.ARN, "CiphertextBlob": "Y2M="}
        stub.answer = lambda *_: (refusals.pop(), {"__type": code}) if refusals else (200, good)
        assert provider.keyhinge_encrypt(b"x", {}) == Sealed(b"cc", self.ARN)
        assert len(stub.requests) == 3
        refusals += [400] * 3
        with pytest.raises(ThrottledError) as raised:
            provider.keyhinge_encrypt(b"x", {})
        assert raised.value.retryable
        assert len(stub.requests) == 6

    @pytest.mark.parametrize(
        "code", ["KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"]
    )
    def test_failures_of_kms_are_tried_again(
        self, provider: AwsProvider, stub: Any, code: str
    ) -> None:
        stub.answer = lambda *_: (500, {"__type": code})
        down(lambda: provider.keyhinge_encrypt(b"x", {}))
        assert len(stub.requests) == 3

    @pytest.mark.parametrize(
        "code",
        [
            "NotFoundException",
            "DisabledException",
            "AccessDeniedException",
            "InvalidCiphertextException",
            "KMSInvalidStateException",
            "InvalidKeyUsageException",
        ],
    )
    def test_what_stays_wrong_is_asked_once(
        self, provider: AwsProvider, stub: Any, code: str
    ) -> None:
        stub.answer = lambda *_: (400, {"__type": code})
        with pytest.raises(OperationError) as raised:
            provider.keyhinge_encrypt(b"x", {})
        assert not raised.value.retryable
        assert len(stub.requests) == 1

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
    def test_a_proxy_s_answer(self, provider: AwsProvider, stub: Any, status: int) -> None:
        stub.answer = lambda *_: (status, b"<html>no</html>")
        with pytest.raises((UnavailableError, ThrottledError)):
            provider.keyhinge_encrypt(b"x", {})

    def test_an_answer_that_is_cut_off(self, provider: AwsProvider, stub: Any) -> None:
        """The connection ends before the announced length is there."""
        stub.length = 1000
        stub.answer = lambda *_: (200, b'{"KeyId": "' + self.ARN.encode())
        down(lambda: provider.keyhinge_encrypt(b"x", {}))

    def test_a_service_that_has_recovered_is_asked_again(
        self, provider: AwsProvider, stub: Any
    ) -> None:
        """botocore's budget for attempts runs out in a long outage, and fills up again."""
        stub.answer = lambda *_: (500, {})
        for _ in range(60):
            down(lambda: provider.keyhinge_encrypt(b"x", {}))
        stub.answer = lambda *_: (200, {"KeyId": self.ARN, "CiphertextBlob": "Y2M="})
        assert provider.keyhinge_encrypt(b"x", {}) == Sealed(b"cc", self.ARN)


def test_a_name_that_does_not_resolve(configure: Configure) -> None:
    provider = configure(endpoint="http://kms.invalid", keyID="alias/app", timeout=2.0)
    down(lambda: provider.keyhinge_encrypt(b"x", {}))


def test_tls_that_fails(configure: Configure, stub: Any) -> None:
    provider = configure(endpoint=stub.url.replace("http:", "https:"), keyID="alias/app")
    assert "TLS" in str(down(lambda: provider.keyhinge_encrypt(b"x", {})))
