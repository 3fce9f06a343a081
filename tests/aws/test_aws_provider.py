"""What is special to KMS: sizes, contexts, versions, rewrapping, aliases, regions, batches."""

from __future__ import annotations

import copy
import pickle
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from keyhinge import (
    NO_CONTEXT,
    AccessDeniedError,
    ClosedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidPlaintextError,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Provider,
    Sealed,
    UnavailableError,
)
from keyhinge_aws import AwsProvider, _batch

Configure = Callable[..., AwsProvider]
MakeKey = Callable[..., str]


def value(sealed: Any) -> EncryptedValue:
    assert isinstance(sealed, Sealed), sealed
    return EncryptedValue("aws", sealed.key_id, sealed.version, sealed.ciphertext)


class TestContext:
    """The context is the EncryptionContext, so that policies can ask for its entries."""

    def test_entries_are_sent_as_they_are(self, configure: Configure, stub: Any) -> None:
        provider = configure(endpoint=stub.url, keyID="alias/app")
        for context in ({"account": "acct_1", "name": "密码"}, {}):
            with pytest.raises(UnavailableError):
                provider.keyhinge_encrypt(b"x", context)
        sent = [fields["EncryptionContext"] for _, fields, _ in stub.requests]
        assert sent == [{"account": "acct_1", "name": "密码"}, {"keyhinge": "1"}]

    def test_values_are_bound_to_it(self, provider: AwsProvider, kms_client: Any) -> None:
        sealed = value(provider.keyhinge_encrypt(b"x", {"a": "1"}))
        found = kms_client.decrypt(CiphertextBlob=sealed.ciphertext, EncryptionContext={"a": "1"})
        assert found["Plaintext"] == b"x"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(sealed, {"a": "2"})

    def test_values_of_other_programs_have_none(
        self, provider: AwsProvider, kms_client: Any, key_arn: str
    ) -> None:
        """NO_CONTEXT leaves it out, and `{}` isn't the same."""
        made = kms_client.encrypt(KeyId=key_arn, Plaintext=b"theirs")["CiphertextBlob"]
        theirs = EncryptedValue("aws", key_arn, "", made)
        assert provider.keyhinge_decrypt(theirs, NO_CONTEXT) == b"theirs"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(theirs, {})
        (again,) = provider.keyhinge_rewrap_many([Decrypt(theirs, NO_CONTEXT)])
        assert kms_client.decrypt(CiphertextBlob=value(again).ciphertext)["Plaintext"] == b"theirs"
        ours = provider.keyhinge_encrypt(b"ours", NO_CONTEXT)
        assert kms_client.decrypt(CiphertextBlob=ours.ciphertext)["Plaintext"] == b"ours"


@pytest.mark.parametrize(("size", "says"), [(0, "is empty"), (4097, "4,097 bytes.*in parts")])
def test_sizes_that_kms_does_not_take(provider: AwsProvider, size: int, says: str) -> None:
    with pytest.raises(InvalidPlaintextError, match=says):
        provider.keyhinge_encrypt(b"x" * size, {})


class TestKeyNames:
    """However the key is named, values are labelled with its ARN."""

    def test_the_arn_is_stored(self, configure: Configure, key_arn: str, kms_client: Any) -> None:
        alias = f"alias/{uuid.uuid4().hex}"
        kms_client.create_alias(AliasName=alias, TargetKeyId=key_arn)
        alias_arn = key_arn.rpartition(":")[0] + ":" + alias
        names = (key_arn, key_arn.rpartition("/")[2], alias, alias_arn)
        made = [value(configure(keyID=name).keyhinge_encrypt(b"x", {})) for name in names]
        assert {each.key_id for each in made} == {key_arn}
        for name in names:
            provider = configure(keyID=name)
            assert [provider.keyhinge_decrypt(each, {}) for each in made] == [b"x"] * 4
            assert provider.keyhinge_current_key() == KeyRef(key_arn, "")

    def test_old_keys_only_decrypt(self, configure: Configure, make_key: MakeKey) -> None:
        old, new = make_key(), make_key()
        sealed = value(configure(keyID=old).keyhinge_encrypt(b"x", {}))
        with pytest.raises(KeyUnavailableError):
            configure(keyID=new).keyhinge_decrypt(sealed, {})
        provider = configure(keyID=new, decryptKeyIDs=(old,))
        assert provider.keyhinge_decrypt(sealed, {}) == b"x"
        (again,) = provider.keyhinge_rewrap_many([Decrypt(sealed, {})])
        assert value(again).key_id == new
        assert configure(keyID=new).keyhinge_decrypt(value(again), {}) == b"x"

    def test_an_alias_is_pointed_elsewhere_in_the_right_order(
        self, configure: Configure, make_key: MakeKey, kms_client: Any
    ) -> None:
        """List the old ARN, re-point, rewrap, remove it: everything opens at every step."""
        old, new, alias = make_key(), make_key(), f"alias/{uuid.uuid4().hex}"
        kms_client.create_alias(AliasName=alias, TargetKeyId=old)
        sealed = value(configure(keyID=alias).keyhinge_encrypt(b"x", {}))
        listing = configure(keyID=alias, decryptKeyIDs=(old,))
        assert listing.keyhinge_decrypt(sealed, {}) == b"x"
        kms_client.update_alias(AliasName=alias, TargetKeyId=new)
        assert listing.keyhinge_decrypt(sealed, {}) == b"x"
        (again,) = listing.keyhinge_rewrap_many([Decrypt(sealed, {})])
        assert value(again).key_id == new
        assert configure(keyID=alias).keyhinge_decrypt(value(again), {}) == b"x"


