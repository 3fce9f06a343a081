"""What a hostile value or a lying service can make the provider do: nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from keyhinge import (
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    Sealed,
    UnavailableError,
)
from keyhinge_aws import AwsProvider

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = "0987dcba-09fe-87dc-65ba-ab0987654321"
MINE = f"arn:aws:kms:us-east-1:111122223333:key/{UUID}"
THEIRS = f"arn:aws:kms:us-east-1:666666666666:key/{OTHER}"
MATERIAL = "a" * 64
BLOB = base64.b64encode(b"ciphertext").decode()
TEXT = base64.b64encode(b"plaintext").decode()

Configure = Callable[..., AwsProvider]


def value(key_id: str = MINE, version: str = "", ciphertext: bytes = b"c") -> EncryptedValue:
    return EncryptedValue("aws", key_id, version, ciphertext)


@pytest.fixture
def provider(configure: Configure, stub: Any) -> AwsProvider:
    """A provider that speaks to the stub."""
    return configure(endpoint=stub.url, keyID=MINE)


class TestLabels:
    """What a value says about its key is compared, and never sent."""

    @pytest.mark.parametrize("key_id", ["", "x", "../x", UUID, "alias/app", MINE + "x", "*"])
    def test_what_is_no_arn_reaches_nobody(self, provider, stub, key_id):
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(key_id), {})
        assert stub.requests == []

    @pytest.mark.parametrize(
        "key_id",
        [
            THEIRS,
            MINE.replace(UUID, OTHER),
            MINE.replace("us-east-1", "eu-west-1"),
            MINE.replace("1111", "9999"),
            MINE.replace("arn:aws:", "arn:aws-cn:"),
        ],
    )
    def test_other_keys_reach_nobody(self, provider, stub, key_id):
        """The error has the line to add, for the case that the key is one's own."""
        with pytest.raises(KeyUnavailableError, match="decryptKeyIDs") as raised:
            provider.keyhinge_decrypt(value(key_id), {})
        assert f"- {key_id}\n" in str(raised.value)
        (rewrapped,) = provider.keyhinge_rewrap_many([Decrypt(value(key_id), {})])
        assert isinstance(rewrapped, KeyUnavailableError)
        assert stub.requests == []

    @pytest.mark.parametrize("version", ["current", "A" * 64, "1.2", "-"])
    def test_versions_that_kms_never_makes_reach_nobody(self, provider, stub, version):
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(version=version), {})
        assert stub.requests == []

    def test_ciphertexts_that_kms_never_makes_reach_nobody(self, provider, stub):
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(ciphertext=b"c" * 6145), {})
        assert stub.requests == []

    def test_a_forged_version_is_refused_where_kms_tells_the_real_one(self, provider, stub):
        stub.answer = lambda *_: (
            200,
            {"KeyId": MINE, "Plaintext": TEXT, "KeyMaterialId": MATERIAL},
        )
        assert provider.keyhinge_decrypt(value(version=MATERIAL), {}) == b"plaintext"
        assert provider.keyhinge_decrypt(value(), {}) == b"plaintext"  # not recorded
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(version="b" * 64), {})

    def test_only_configured_names_are_sent(self, configure, stub):
        """Every Decrypt has a KeyId and every ReEncrypt a SourceKeyId, as configured."""
        stub.answer = lambda *_: (400, {"__type": "InvalidCiphertextException"})
        provider = configure(endpoint=stub.url, keyID="alias/app", decryptKeyIDs=(MINE,))
        account_2 = MINE.replace("1111", "9999")
        for key_id in (MINE, account_2):
            with pytest.raises(InvalidCiphertextError):
                provider.keyhinge_decrypt(value(key_id), {})
            provider.keyhinge_rewrap_many([Decrypt(value(key_id), {})])
        sent = [
            (action, fields.get("KeyId"), fields.get("SourceKeyId"), fields.get("DestinationKeyId"))
            for action, fields, _ in stub.requests
        ]
        assert sent == [
            ("Decrypt", MINE, None, None),
            ("ReEncrypt", None, MINE, "alias/app"),
            ("Decrypt", "alias/app", None, None),
            ("ReEncrypt", None, "alias/app", "alias/app"),
        ]


