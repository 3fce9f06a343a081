"""What somebody who can write to the database could plant, and what none of it gets them."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.local._envelope import CONTEXT, WRAP_CONTEXT, Parts, parts_of, with_parts
from tests.vectors import _envelope_decoder as decoder

from keyhinge import (
    NO_CONTEXT,
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    KeyManager,
)
from keyhinge.testing import FakeService
from keyhinge.testing._fake import FakeProvider
from keyhinge.testing._support import with_changes

OTHER = {"account": "acct_2", "secret": "sec_1"}
FIELDS = Parts._fields


@pytest.fixture
def known(open_keys):
    """Has made the values that are tampered with, and so has their data key at hand."""
    return open_keys()


@pytest.fixture(params=["warm", "cold"])
def refused(request, known, open_keys, kms):
    """Expect every way of opening a value to refuse it, with at most so many calls."""

    def expect(value, context=CONTEXT, *, calls=0):
        reader = known if request.param == "warm" else open_keys()
        kms.calls.clear()
        with pytest.raises(InvalidCiphertextError):
            reader.decrypt(value, context=context)
        [opened] = reader.decrypt_many([Decrypt(value, context)])
        [again] = reader.rewrap_many([Decrypt(value, context)])
        assert isinstance(opened.error, InvalidCiphertextError)
        assert isinstance(again.error, InvalidCiphertextError)
        assert sum(kms.calls.values()) <= calls

    return expect


class TestSwapping:
    """Every part of a ciphertext belongs to the others."""

    @pytest.mark.parametrize("field", FIELDS)
    def test_between_two_data_keys(self, open_keys, kms, field):
        """No part of another data key's value fits, though both open by themselves."""
        first, second = (open_keys().encrypt(text, context=CONTEXT) for text in (b"one", b"two"))
        for one, other in ((first, second), (second, first)):
            taken = parts_of(one)._replace(**{field: getattr(parts_of(other), field)})
            if taken == parts_of(one):
                assert field in {"marker", "bitmap"}
                continue
            for warm in (False, True):
                keys = open_keys()
                for value in (one, other) if warm else ():
                    keys.decrypt(value, context=CONTEXT)
                for _ in range(2):  # what was refused isn't remembered as right
                    with pytest.raises(InvalidCiphertextError):
                        keys.decrypt(with_parts(one, taken), context=CONTEXT)
                assert keys.decrypt(one, context=CONTEXT)

    @pytest.mark.parametrize("field", ["nonce", "body"])
    def test_between_two_values_of_one_data_key(self, refused, known, field):
        keys = known
        one, other = (parts_of(keys.encrypt(b"%d" % n, context=CONTEXT)) for n in range(2))
        value = keys.encrypt(b"3", context=CONTEXT)
        refused(with_parts(value, one._replace(**{field: getattr(other, field)})), calls=1)

    def test_between_contexts(self, refused, known):
        """A value of one row is none of another's, with one data key for both."""
        value = known.encrypt(b"x", context=CONTEXT)
        refused(value, OTHER, calls=1)
        refused(value, {}, calls=1)
        refused(value, {**CONTEXT, "more": "1"}, calls=1)

    @pytest.mark.parametrize("field", FIELDS)
    def test_between_partitions(self, open_keys, field):
        """Nor does a part of another tenant's value fit."""
        keys = open_keys(partitionBy=["account"])
        one = keys.encrypt(b"one", context=CONTEXT)
        other = keys.encrypt(b"two", context=OTHER)
        taken = parts_of(one)._replace(**{field: getattr(parts_of(other), field)})
        if taken == parts_of(one):
            assert field in {"marker", "bitmap"}
            return
        for reader in (keys, open_keys()):
            with pytest.raises(InvalidCiphertextError):
                reader.decrypt(with_parts(one, taken), context=CONTEXT)

    def test_whole_headers_between_partitions(self, open_keys):
        """A tenant's data key doesn't open under another tenant's context."""
        keys = open_keys(partitionBy=["account"])
        one, other = (keys.encrypt(b"x", context=context) for context in (CONTEXT, OTHER))
        for reader in (keys, open_keys()):
            with pytest.raises(InvalidCiphertextError):
                reader.decrypt(one, context=OTHER)
            mixed = parts_of(other)._replace(nonce=parts_of(one).nonce, body=parts_of(one).body)
            for context in (CONTEXT, OTHER):
                with pytest.raises(InvalidCiphertextError):
                    reader.decrypt(with_parts(other, mixed), context=context)

    @pytest.mark.parametrize("bits", [0x0002, 0x0003, 0x0004, 0x8000, 0xFFFF, 0x0100])
    def test_bitmaps(self, refused, known, bits):
        """Other entries, or entries that the context doesn't have, are refused."""
        value = known.encrypt(b"x", context=CONTEXT)
        parts = parts_of(value)._replace(bitmap=bits.to_bytes(2, "big"))
        # Two entries: bits beyond them are refused before the service is asked.
        refused(with_parts(value, parts), calls=3 if bits < 4 else 0)

    def test_a_bitmap_of_no_entries(self, open_keys):
        """A partition can't be taken out of a value."""
        keys = open_keys(partitionBy=["account"])
        value = keys.encrypt(b"x", context=CONTEXT)
        for reader in (keys, open_keys(partitionBy=["account"]), open_keys()):
            with pytest.raises(InvalidCiphertextError):
                reader.decrypt(
                    with_parts(value, parts_of(value)._replace(bitmap=b"\0\0")), context=CONTEXT
                )