class TestRegions:
    """Keys of other regions, and multi-Region keys."""

    def test_the_arn_s_region_comes_first(self, configure: Configure, moto: Any) -> None:
        client = moto.client(region="eu-west-1")
        arn = client.create_key()["KeyMetadata"]["Arn"]
        client.close()
        provider = configure(keyID=arn, region="us-east-1")
        assert provider.keyhinge_encrypt(b"x", {}).key_id == arn

    def test_a_replica_opens_values_of_its_siblings(self, configure: Configure, stub: Any) -> None:
        """In the section's own region (a stub, since moto can't decrypt under such keys at all)."""
        here = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
        stub.answer = lambda *_: (
            200,
            {"KeyId": here, "Plaintext": "eA==", "KeyMaterialId": "a" * 64},
        )
        provider = configure(keyID=here, endpoint=stub.url)
        there = here.replace("us-east-1", "eu-west-1")
        for version in ("", "a" * 64, "b" * 64):  # ids of materials aren't compared across regions
            theirs = EncryptedValue("aws", there, version, b"c")
            assert provider.keyhinge_decrypt(theirs, {}) == b"x"
        assert {fields["KeyId"] for _, fields, _ in stub.requests} == {here}
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(EncryptedValue("aws", here, "b" * 64, b"c"), {})
        assert set(provider._kms.clients._process.clients) == {"us-east-1"}

    def test_a_listed_key_of_another_region_is_asked_there(
        self, configure: Configure, key_arn: str, moto: Any
    ) -> None:
        client = moto.client(region="eu-west-1")
        there = client.create_key()["KeyMetadata"]["Arn"]
        client.close()
        sealed = value(configure(keyID=there).keyhinge_encrypt(b"x", {"a": "1"}))
        provider = configure(keyID=key_arn, decryptKeyIDs=(there,))
        assert provider.keyhinge_decrypt(sealed, {"a": "1"}) == b"x"
        # ReEncrypt works within one region, so this one is decrypted and encrypted.
        (again,) = provider.keyhinge_rewrap_many([Decrypt(sealed, {"a": "1"})])
        assert value(again).key_id == key_arn
        assert provider.keyhinge_decrypt(value(again), {"a": "1"}) == b"x"


class TestVersions:
    """The version is the key material's id, where KMS tells it."""

    ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    @pytest.fixture
    def provider(self, configure: Configure, stub: Any) -> AwsProvider:
        return configure(endpoint=stub.url, keyID=self.ARN)

    def test_encrypting_does_not_record_it(self, provider: AwsProvider, stub: Any) -> None:
        stub.answer = lambda *_: (200, {"KeyId": self.ARN, "CiphertextBlob": "Y2M="})
        assert provider.keyhinge_encrypt(b"x", {}) == Sealed(b"cc", self.ARN, "")

    def test_rewrapping_records_it(self, provider: AwsProvider, stub: Any) -> None:
        answer = {"KeyId": self.ARN, "SourceKeyId": self.ARN, "CiphertextBlob": "Y2M="}
        materials = {"SourceKeyMaterialId": "a" * 64, "DestinationKeyMaterialId": "b" * 64}
        stub.answer = lambda *_: (200, {**answer, **materials})
        item = Decrypt(EncryptedValue("aws", self.ARN, "a" * 64, b"c"), {"k": "v"})
        assert provider.keyhinge_rewrap_many([item]) == [Sealed(b"cc", self.ARN, "b" * 64)]
        ((_, sent, _),) = stub.requests
        assert sent["SourceKeyId"] == sent["DestinationKeyId"] == self.ARN
        assert sent["SourceEncryptionContext"] == sent["DestinationEncryptionContext"] == {"k": "v"}
        wrong = Decrypt(EncryptedValue("aws", self.ARN, "c" * 64, b"c"), {"k": "v"})
        assert isinstance(provider.keyhinge_rewrap_many([wrong])[0], InvalidCiphertextError)

    def test_current_key_describes_it(self, provider: AwsProvider, stub: Any) -> None:
        metadata = {"Arn": self.ARN, "KeyId": self.ARN[-36:], "CurrentKeyMaterialId": "b" * 64}
        stub.answer = lambda *_: (200, {"KeyMetadata": metadata})
        assert provider.keyhinge_current_key() == KeyRef(self.ARN, "b" * 64)
        assert stub.actions() == ["DescribeKey"]

    def test_current_key_without_the_right_to_describe(
        self, provider: AwsProvider, stub: Any
    ) -> None:
        """Who may encrypt and decrypt finds it out by trying."""

        def answer(action: str, fields: Any) -> tuple[int, Any]:
            if action == "DescribeKey":
                return 400, {"__type": "AccessDeniedException"}
            opened = {"Plaintext": "eA==", "KeyMaterialId": "b" * 64}
            sealed = {"CiphertextBlob": "Y2M="}
            return 200, {"KeyId": self.ARN, **(sealed if action == "Encrypt" else opened)}

        stub.answer = answer
        assert provider.keyhinge_current_key() == KeyRef(self.ARN, "b" * 64)
        assert stub.actions() == ["DescribeKey", "Encrypt", "Decrypt"]


