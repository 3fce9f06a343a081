"""EncryptedValue: its grammar, its two encodings, and hostile input to both parsers."""

from __future__ import annotations

import base64
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyhinge import EncryptedValue, InvalidCiphertextError
from keyhinge._value import MAX_CIPHERTEXT_BYTES

ARN = "arn:aws:kms:us-east-1:123456789012:key/1234"
VALUE = EncryptedValue("vault", "monetr", "3", b"abc")

sections = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
key_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60)
versions = st.from_regex(r"[A-Za-z0-9._-]{0,64}", fullmatch=True)
ciphertexts = st.binary(min_size=1, max_size=200)
values = st.builds(EncryptedValue, sections, key_ids, versions, ciphertexts)


class TestParts:
    @pytest.mark.parametrize(
        ("section", "key_id", "version"),
        [
            ("a", "", ""),
            ("a" * 32, "!" * 512, "v" * 64),
            ("a-0", ARN, "1.0a1b_-"),
            ("a-", "::::", "-"),
        ],
    )
    def test_accepted(self, section, key_id, version):
        value = EncryptedValue(section, key_id, version, b"\0")
        assert (value.section, value.key_id, value.version) == (section, key_id, version)
        assert EncryptedValue.from_text(value.to_text()) == value
        assert EncryptedValue.from_bytes(value.to_bytes()) == value

    @pytest.mark.parametrize(
        "section",
        ["", "A", "0a", "-a", "a_b", "a" * 33, "a\n", "ä", "a b", "а", None, b"a", 1],
    )
    def test_bad_section(self, section):
        with pytest.raises(InvalidCiphertextError, match="section"):
            EncryptedValue(section, "k", "1", b"x")

    @pytest.mark.parametrize("key_id", [" ", "a b", "a\n", "\x7f", "é", "k" * 513, None, b"k"])
    def test_bad_key_id(self, key_id):
        with pytest.raises(InvalidCiphertextError, match="key id"):
            EncryptedValue("a", key_id, "1", b"x")

    @pytest.mark.parametrize("version", [" ", "1:2", "1\n", "é", "v" * 65, "1/2", None, 1])
    def test_bad_version(self, version):
        with pytest.raises(InvalidCiphertextError, match="version"):
            EncryptedValue("a", "k", version, b"x")

    @pytest.mark.parametrize("ciphertext", [b"", None, "x", bytearray(b"x"), memoryview(b"x"), 3])
    def test_bad_ciphertext(self, ciphertext):
        with pytest.raises(InvalidCiphertextError, match="ciphertext"):
            EncryptedValue("a", "k", "1", ciphertext)

    def test_largest_ciphertext(self):
        largest = bytes(MAX_CIPHERTEXT_BYTES)
        assert MAX_CIPHERTEXT_BYTES == 64 * 1024**2 + 64 * 1024
        value = EncryptedValue("a", "k" * 512, "v" * 64, largest)
        assert EncryptedValue.from_bytes(value.to_bytes()) == value
        text = value.to_text()
        assert EncryptedValue.from_text(text) == value
        with pytest.raises(InvalidCiphertextError, match="larger than"):
            EncryptedValue("a", "k", "1", largest + b"\0")
        with pytest.raises(InvalidCiphertextError):
            EncryptedValue.from_bytes(value.to_bytes() + b"\0")
        with pytest.raises(InvalidCiphertextError):
            EncryptedValue.from_text(text.rpartition(":")[0] + ":" + "A" * (len(text) + 2000))