class TestBytes:
    def test_every_byte_and_length(self, open_keys, kms):
        """No byte can be changed, cut off or added, whether the data key is at hand or not."""
        value = open_keys(partitionBy=["account"]).encrypt(b"x", context=CONTEXT)
        raw = value.ciphertext
        changed = [
            raw[:at] + bytes([old ^ bit]) + raw[at + 1 :]
            for at, old in enumerate(raw)
            for bit in (1, 128)
        ]
        changed += [raw[:end] for end in range(1, len(raw))] + [raw + b"\0", b"\0" + raw]
        cold, warm = open_keys(), open_keys()
        assert warm.decrypt(value, context=CONTEXT) == b"x"
        for body in changed:
            planted = with_changes(value, ciphertext=body)
            for keys in (cold, warm):
                with pytest.raises(InvalidCiphertextError):
                    keys.decrypt(planted, context=CONTEXT)
        # All of them at once, by the batch's own path, with a good one among them.
        items = [Decrypt(with_changes(value, ciphertext=body), CONTEXT) for body in changed]
        for keys in (cold, warm):
            *outs, good = keys.decrypt_many([*items, Decrypt(value, CONTEXT)])
            assert {type(out.error) for out in outs} == {InvalidCiphertextError}
            assert good.value == b"x"


class TestLabels:
    @pytest.mark.parametrize(
        "changes",
        [
            {"key_id": "kms/other"},
            {"version": "2"},
            {"version": ""},
            {"key_id": "other/{}"},
            {"key_id": "{}"},
        ],
        ids=str,
    )
    def test_others_than_the_header_says(self, refused, known, kms, changes):
        """The outer labels are compared, never believed; the service isn't even asked."""
        changes = {name: text.format(kms.current_key.key_id) for name, text in changes.items()}
        refused(with_changes(known.encrypt(b"x", context=CONTEXT), **changes))

    def test_both_changed(self, refused, known, kms):
        """Changed in both places alike, the label is the wrapped key's own, and that one fails."""
        value = known.encrypt(b"x", context=CONTEXT)
        inner = EncryptedValue.from_bytes(parts_of(value).wrapped)
        for changes in ({"version": "2"}, {"key_id": "other"}):
            wrapped = with_changes(inner, **changes).to_bytes()
            planted = with_parts(value, parts_of(value)._replace(wrapped=wrapped))
            outs = known.decrypt_many([Decrypt(planted, CONTEXT)])
            assert outs[0].error is not None

    def test_too_long_to_be_a_label(self, refused, known):
        """A wrapped key's section and key id that no outer label could repeat."""
        value = known.encrypt(b"x", context=CONTEXT)
        wrapped = EncryptedValue("kms", "k" * 512, "1", b"w").to_bytes()
        planted = parts_of(value)._replace(wrapped=wrapped)
        for key_id in ("kms/" + "k" * 508, "k" * 512):
            refused(EncryptedValue("envelope", key_id, "1", planted.join()))


