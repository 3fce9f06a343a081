"""What is kept in memory: so many data keys, none that wasn't proven, and no failures."""

from __future__ import annotations

import os

import pytest
from tests.local._envelope import (
    CONTEXT,
    Variant,
    commitment_of,
    open_envelope,
    parts_of,
    provider_of,
    with_parts,
)

from keyhinge import (
    ClosedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyRef,
    KeyUnavailableError,
    Sealed,
    hookimpl,
)
from keyhinge._context import check_context


def kept(keys):
    """How many data keys for encrypting, for decrypting, and new wrappings are in memory."""
    return [len(cache.entries) for cache in provider_of(keys)._caches]


class TestBounded:
    def test_number(self, open_keys, kms):
        """Never more than `maxKeys` of each kind, whoever fills them."""
        keys = open_keys(maxKeys=20, partitionBy=["account"])
        contexts = [{"account": str(n)} for n in range(100)]
        values = []
        for context in contexts:
            values.append(keys.encrypt(b"x", context=context))
            assert max(kept(keys)) <= 20
        keys.encrypt_many([Encrypt(b"x", context) for context in contexts])
        assert max(kept(keys)) <= 20
        items = [Decrypt(value, context) for value, context in zip(values, contexts, strict=True)]
        assert all(out.value == b"x" for out in keys.decrypt_many(items))
        assert all(out.error is None for out in keys.rewrap_many(items))
        assert max(kept(keys)) <= 20

    def test_what_is_used_stays(self, open_keys, kms):
        """What wasn't used for longest goes first."""
        keys = open_keys(maxKeys=16, partitionBy=["account"], clock=iter(range(10**6)).__next__)
        often = {"account": "often"}
        keys.encrypt(b"x", context=often)
        for n in range(100):
            keys.encrypt(b"x", context={"account": str(n)})
            keys.encrypt(b"x", context=often)
        assert kms.calls["encrypt"] == 101

    def test_one(self, open_keys, kms):
        """Room for one data key still encrypts for any number of tenants."""
        keys = open_keys(maxKeys=1, partitionBy=["account"])
        contexts = [{"account": str(n)} for n in range(5)]
        values = [out.value for out in keys.encrypt_many([Encrypt(b"x", c) for c in contexts])]
        opened = keys.decrypt_many([Decrypt(v, c) for v, c in zip(values, contexts, strict=True)])
        assert [out.value for out in opened] == [b"x"] * 5
        assert kept(keys)[:2] == [1, 1]

    def test_closing_drops_all(self, open_keys):
        keys = open_keys()
        value = keys.encrypt(b"x", context=CONTEXT)
        keys.rewrap(value, context=CONTEXT)
        provider = provider_of(keys)
        assert kept(keys) == [1, 2, 1]
        keys.close()
        assert [len(cache.entries) for cache in provider._caches] == [0, 0, 0]
        for call in (
            lambda: keys.encrypt(b"x", context=CONTEXT),
            lambda: keys.decrypt(value, context=CONTEXT),
            lambda: keys.rewrap(value, context=CONTEXT),
        ):
            with pytest.raises(ClosedError):
                call()

    def test_a_reload_drops_all(self, open_keys, kms):
        """The old section's keys aren't the new one's."""
        keys = open_keys()
        value = keys.encrypt(b"x", context=CONTEXT)
        old = provider_of(keys)._caches
        keys.reload()
        assert [len(cache.entries) for cache in old] == [0, 0, 0]
        assert commitment_of(keys.encrypt(b"x", context=CONTEXT)) != commitment_of(value)
        assert keys.decrypt(value, context=CONTEXT) == b"x"


class TestOnlyWhatIsProven:
    def test_a_wrong_commitment_is_not_kept(self, open_keys, kms):
        """A header that promises another key is refused every time, and takes nobody's room."""
        value = open_keys().encrypt(b"x", context=CONTEXT)
        planted = with_parts(value, parts_of(value)._replace(commitment=os.urandom(32)))
        reader = open_keys()
        for _ in range(2):
            with pytest.raises(InvalidCiphertextError):
                reader.decrypt(planted, context=CONTEXT)
            assert kept(reader) == [0, 0, 0]
        assert reader.decrypt(value, context=CONTEXT) == b"x"
        assert kept(reader) == [0, 1, 0]

    def test_rubbish_does_not_push_keys_out(self, open_keys, kms):
        """Whoever can write to the database can't empty the cache."""
        value = open_keys().encrypt(b"x", context=CONTEXT)
        reader = open_keys(maxKeys=4)
        reader.decrypt(value, context=CONTEXT)
        planted = [
            with_parts(value, parts_of(value)._replace(commitment=os.urandom(32)))
            for _ in range(50)
        ]
        outs = reader.decrypt_many([Decrypt(each, CONTEXT) for each in planted])
        assert all(isinstance(out.error, InvalidCiphertextError) for out in outs)
        assert kept(reader) == [0, 1, 0]
        kms.fail()
        assert reader.decrypt(value, context=CONTEXT) == b"x"

    def test_failures_are_not_kept(self, open_keys, kms):
        """What failed is tried again at the next call."""
        value = open_keys().encrypt(b"x", context=CONTEXT)
        reader = open_keys()
        kms.lose_key()
        kms.calls.clear()
        for _ in range(3):
            with pytest.raises(KeyUnavailableError):
                reader.decrypt(value, context=CONTEXT)
        assert kms.calls == {"decrypt": 3}
        kms.recover()
        assert reader.decrypt(value, context=CONTEXT) == b"x"