class TestBatches:
    """Many items: a few threads, each item's own fate."""

    def test_in_order_and_each_with_its_own_error(self, provider: AwsProvider) -> None:
        items = [Encrypt(b"%d" % n if n != 5 else b"", {"n": str(n)}) for n in range(40)]
        sealed = provider.keyhinge_encrypt_many(items)
        assert isinstance(sealed[5], InvalidPlaintextError)
        good = [n for n in range(40) if n != 5]
        wanted = [Decrypt(value(sealed[n]), {"n": str(n)}) for n in good]
        assert provider.keyhinge_decrypt_many(wanted) == [b"%d" % n for n in good]
        again = provider.keyhinge_rewrap_many(wanted)
        wanted = [Decrypt(value(a), i.context) for a, i in zip(again, wanted, strict=True)]
        assert provider.keyhinge_decrypt_many(wanted) == [b"%d" % n for n in good]

    @pytest.mark.parametrize(("count", "threads"), [(0, 0), (1, 0), (2, 0), (3, 1), (100, 7)])
    def test_no_more_threads_than_needed(
        self, monkeypatch: pytest.MonkeyPatch, count: int, threads: int
    ) -> None:
        started: list[object] = []
        start = threading.Thread.start

        def counted(thread: threading.Thread) -> None:
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", counted)
        assert _batch.run(range(count), lambda n: n * 2) == [n * 2 for n in range(count)]
        assert len(started) == threads
        assert not [t for t in threading.enumerate() if t.name == "keyhinge-aws"]

    def test_without_threads_to_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert _batch.run(range(20), lambda n: n) == list(range(20))

    def test_what_concerns_the_service_is_asked_once(self, configure: Configure, stub: Any) -> None:
        """Three attempts of the first item, and none for the 99 others."""
        stub.answer = lambda *_: (500, {"__type": "KMSInternalException"})
        provider = configure(endpoint=stub.url, keyID="alias/app")
        results = provider.keyhinge_encrypt_many([Encrypt(b"x", {})] * 100)
        assert [type(result) for result in results] == [UnavailableError] * 100
        assert all(isinstance(r, OperationError) and r.retryable for r in results)
        assert len({id(result) for result in results}) == 100
        assert len(stub.requests) == 3

    def test_what_concerns_one_item_is_asked_for_each(
        self, configure: Configure, stub: Any
    ) -> None:
        stub.answer = lambda *_: (400, {"__type": "AccessDeniedException"})
        provider = configure(endpoint=stub.url, keyID="alias/app")
        results = provider.keyhinge_encrypt_many([Encrypt(b"x", {})] * 20)
        assert [type(result) for result in results] == [AccessDeniedError] * 20
        assert len(stub.requests) == 20


def test_after_closing_nothing_works(provider: AwsProvider) -> None:
    sealed = value(provider.keyhinge_encrypt(b"x", {}))
    provider.keyhinge_close()
    provider.keyhinge_close()
    with pytest.raises((ClosedError, OperationError), match="closed"):
        provider.keyhinge_encrypt(b"x", {})
    with pytest.raises((ClosedError, OperationError), match="closed"):
        provider.keyhinge_decrypt(sealed, {})


def test_nothing_that_holds_keys_is_copied(provider: AwsProvider) -> None:
    things: list[object] = [provider, provider._kms, provider._kms.clients]
    for thing in things:
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.deepcopy(thing)
    assert isinstance(provider, Provider)