class TestObject:
    def test_ciphertext_is_not_shown(self):
        value = EncryptedValue("a", "k", "1", b"c1pherTEXT")
        assert repr(value) == (
            "EncryptedValue(section='a', key_id='k', version='1', ciphertext=<10 bytes>)"
        )
        assert "c1pher" not in f"{value} {value!r} {[value]}"

    @pytest.mark.parametrize("name", ["section", "key_id", "version", "ciphertext", "other"])
    def test_read_only(self, name):
        value = EncryptedValue("a", "k", "1", b"x")
        with pytest.raises(AttributeError):
            setattr(value, name, "b")
        with pytest.raises(AttributeError):
            delattr(value, name)
        assert value == EncryptedValue("a", "k", "1", b"x")

    def test_equality(self):
        parts = ("a", "k", "1", b"x")
        value = EncryptedValue(*parts)
        assert value == EncryptedValue(*parts)
        assert hash(value) == hash(EncryptedValue(*parts))
        assert value != parts
        assert not issubclass(EncryptedValue, tuple)
        for at, other in enumerate(["b", "l", "2", b"y"]):
            changed = [*parts]
            changed[at] = other
            assert value != EncryptedValue(*changed)  # type: ignore[arg-type]

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
    def test_copies(self, again):
        assert again(VALUE) == VALUE

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle(self, protocol):
        assert pickle.loads(pickle.dumps(VALUE, protocol)) == VALUE


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            "", ":", "kh1", "kh1:", "kh1:a", "kh1:a:", "kh1:a:YWJj", "kh1:a:k:YWJj", "kh1::::",
            "kh1:a:k:1:", "kh1::k:1:YWJj", "KH1:a:k:1:YWJj", "kh2:a:k:1:YWJj", " kh1:a:k:1:YWJj",
            "kh1:a:k:1:YWJj\n", "kh1:a:k:1:YWJj ", "kh1:A:k:1:YWJj", "kh1:a b:k:1:YWJj",
            "kh1:a:k k:1:YWJj", "kh1:a:k:1 :YWJj", "\ufeffkh1:a:k:1:YWJj", "kh1:a:k:é:YWJj",
            "kh1:a:k:1:YWJ\u0416", "kh1:a:k:1:\ud800", "kh1:a:k:1:YWJj\0", "kh1\0:a:k:1:YWJj",
            "kh1:a:" + "k" * 513 + ":1:YWJj", "kh1:" + "a" * 33 + ":k:1:YWJj",
        ],
    )  # fmt: skip
    def test_refused(self, text):
        with pytest.raises(InvalidCiphertextError) as caught:
            EncryptedValue.from_text(text)
        assert caught.value.__cause__ is caught.value.__context__ is None

    @pytest.mark.parametrize(
        "body",
        [
            "YWI",  # no padding
            "YWI==", "YWI=A", "=YWI", "YW=I", "YWI=YWI=",  # padding in wrong places
            "YWJ=", "YWF=",  # stray bits below the padding
            "YWJj=", "YWJj====", "YWJ", "Y", "YW", "====", "=",
            "YWJj-_8=", "YW-_",  # the other alphabet
            "YWJj\r\nYWJj", "YW Jj", "YW*Jj", "YW\tJj", "YWJj!",  # junk that decoders skip
        ],
    )  # fmt: skip
    def test_base64_must_be_canonical(self, body):
        with pytest.raises(InvalidCiphertextError, match=r"base64|text form"):
            EncryptedValue.from_text(f"kh1:a:k:1:{body}")

    def test_junk_that_a_decoder_would_skip(self):
        assert base64.b64decode("YW*Jj") == b"abc"
        assert base64.b64decode("YWJ=") == base64.b64decode("YWI=") == b"ab"

    def test_colons_of_a_key_id(self):
        value = EncryptedValue("aws", ARN, "", b"abc")
        assert value.to_text() == f"kh1:aws:{ARN}::YWJj"
        assert EncryptedValue.from_text(value.to_text()) == value
        # An empty version behind a key id that ends with a colon, and the other way round.
        assert EncryptedValue.from_text("kh1:a:k::1:YWJj") == EncryptedValue("a", "k:", "1", b"abc")
        assert EncryptedValue.from_text("kh1:a:k:1::YWJj") == EncryptedValue("a", "k:1", "", b"abc")

    @pytest.mark.parametrize("text", [None, b"kh1:a:k:1:YWJj", 1, ["kh1"], VALUE])
    def test_other_types(self, text):
        with pytest.raises(InvalidCiphertextError, match="must be str"):
            EncryptedValue.from_text(text)

    def test_bytes_are_never_text(self):
        with pytest.raises(UnicodeDecodeError):
            VALUE.to_bytes().decode()