class TestLies:
    """Answers of a service that isn't what it should be."""

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            {"KeyId": MINE},
            {"CiphertextBlob": BLOB},
            {"KeyId": MINE, "CiphertextBlob": ""},
            {"KeyId": MINE, "CiphertextBlob": None},
            {"KeyId": MINE, "CiphertextBlob": "!!!"},
            b"",
            b'{"CiphertextBlob": "Zm9v',
            b"<html>proxy</html>",
            b"[]",
        ],
    )
    def test_incomplete_answers_can_be_tried_again(self, provider, stub, answer):
        stub.answer = lambda *_: (200, answer)
        with pytest.raises(UnavailableError) as raised:
            provider.keyhinge_encrypt(b"x", {})
        assert raised.value.retryable
        with pytest.raises(UnavailableError):
            provider.keyhinge_decrypt(value(), {})

    @pytest.mark.parametrize("key_id", [THEIRS, MINE.replace(UUID, OTHER), "x", "alias/app"])
    def test_encrypting_under_another_key_is_refused(self, provider, stub, key_id):
        stub.answer = lambda *_: (200, {"KeyId": key_id, "CiphertextBlob": BLOB})
        with pytest.raises(OperationError, match="another key") as raised:
            provider.keyhinge_encrypt(b"x", {})
        assert not raised.value.retryable

    @pytest.mark.parametrize("key_id", [THEIRS, MINE.replace(UUID, OTHER), "x"])
    def test_decrypting_with_another_key_is_refused(self, provider, stub, key_id):
        stub.answer = lambda *_: (200, {"KeyId": key_id, "Plaintext": TEXT})
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(), {})

    def test_an_alias_whose_key_is_not_the_labelled_one(self, configure, stub):
        provider = configure(endpoint=stub.url, keyID="alias/app")
        stub.answer = lambda *_: (200, {"KeyId": MINE, "Plaintext": TEXT})
        assert provider.keyhinge_decrypt(value(), {}) == b"plaintext"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(MINE.replace(UUID, OTHER)), {})

    def test_an_id_whose_account_is_not_the_labelled_one(self, configure, stub):
        provider = configure(endpoint=stub.url, keyID=UUID)
        stub.answer = lambda *_: (200, {"KeyId": MINE, "Plaintext": TEXT})
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(MINE.replace("1111", "9999")), {})

    def test_rewrapping_from_another_key_is_refused(self, provider, stub):
        good = {"KeyId": MINE, "SourceKeyId": MINE, "CiphertextBlob": BLOB}
        for changed in ({}, {"SourceKeyId": THEIRS}, {"SourceKeyId": None}, {"KeyId": THEIRS}):
            stub.answer = lambda *_, changed=changed: (200, {**good, **changed})
            (result,) = provider.keyhinge_rewrap_many([Decrypt(value(), {})])
            assert isinstance(result, OperationError if changed else Sealed), changed

    def test_redirects_are_not_followed(self, provider, stub):
        stub.headers = {"Location": stub.url + "/elsewhere"}
        stub.answer = lambda *_: (307, b"")
        with pytest.raises(OperationError):
            provider.keyhinge_encrypt(b"x", {})
        assert len(stub.requests) == 1


class TestAlias:
    """An alias that was pointed elsewhere."""

    @pytest.fixture
    def provider(self, configure: Configure, stub: Any) -> AwsProvider:
        """A provider whose key is named by an alias."""
        return configure(endpoint=stub.url, keyID="alias/app")

    def answer(self, stub, described):
        def answer(action, fields):
            if action == "DescribeKey":
                return described
            return 400, {"__type": "IncorrectKeyException"}

        stub.answer = answer

    def test_the_error_prints_the_line_to_add(self, provider, stub):
        self.answer(
            stub, (200, {"KeyMetadata": {"Arn": MINE.replace(UUID, OTHER), "KeyId": OTHER}})
        )
        with pytest.raises(KeyUnavailableError, match="points to another key now") as raised:
            provider.keyhinge_decrypt(value(), {})
        assert f"decryptKeyIDs:`\n    - {MINE}\n" in str(raised.value)
        assert raised.value.failure is not None
        assert raised.value.failure.code == "IncorrectKeyException"

    def test_also_where_describing_is_not_allowed(self, provider, stub):
        self.answer(stub, (400, {"__type": "AccessDeniedException"}))
        with pytest.raises(KeyUnavailableError, match="points to another key now"):
            provider.keyhinge_decrypt(value(), {})

    def test_a_ciphertext_that_was_exchanged_is_no_matter_of_the_alias(self, provider, stub):
        self.answer(stub, (200, {"KeyMetadata": {"Arn": MINE, "KeyId": UUID}}))
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value(), {})


def test_a_key_named_by_its_arn_that_did_not_encrypt_the_value(provider, stub):
    """The label names the very key that was sent, so somebody changed label or ciphertext."""
    stub.answer = lambda *_: (400, {"__type": "IncorrectKeyException"})
    with pytest.raises(InvalidCiphertextError) as raised:
        provider.keyhinge_decrypt(value(), {})
    assert raised.value.failure is not None
    assert raised.value.failure.code == "IncorrectKeyException"