class TestSections:
    """Which section opens a wrapped key is the configuration's choice alone."""

    @pytest.mark.parametrize("label", ["plain", "spare", "nested", "envelope", "nowhere"])
    def test_only_those_that_are_named(self, open_keys, kms, label):
        """One under another section, plaintext above all, is refused before anybody is called."""
        spare = FakeService()
        keys = open_keys(
            {"kms": kms, "spare": spare},
            sections={
                "plain": {"type": "plaintext"},
                "nested": {"type": "envelope", "over": "kms"},
            },
        )
        root = os.urandom(32)
        value = keys.encrypt(b"x", context=CONTEXT)
        inner = EncryptedValue.from_bytes(parts_of(value).wrapped)
        bodies = [inner.ciphertext, b"P" + root]
        kms.calls.clear()
        for body in bodies:
            wrapped = with_changes(inner, section=label, ciphertext=body)
            planted = forged(root, wrapped, CONTEXT)
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(planted, context=CONTEXT)
            [out] = keys.decrypt_many([Decrypt(planted, CONTEXT)])
            [again] = keys.rewrap_many([Decrypt(planted, CONTEXT)])
            assert isinstance(out.error, InvalidCiphertextError)
            assert isinstance(again.error, InvalidCiphertextError)
        assert kms.calls == spare.calls == {}

    def test_a_key_in_plaintext(self, open_keys, kms, plain):
        """As the `plaintext` section itself would write it, it opens there and not here."""
        keys = open_keys(sections={"plain": plain})
        root = os.urandom(32)
        wrapped = keys.encrypt(root, context=CONTEXT, section="plain")
        assert keys.decrypt(wrapped, context=CONTEXT) == root
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(forged(root, wrapped, CONTEXT), context=CONTEXT)
        assert kms.calls == {}

    def test_also_unwrap_is_what_opens_the_others(self, open_keys, kms):
        """The same value opens where the section is listed: so the refusals are about that."""
        spare = FakeService()
        value = open_keys({"spare": spare}).encrypt(b"x", context=CONTEXT)
        services = {"kms": kms, "spare": spare}
        with pytest.raises(InvalidCiphertextError):
            open_keys(services).decrypt(value, context=CONTEXT)
        listed = open_keys(services, alsoUnwrap=["spare"])
        assert listed.decrypt(value, context=CONTEXT) == b"x"


class TestSecretsOfUsers:
    """A user's own 32 bytes, which the application encrypts with the wrapping section itself."""

    CONTEXTS: tuple[dict[str, str], ...] = (
        {},
        CONTEXT,
        {"account": "acct_1"},
        {"purpose": "envelope/1"},
    )

    @pytest.mark.parametrize("partition", [{}, {"account": "acct_1"}], ids=["whole", "part"])
    @pytest.mark.parametrize("context", CONTEXTS, ids=str)
    def test_are_never_data_keys(self, open_keys, context, partition):
        """Whoever knows their secret, and can forge all the rest, gets nothing opened."""
        keys = open_keys()
        secret = os.urandom(32)
        wrapped = keys.encrypt(secret, context=context, section="kms")
        planted = forged(secret, wrapped, CONTEXT, partition)
        for _ in range(2):
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(planted, context=CONTEXT)
        assert keys.decrypt(wrapped, context=context) == secret

    @pytest.mark.parametrize("key", ["keyhinge", "Keyhinge", "KEYHINGE", "keyhinge2"])
    def test_the_wrap_context_is_out_of_reach(self, open_keys, key):
        """No caller can encrypt or decrypt under it, in any writing."""
        keys = open_keys()
        value = keys.encrypt(b"x", context=CONTEXT)
        inner = EncryptedValue.from_bytes(parts_of(value).wrapped)
        for section in ("kms", "envelope"):
            with pytest.raises(InvalidContextError):
                keys.encrypt(os.urandom(32), context={key: "envelope/1"}, section=section)
        with pytest.raises(InvalidContextError):
            keys.decrypt(inner, context={key: "envelope/1"})

    def test_a_data_key_is_no_value(self, open_keys):
        """Nor can the application be made to open a wrapped key as if it were a value."""
        keys = open_keys()
        inner = EncryptedValue.from_bytes(parts_of(keys.encrypt(b"x", context=CONTEXT)).wrapped)
        for context in self.CONTEXTS:
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(inner, context=context)

    @pytest.mark.parametrize("warm", [False, True])
    def test_nor_without_a_context(self, open_keys, warm):
        """`NO_CONTEXT` has an entry of the library's own, which is no partition: it would take the
        purpose's place in the wrap context."""
        keys = open_keys()
        secret = os.urandom(32)
        wrapped = keys.encrypt(secret, context=NO_CONTEXT, section="kms")
        planted = forged(secret, wrapped, NO_CONTEXT, NO_CONTEXT)
        value = keys.encrypt(b"x", context=NO_CONTEXT) if warm else None
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(planted, context=NO_CONTEXT)
        for [out] in (
            keys.decrypt_many([Decrypt(planted, NO_CONTEXT)]),
            keys.rewrap_many([Decrypt(planted, NO_CONTEXT)]),
        ):
            assert isinstance(out.error, InvalidCiphertextError)
        if value is not None:
            assert keys.decrypt(value, context=NO_CONTEXT) == b"x"

    def test_the_forgery_is_a_good_one(self, kms, open_keys):
        """Wrapped under the wrap context, the same forgery opens: all else was right."""
        secret = os.urandom(32)
        sealed = FakeProvider(kms).keyhinge_encrypt(secret, WRAP_CONTEXT)
        wrapped = EncryptedValue("kms", sealed.key_id, sealed.version, sealed.ciphertext)
        keys: KeyManager = open_keys()
        assert keys.decrypt(forged(secret, wrapped, CONTEXT), context=CONTEXT) == b"forged"

    @pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
    def test_root_keys_of_another_size(self, kms, open_keys, size):
        """Also where whoever forges it can wrap what they like."""
        secret = os.urandom(size)
        sealed = FakeProvider(kms).keyhinge_encrypt(secret, WRAP_CONTEXT)
        wrapped = EncryptedValue("kms", sealed.key_id, sealed.version, sealed.ciphertext)
        with pytest.raises(InvalidCiphertextError):
            open_keys().decrypt(forged(secret, wrapped, CONTEXT), context=CONTEXT)