class TestBytes:
    def test_every_bytes_type_of_drivers(self):
        data = VALUE.to_bytes()
        for given_data in (data, bytearray(data), memoryview(data)):
            parsed = EncryptedValue.from_bytes(given_data)  # type: ignore[arg-type]
            assert parsed == VALUE
            assert type(parsed.ciphertext) is bytes

    @pytest.mark.parametrize("data", [None, "kh1:a:k:1:YWJj", 1, [0xD3, 0x4B], VALUE])
    def test_other_types(self, data):
        with pytest.raises(InvalidCiphertextError, match="must be bytes"):
            EncryptedValue.from_bytes(data)

    @pytest.mark.parametrize(
        "hexed",
        [
            "", "d3", "d34b48", "d34b4801", "d34b4802" + "0161" + "0000" + "00" + "78",
            "d34b4801" + "00" + "0000" + "00" + "78",  # no section
            "d34b4801" + "0141" + "0000" + "00" + "78",  # not a section
            "d34b4801" + "0161" + "0000" + "00",  # no ciphertext
            "d34b4801" + "0161" + "ffff" + "00" + "78",  # a length beyond the end
            "d34b4801" + "0161" + "0001" + "ff" + "00" + "78",  # not ASCII
            "d34b4801" + "0161" + "0000" + "01" + "c3" + "78",
            "d34b4801" + "0161" + "0201" + "6b" * 513 + "00" + "78",  # key id too long
            "d34b4801" + "0161" + "0000" + "41" + "31" * 65 + "78",  # version too long
        ],
    )  # fmt: skip
    def test_refused(self, hexed):
        with pytest.raises(InvalidCiphertextError) as caught:
            EncryptedValue.from_bytes(bytes.fromhex(hexed))
        assert caught.value.__cause__ is caught.value.__context__ is None


class TestFuzz:
    @given(values)
    def test_round_trips(self, value):
        assert EncryptedValue.from_text(value.to_text()) == value
        assert EncryptedValue.from_bytes(value.to_bytes()) == value

    @given(values, values)
    def test_nothing_else_encodes_to_it(self, one, other):
        assert (one == other) == (one.to_text() == other.to_text())
        assert (one == other) == (one.to_bytes() == other.to_bytes())

    @given(st.text())
    def test_any_text(self, text):
        parse_text(text)

    @given(st.binary())
    def test_any_bytes(self, data):
        parse_bytes(data)
        parse_bytes(b"\xd3\x4b\x48\x01" + data)

    @given(st.lists(st.sampled_from(["kh1", ":", "a", "vault", "YWJj", "=", "é", "\n", "YQ=="])))
    def test_text_of_likely_pieces(self, pieces):
        parse_text("".join(pieces))
        parse_text("kh1:" + "".join(pieces))

    @given(values, st.data())
    def test_a_changed_encoding_is_another_value_or_none(self, value, data):
        text = value.to_text()
        at = data.draw(st.integers(0, len(text) - 1))
        changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
        parsed = parse_text(changed)
        assert parsed is None or (parsed == value) == (changed == text)
        raw = bytearray(value.to_bytes())
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        assert parse_bytes(bytes(raw)) != value


def parse_text(text: str) -> EncryptedValue | None:
    """Parse; whatever parses must be exactly what the encoder makes."""
    try:
        value = EncryptedValue.from_text(text)
    except InvalidCiphertextError:
        return None
    assert value.to_text() == text
    return value


def parse_bytes(data: bytes) -> EncryptedValue | None:
    """Parse; whatever parses must be exactly what the encoder makes."""
    try:
        value = EncryptedValue.from_bytes(data)
    except InvalidCiphertextError:
        return None
    assert value.to_bytes() == data
    return value
