"""The strict server does what AWS does and moto doesn't; and the provider copes with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keyhinge import (
    NO_CONTEXT,
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    Sealed,
    ThrottledError,
)
from keyhinge_aws import AwsProvider

Configure = Callable[..., AwsProvider]


@pytest.fixture
def client(strict_moto: Any) -> Iterator[Any]:
    """A bare boto3 client for the strict server."""
    made = strict_moto.client()
    yield made
    made.close()


@pytest.fixture
def new(client: Any) -> Callable[..., str]:
    """Make a key on the strict server; give its ARN."""

    def make(**parameters: Any) -> str:
        arn: str = client.create_key(**parameters)["KeyMetadata"]["Arn"]
        return arn

    return make


@pytest.fixture
def open_(configure: Configure, strict_moto: Any) -> Configure:
    """Configure a provider for the strict server."""
    return lambda **values: configure(endpoint=strict_moto.url, **values)


def refused(call: Callable[..., object], **parameters: Any) -> str:
    """Call with bare boto3, and give the code of the refusal."""
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    code: str = raised.value.response["Error"]["Code"]
    return code


def stored(sealed: Sealed, **changed: Any) -> EncryptedValue:
    """Give what would be stored."""
    return EncryptedValue("aws", sealed.key_id, sealed.version, sealed.ciphertext)


class TestTheServer:
    """Bare boto3 against the server: what its docstring promises."""

    @pytest.fixture
    def key(self, new: Callable[..., str]) -> str:
        """A key."""
        return new()

    @pytest.fixture
    def blob(self, client: Any, key: str) -> bytes:
        """A ciphertext of it."""
        blob: bytes = client.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "1"})[
            "CiphertextBlob"
        ]
        return blob

    @pytest.mark.parametrize("state", ["disabled", "deleted", "imported"])
    def test_states(self, client, new, key, blob, state):
        expected = "DisabledException" if state == "disabled" else "KMSInvalidStateException"
        if state == "disabled":
            client.disable_key(KeyId=key)
        elif state == "deleted":
            client.schedule_key_deletion(KeyId=key)
        else:
            key = new(Origin="EXTERNAL")
        assert refused(client.encrypt, KeyId=key, Plaintext=b"x") == expected
        if state != "imported":
            context = {"a": "1"}
            decrypt = {"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": context}
            assert refused(client.decrypt, **decrypt) == expected
        assert client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key

    def test_a_key_of_another_kind(self, client, new):
        for spec in (
            {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
            {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
        ):
            code = refused(client.encrypt, KeyId=new(**spec), Plaintext=b"x")
            assert code == "InvalidKeyUsageException"

    def test_another_key_than_the_ciphertext_s(self, client, new, key, blob):
        other = new()
        context = {"CiphertextBlob": blob, "EncryptionContext": {"a": "1"}}
        assert refused(client.decrypt, KeyId=other, **context) == "IncorrectKeyException"
        again = {"CiphertextBlob": blob, "DestinationKeyId": key}
        again["SourceEncryptionContext"] = {"a": "1"}
        assert refused(client.re_encrypt, SourceKeyId=other, **again) == "IncorrectKeyException"
        assert client.re_encrypt(SourceKeyId=key, **again)["SourceKeyId"] == key
        changed = bytes([blob[0] ^ 1]) + blob[1:]
        context["CiphertextBlob"] = changed
        assert refused(client.decrypt, KeyId=key, **context) == "IncorrectKeyException"

    @pytest.mark.parametrize(
        "change", [("us-east-1", "eu-west-1"), ("123456789012", "111122223333")]
    )
    def test_an_arn_of_elsewhere(self, client, key, change):
        arn = key.replace(*change)
        assert refused(client.encrypt, KeyId=arn, Plaintext=b"x") == "NotFoundException"

    @pytest.mark.parametrize(
        ("sealed", "opened"),
        [
            ({"a": "1", "b": "2"}, {"a": "1b2"}),
            ({"a": "1"}, {"a1": ""}),
            ({"ab": "c"}, {"a": "bc"}),
            ({"a": "1"}, {}),
        ],
    )
    def test_a_context_is_bound_exactly(self, client, key, sealed, opened):
        blob = client.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=sealed)["CiphertextBlob"]
        code = refused(client.decrypt, KeyId=key, CiphertextBlob=blob, EncryptionContext=opened)
        assert code in ("InvalidCiphertextException", "ValidationException")
        good = client.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=sealed)
        assert good["Plaintext"] == b"x"

    def test_no_context_and_an_empty_one_are_the_same(self, client, key):
        blob = client.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        opened = client.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext={})
        assert opened["Plaintext"] == b"x"

    @pytest.mark.parametrize("context", [{"a": ""}, {"": "a"}, {"a": "x" * 8192}])
    def test_empty_and_huge_contexts(self, client, key, context):
        given = {"KeyId": key, "Plaintext": b"x", "EncryptionContext": context}
        assert refused(client.encrypt, **given) == "ValidationException"

    @pytest.mark.parametrize("size", [0, 4097])
    def test_the_size_of_a_plaintext(self, client, key, size):
        # boto3 itself refuses the empty one: ask for the server's word on it.
        client.meta.events.register("before-call.kms.Encrypt", _set_plaintext(size))
        code = refused(client.encrypt, KeyId=key, Plaintext=b"x")
        assert code == "ValidationException"

    def test_a_dry_run_changes_and_tells_nothing(self, client, key, blob):
        decrypt = {"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": {"a": "1"}}
        again = {"SourceKeyId": key, "DestinationKeyId": key, "CiphertextBlob": blob}
        again["SourceEncryptionContext"] = {"a": "1"}
        for call, given in (
            (client.encrypt, {"KeyId": key, "Plaintext": b"x"}),
            (client.decrypt, decrypt),
            (client.re_encrypt, again),
        ):
            assert refused(call, **given, DryRun=True) == "DryRunOperationException"
        client.disable_key(KeyId=key)
        assert refused(client.decrypt, **decrypt, DryRun=True) == "DisabledException"

    def test_the_ids_of_key_materials(self, client, key):
        now = client.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
        answer = client.encrypt(KeyId=key, Plaintext=b"x")
        assert "KeyMaterialId" not in answer
        assert answer["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
        blob = answer["CiphertextBlob"]
        client.rotate_key_on_demand(KeyId=key)
        later = client.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
        assert later != now
        assert client.decrypt(KeyId=key, CiphertextBlob=blob)["KeyMaterialId"] == now
        again = client.re_encrypt(CiphertextBlob=blob, SourceKeyId=key, DestinationKeyId=key)
        assert (again["SourceKeyMaterialId"], again["DestinationKeyMaterialId"]) == (now, later)
        moved = client.decrypt(KeyId=key, CiphertextBlob=again["CiphertextBlob"])
        assert moved["KeyMaterialId"] == later

    def test_throttling_for_a_while(self, client, key):
        client.tag_resource(KeyId=key, Tags=[{"TagKey": "throttle", "TagValue": "2"}])
        for _ in range(2):
            code = refused(client.encrypt, KeyId=key, Plaintext=b"x")
            assert code == "ThrottlingException"
        assert client.encrypt(KeyId=key, Plaintext=b"x")["KeyId"] == key


def _set_plaintext(size: int) -> Callable[..., None]:
    def change(params: dict[str, Any], **_: Any) -> None:
        import base64

        text = base64.b64encode(b"x" * size).decode()
        params["body"] = params["body"].replace(b"eA==", text.encode())

    return change


class TestTheProvider:
    """What the provider makes of it."""

    @pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
    def test_a_key_that_cannot_be_used(self, client, new, open_, state):
        """Everything fails as KeyUnavailable, is well again with the key, and check says why."""
        key = new()
        provider = open_(keyID=key)
        value = stored(provider.keyhinge_encrypt(b"x", {"a": "1"}))
        if state == "Disabled":
            client.disable_key(KeyId=key)
        else:
            client.schedule_key_deletion(KeyId=key)
        for call in (
            lambda: provider.keyhinge_encrypt(b"x", {}),
            lambda: provider.keyhinge_decrypt(value, {"a": "1"}),
        ):
            with pytest.raises(KeyUnavailableError) as raised:
                call()
            assert not raised.value.retryable
        (again,) = provider.keyhinge_rewrap_many([Decrypt(value, {"a": "1"})])
        assert isinstance(again, KeyUnavailableError)
        errors = {finding.code: finding for finding in provider.keyhinge_check().findings}
        assert errors["key-state"].data["state"] == state
        assert errors["key-state"].level == "error"
        assert ("expires" in errors["key-state"].data) == (state == "PendingDeletion")
        if state == "PendingDeletion":
            client.cancel_key_deletion(KeyId=key)
        client.enable_key(KeyId=key)
        assert provider.keyhinge_decrypt(value, {"a": "1"}) == b"x"

    def test_a_context_that_only_looks_alike(self, new, open_):
        provider = open_(keyID=new())
        value = stored(provider.keyhinge_encrypt(b"x", {"a": "1", "b": "2"}))
        for context in ({"a": "1b2"}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"}, {}):
            with pytest.raises(InvalidCiphertextError):
                provider.keyhinge_decrypt(value, context)

    def test_the_largest_context_of_core_passes(self, new, open_):
        provider = open_(keyID=new())
        context = {f"key{number}": "ü" * 510 for number in range(4)}  # 4,080 bytes of values
        value = stored(provider.keyhinge_encrypt(b"x", context))
        assert provider.keyhinge_decrypt(value, context) == b"x"

    def test_an_empty_context_is_not_none_at_all(self, client, new, open_):
        key = new()
        provider = open_(keyID=key)
        blob = client.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        value = EncryptedValue("aws", key, "", blob)
        assert provider.keyhinge_decrypt(value, NO_CONTEXT) == b"x"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value, {})

    def test_rewrapping_records_the_material_and_follows_a_rotation(self, client, new, open_):
        key = new()
        provider = open_(keyID=key)
        value = stored(provider.keyhinge_encrypt(b"x", {"a": "1"}))
        assert value.version == ""  # Encrypt doesn't tell
        first = provider.keyhinge_current_key()
        (once,) = provider.keyhinge_rewrap_many([Decrypt(value, {"a": "1"})])
        assert isinstance(once, Sealed)
        assert (once.key_id, once.version) == (first.key_id, first.version)
        client.rotate_key_on_demand(KeyId=key)
        second = provider.keyhinge_current_key()
        assert second.key_id == first.key_id
        assert second.version != first.version
        assert provider.keyhinge_decrypt(stored(once), {"a": "1"}) == b"x"
        (twice,) = provider.keyhinge_rewrap_many([Decrypt(stored(once), {"a": "1"})])
        assert isinstance(twice, Sealed)
        assert twice.version == second.version
        assert provider.keyhinge_decrypt(stored(twice), {"a": "1"}) == b"x"

    def test_an_alias_pointed_elsewhere_in_the_wrong_and_in_the_right_order(
        self, client, new, open_
    ):
        old, key = new(), new()
        alias = f"alias/keyhinge-{uuid.uuid4().hex}"
        client.create_alias(AliasName=alias, TargetKeyId=old)
        careless, careful = open_(keyID=alias), open_(keyID=alias, decryptKeyIDs=(old,))
        value = stored(careless.keyhinge_encrypt(b"x", {}))
        client.update_alias(AliasName=alias, TargetKeyId=key)
        with pytest.raises(KeyUnavailableError, match="points to another key") as raised:
            careless.keyhinge_decrypt(value, {})
        assert f"- {old}\n" in str(raised.value)
        assert careful.keyhinge_decrypt(value, {}) == b"x"
        (moved,) = careful.keyhinge_rewrap_many([Decrypt(value, {})])
        assert isinstance(moved, Sealed)
        assert moved.key_id == key
        assert careless.keyhinge_decrypt(stored(moved), {}) == b"x"

    def test_replicas_stand_for_each_other(self, strict_moto, client, new, open_):
        key = new(MultiRegion=True)
        client.replicate_key(KeyId=key, ReplicaRegion="eu-west-1")
        replica = key.replace("us-east-1", "eu-west-1")
        here, there = open_(keyID=key), open_(keyID=replica, region="eu-west-1")
        value = stored(here.keyhinge_encrypt(b"x", {"a": "1"}))
        assert value.key_id == key
        assert there.keyhinge_decrypt(value, {"a": "1"}) == b"x"
        (moved,) = there.keyhinge_rewrap_many([Decrypt(value, {"a": "1"})])
        assert isinstance(moved, Sealed), moved
        assert moved.key_id == replica
        assert here.keyhinge_decrypt(stored(moved), {"a": "1"}) == b"x"
        bare = open_(keyID=key.rpartition("/")[2])
        assert bare.keyhinge_decrypt(value, {"a": "1"}) == b"x"

    def test_a_little_throttling_is_not_noticed(self, client, new, open_, monkeypatch):
        monkeypatch.setattr(
            "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0
        )
        key = new()
        provider = open_(keyID=key)
        client.tag_resource(KeyId=key, Tags=[{"TagKey": "throttle", "TagValue": "2"}])
        assert isinstance(provider.keyhinge_encrypt(b"x", {}), Sealed)
        client.tag_resource(KeyId=key, Tags=[{"TagKey": "throttle", "TagValue": "99"}])
        with pytest.raises(ThrottledError) as raised:
            provider.keyhinge_encrypt(b"x", {})
        assert raised.value.retryable

    def test_a_wrong_source_key_on_rewrap(self, client, new, open_):
        """A ciphertext under another of our keys than its label says is refused by KMS."""
        one, other = new(), new()
        provider = open_(keyID=one, decryptKeyIDs=(other,))
        sealed = provider.keyhinge_encrypt(b"x", {})
        forged = EncryptedValue("aws", other, "", sealed.ciphertext)
        (result,) = provider.keyhinge_rewrap_many([Decrypt(forged, {})])
        assert isinstance(result, OperationError)
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(forged, {})
