"""What goes over the wire: one spelling of each ciphertext, and no other is taken."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyhinge import NO_CONTEXT, InvalidContextError, encode_context
from keyhinge_vault._wire import binding, decode, is_version, parse, text_of

bodies = st.binary(min_size=1, max_size=200)
versions = st.integers(1, 999_999_999).map(str)
contexts = st.dictionaries(
    st.from_regex(r"[a-jl-z][a-z0-9_.-]{0,8}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    max_size=4,
)


class TestCiphertexts:
    @given(versions, bodies)
    def test_what_is_written_is_read_again(self, version, body):
        assert parse(text_of(version, body)) == (version, body)

    @given(st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.lists(st.text())))
    def test_anything_is_read_or_refused(self, found):
        """Whatever an answer holds, there's no exception, and what is taken has this spelling."""
        parsed = parse(found)
        assert parsed is None or text_of(*parsed) == found

    @given(st.from_regex(r"vault:v[0-9+ _]{1,4}:[A-Za-z0-9+/=]{0,12}\n?", fullmatch=True))
    def test_only_one_spelling_is_taken(self, text):
        parsed = parse(text)
        assert parsed is None or text_of(*parsed) == text

    @pytest.mark.parametrize(
        "text",
        [
            "vault:v01:eA==",
            "vault:v+1:eA==",
            "vault:v0:eA==",
            "vault:v-1:eA==",
            "vault:v١:eA==",
            "vault:v1:eB==",  # the same byte, with spare bits
            "vault:v1:eA=",
            "vault:v1:eA",
            "vault:v1:eA==\n",
            "vault:v1:e A==",
            "vault:v1:",
            "vault:v1:eA==:eA==",
            "vault:v1234567890:eA==",
            "VAULT:v1:eA==",
            "eA==",
            "",
        ],
    )
    def test_the_servers_other_spellings_are_refused(self, text):
        """The server itself takes some of these."""
        assert parse(text) is None


class TestVersions:
    @given(versions)
    def test_versions(self, version):
        assert is_version(version)

    @pytest.mark.parametrize(
        "version", ["", "0", "01", "-1", "+1", "1.0", "1 ", "1\n", "v1", "x", "١", "1" * 10, "1:x"]
    )
    def test_everything_else(self, version):
        """A value's label is data of whoever wrote the row."""
        assert not is_version(version)


class TestBase64:
    @given(st.binary())
    def test_canonical(self, data):
        assert decode(base64.b64encode(data).decode()) == data

    @given(st.one_of(st.text(), st.none(), st.integers(), st.dictionaries(st.text(), st.text())))
    def test_anything(self, found):
        decoded = decode(found)
        assert decoded is None or base64.b64encode(decoded).decode() == found


class TestContexts:
    @given(contexts)
    def test_both_modes_bind_the_encoding(self, context):
        expected = base64.b64encode(encode_context(context)).decode()
        assert binding("associated_data", context) == {"associated_data": expected}
        assert binding("context", context) == {"context": expected}

    @given(contexts, contexts)
    def test_different_contexts_bind_differently(self, one, other):
        assert (binding("context", one) == binding("context", other)) is (one == other)

    def test_an_empty_context_is_not_none_at_all(self):
        """Transit takes empty and absent associated data for the same, so ours is never empty."""
        assert binding("associated_data", {})["associated_data"] != ""
        assert binding("associated_data", NO_CONTEXT) == {}

    def test_a_bad_context(self):
        with pytest.raises(InvalidContextError):
            binding("context", {"": "x"})