class TestWhoHoldsADataKey:
    """Somebody who knows one tenant's root key can write what they like under it: for that one."""

    def test_it_opens_for_no_other_tenant(self, kms, open_keys):
        """Not even where that data key is in memory: what is kept belongs to the wrap context."""
        root, part = os.urandom(32), {"account": CONTEXT["account"]}
        sealed = FakeProvider(kms).keyhinge_encrypt(root, {**WRAP_CONTEXT, **part})
        wrapped = EncryptedValue("kms", sealed.key_id, sealed.version, sealed.ciphertext)
        own = forged(root, wrapped, CONTEXT, part)
        others = forged(root, wrapped, OTHER, part)
        assert own.ciphertext[: -12 - len(b"forged") - 16] in others.ciphertext
        for warm in (False, True):
            keys = open_keys()
            if warm:
                assert keys.decrypt(own, context=CONTEXT) == b"forged"
            for _ in range(2):
                with pytest.raises(InvalidCiphertextError):
                    keys.decrypt(others, context=OTHER)
                batch = [Decrypt(own, CONTEXT), Decrypt(others, OTHER), Decrypt(own, CONTEXT)]
                first, out, last = keys.decrypt_many(batch if warm else batch[1:2] * 3)
                assert isinstance(out.error, InvalidCiphertextError)
                assert not warm or (first.value, last.value) == (b"forged", b"forged")


class TestAliases:
    def test_of_the_section_below(self, open_keys, kms):
        """A value says by which name its key was wrapped; an alias of it is the same section."""
        value = open_keys({"old": kms}).encrypt(b"x", context=CONTEXT)
        assert value.key_id.startswith("old/")
        block = {"type": "fake", "service": "new", "aliases": ["old"]}
        keys = open_keys({"new": kms}, sections={"new": block})
        assert keys.decrypt(value, context=CONTEXT) == b"x"
        # The label goes with the header, whatever the section is called now.
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(
                with_changes(value, key_id=value.key_id.replace("old", "new")), context=CONTEXT
            )
        again = keys.rewrap(value, context=CONTEXT)
        assert again.key_id == f"new/{kms.current_key.key_id}"
        assert keys.decrypt(again, context=CONTEXT) == b"x"

    def test_of_the_section_itself(self, open_keys, kms):
        value = open_keys().encrypt(b"x", context=CONTEXT)
        block = {"over": "kms", "aliases": ["former"]}
        keys = open_keys(sections={"envelope": block})
        assert keys.decrypt(with_changes(value, section="former"), context=CONTEXT) == b"x"


def forged(root, wrapped, context, partition=None):
    """A value that is right in every respect, if only its root key was wrapped as it should be."""
    entries = dict(partition or {})
    bits = sum(1 << at for at, key in enumerate(sorted(context)) if key in entries)
    key, commitment = decoder.derive(root, {**WRAP_CONTEXT, **entries})
    header = b"\x01" + bits.to_bytes(2, "big") + commitment
    nonce = os.urandom(12)
    body = AESGCM(key).encrypt(nonce, b"forged", header + decoder.encode_context(context))
    parts = Parts(header[:1], header[1:3], commitment, wrapped.to_bytes(), nonce, body)
    return EncryptedValue(
        "envelope", f"{wrapped.section}/{wrapped.key_id}", wrapped.version, parts.join()
    )
