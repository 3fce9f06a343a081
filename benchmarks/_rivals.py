"""What envelope encryption is compared with, each as its users would call it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import aws_encryption_sdk
import tink
from aws_encryption_sdk.identifiers import (
    AlgorithmSuite,
    CommitmentPolicy,
    EncryptionKeyType,
    WrappingAlgorithm,
)
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKey
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tink import aead

LIMIT = "AES-GCM, ready key"
BY_HAND = "AES-GCM, an envelope by hand"
TINK = "tink, AES256_GCM"
TINK_KMS = "tink, KmsEnvelopeAead"
FERNET = "Fernet"
AWS = "AWS Encryption SDK"
AWS_CACHE = "AWS Encryption SDK, caching"
# Signing each message takes a millisecond more. Without it, but with key commitment, is the
# fastest of the SDK's suites that does what an envelope of ours does.
SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY


class Pair(NamedTuple):
    """Encrypting one plaintext, and decrypting what came of it."""

    encrypt: Callable[[], object]
    decrypt: Callable[[], object]


def rivals(plaintext: bytes, context: dict[str, str]) -> Iterator[tuple[str, Pair]]:
    """Give what is compared, by name, over one plaintext and one context."""
    yield LIMIT, limit(plaintext)
    yield BY_HAND, by_hand(plaintext)
    aad = repr(sorted(context.items())).encode()  # made before: tink takes bytes
    aead.register()
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    remote: aead.Aead = handle.primitive(aead.Aead)
    yield TINK, _tink(remote, plaintext, aad)
    envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)
    yield TINK_KMS, _tink(envelope, plaintext, aad)
    fernet = Fernet(Fernet.generate_key())
    token = fernet.encrypt(plaintext)
    yield FERNET, Pair(lambda: fernet.encrypt(plaintext), lambda: fernet.decrypt(token))
    wrapping = WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING
    key = WrappingKey(wrapping, os.urandom(32), EncryptionKeyType.SYMMETRIC)
    master = RawMasterKey(provider_id="benchmark", key_id="1", wrapping_key=key)
    yield AWS, _aws(plaintext, context, key_provider=master)
    caching = aws_encryption_sdk.CachingCryptoMaterialsManager(
        master_key_provider=master,
        cache=aws_encryption_sdk.LocalCryptoMaterialsCache(1000),
        max_age=3600.0,
        max_messages_encrypted=1 << 32,
    )
    yield AWS_CACHE, _aws(plaintext, context, materials_manager=caching)


def limit(plaintext: bytes) -> Pair:
    """Give AES-GCM alone. Its ciphertext holds no nonce, so nobody could store it like this."""
    cipher = AESGCM(AESGCM.generate_key(256))
    nonce = os.urandom(12)
    ciphertext = cipher.encrypt(nonce, plaintext, b"")
    return Pair(
        lambda: cipher.encrypt(os.urandom(12), plaintext, b""),
        lambda: cipher.decrypt(nonce, ciphertext, b""),
    )


def by_hand(plaintext: bytes) -> Pair:
    """Give AES-GCM with all that the bytes of an envelope ask for, and nothing around it.

    Header and context are authenticated, header and nonce stand before the ciphertext, and when
    it is opened they are taken off again. No library in Python can be much faster than this.
    """
    cipher = AESGCM(AESGCM.generate_key(256))
    fixed, context = os.urandom(35), os.urandom(40)
    header = fixed + os.urandom(150)  # with a wrapped key and its length
    start = len(header) + 12

    def encrypt() -> bytes:
        nonce = os.urandom(12)
        return b"".join((header, nonce, cipher.encrypt(nonce, plaintext, fixed + context)))

    sealed = encrypt()

    def decrypt() -> bytes:
        body = sealed[start:] if len(sealed) < 8192 else memoryview(sealed)[start:]
        return cipher.decrypt(sealed[start - 12 : start], body, sealed[:35] + context)

    return Pair(encrypt, decrypt)


def _tink(primitive: aead.Aead, plaintext: bytes, aad: bytes) -> Pair:
    ciphertext = primitive.encrypt(plaintext, aad)
    return Pair(
        lambda: primitive.encrypt(plaintext, aad), lambda: primitive.decrypt(ciphertext, aad)
    )


def _aws(plaintext: bytes, context: dict[str, str], **keys: object) -> Pair:
    policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=policy)

    def encrypt() -> bytes:
        ciphertext, _header = client.encrypt(
            source=plaintext, encryption_context=context, algorithm=SUITE, **keys
        )
        return bytes(ciphertext)

    ciphertext = encrypt()
    return Pair(encrypt, lambda: client.decrypt(source=ciphertext, **keys))