class TestLyingServices:
    """A key service whose wrapping doesn't open, or opens to something else."""

    @pytest.fixture
    def lying(self, kms):
        """Open `envelope` over a service with other hooks, and expect nothing to be encrypted."""
        opened = []

        def make(**hooks):
            keys = open_envelope({"kms": kms}, kms=Variant({"kms": kms}, **hooks))
            opened.append(keys)
            return keys

        yield make
        for keys in opened:
            keys.close()

    def expect_nothing(self, keys, error, match):
        """Nothing is encrypted, one by one or in a batch, and no data key is kept."""
        for _ in range(2):
            with pytest.raises(error, match=match):
                keys.encrypt(b"x", context=CONTEXT)
            outs = keys.encrypt_many([Encrypt(b"x", CONTEXT)] * 2)
            assert {type(out.error) for out in outs} == {error}
            assert kept(keys) == [0, 0, 0]

    def test_a_wrapping_that_is_rubbish(self, lying):
        @hookimpl
        def encrypt(self, plaintext, context):
            return self._seal(plaintext, context)._replace(ciphertext=os.urandom(60))

        keys = lying(keyhinge_encrypt=encrypt)
        self.expect_nothing(keys, KeyUnavailableError, "'kms', doesn't open there")

    def test_a_wrapping_of_another_key(self, lying):
        @hookimpl
        def encrypt(self, plaintext, context):
            return self._seal(os.urandom(32), context)

        keys = lying(keyhinge_encrypt=encrypt)
        self.expect_nothing(keys, KeyUnavailableError, "doesn't open there")

    def test_a_wrapping_under_another_context(self, lying):
        @hookimpl
        def encrypt(self, plaintext, context):
            return self._seal(plaintext, check_context({}))

        keys = lying(keyhinge_encrypt=encrypt)
        self.expect_nothing(keys, KeyUnavailableError, "doesn't open there")

    def test_a_wrapping_that_opens_to_something_else(self, lying):
        @hookimpl
        def decrypt(self, value, context):
            return bytes(32)

        keys = lying(keyhinge_decrypt=decrypt)
        self.expect_nothing(keys, KeyUnavailableError, "doesn't open there")

    def test_a_wrapping_that_is_too_large(self, lying):
        """For the field, and for what a value may have in all."""

        @hookimpl
        def encrypt(self, plaintext, context):
            return Sealed(bytes(70_000), "k", "1")

        keys = lying(keyhinge_encrypt=encrypt)
        self.expect_nothing(keys, KeyUnavailableError, "too large")

    def test_a_key_id_that_is_too_long(self, lying):
        """For a label that also has the section's name."""

        @hookimpl
        def encrypt(self, plaintext, context):
            return Sealed(b"w", "k" * 509, "1")

        @hookimpl
        def current_key(self):
            return KeyRef("k" * 509, "1")

        keys = lying(keyhinge_encrypt=encrypt, keyhinge_current_key=current_key)
        self.expect_nothing(keys, KeyUnavailableError, "key id too long")
        with pytest.raises(KeyUnavailableError, match="key id too long"):
            keys.current_key()

    def test_a_service_that_takes_the_key_as_it_is(self, lying, kms):
        """One that says it encrypts and doesn't can't be found out; but it must open it again."""
        stored = {}

        @hookimpl
        def encrypt(self, plaintext, context):
            stored[context.encoded] = plaintext
            return Sealed(b"n", "k", "1")

        @hookimpl
        def decrypt(self, value, context):
            return stored[context.encoded]

        keys = lying(keyhinge_encrypt=encrypt, keyhinge_decrypt=decrypt)
        value = keys.encrypt(b"x", context=CONTEXT)
        assert keys.decrypt(value, context=CONTEXT) == b"x"
        assert EncryptedValue.from_bytes(parts_of(value).wrapped).ciphertext == b"n"

    def test_a_new_wrapping_that_does_not_open(self, lying):
        """Nor does a lie at rewrapping get out; the value is as good as before."""

        @hookimpl
        def rewrap_many(self, items):
            return [self._seal(os.urandom(32), item.context) for item in items]

        keys = lying(keyhinge_rewrap_many=rewrap_many)
        value = keys.encrypt(b"x", context=CONTEXT)
        with pytest.raises(KeyUnavailableError, match="doesn't open there"):
            keys.rewrap(value, context=CONTEXT)
        [out] = keys.rewrap_many([Decrypt(value, CONTEXT)])
        assert isinstance(out.error, KeyUnavailableError)
        assert keys.decrypt(value, context=CONTEXT) == b"x"
