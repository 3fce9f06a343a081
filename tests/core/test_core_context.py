"""The context's rules, and that its encoding is one to one."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyhinge import (
    NO_CONTEXT,
    InvalidCiphertextError,
    InvalidContextError,
    canonical,
    encode_context,
)
from keyhinge._context import FrozenContext, check_context, known_contexts, own_context

CONTEXT = {"account": "acct_1", "secret": "sec_1"}

keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", fullmatch=True).filter(
    lambda key: not key.lower().startswith("keyhinge")
)
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
)
contexts = st.dictionaries(keys, texts, max_size=16).filter(
    lambda context: len({key.lower() for key in context}) == len(context)
)


class TestAccepted:
    @pytest.mark.parametrize(
        "context",
        [
            {},
            {"a": "b"},
            {f"k{i}": "v" for i in range(16)},
            {"a": "v" * 1024},
            {"K" * 64: "v"},
            {"a.b_c-d0": "v"},
            {"a": " "},
            {"a": "ü" * 512},
            {"a": "\U0001f600" * 256},
            {f"k{i}": "v" * 1022 for i in range(4)},
            {"key": "keyhinge"},
            {"hinge": "v", "keyhing": "v"},
        ],
    )
    def test_allowed(self, context):
        checked = check_context(context)
        assert checked == context
        assert checked.encoded == encode_context(context)

    @pytest.mark.parametrize("context", [MappingProxyType(CONTEXT), check_context(CONTEXT)])
    def test_any_mapping(self, context):
        assert check_context(context) == CONTEXT

    def test_values_are_not_normalised(self):
        composed, decomposed = {"a": "\u00e9"}, {"a": "e\u0301"}
        assert encode_context(composed) != encode_context(decomposed)

    def test_keys_keep_their_case(self):
        assert encode_context({"A": "x"}) != encode_context({"a": "x"})

    def test_sorted_by_bytes(self):
        encoded = check_context({"b": "1", "a": "2", "C": "3"}).encoded
        assert encoded == b"khctx1\x03\x01C\0\x013\x01a\0\x012\x01b\0\x011"


class TestRefused:
    @pytest.mark.parametrize(
        ("context", "reason"),
        [
            ({f"k{i}": "v" for i in range(17)}, "at most 16"),
            ({"": "v"}, "keys are"),
            ({"1a": "v"}, "keys are"),
            ({"_a": "v"}, "keys are"),
            ({"a b": "v"}, "keys are"),
            ({"a\n": "v"}, "keys are"),
            ({"é": "v"}, "keys are"),
            ({"a\u017f": "v"}, "keys are"),
            ({"k" * 65: "v"}, "keys are"),
            ({1: "v"}, "keys are"),
            ({None: "v"}, "keys are"),
            ({b"a": "v"}, "keys are"),
            ({"a": ""}, "0 bytes"),
            ({"a": "v" * 1025}, "1025 bytes"),
            ({"a": "ü" * 513}, "1026 bytes"),
            ({f"k{i}": "v" * 1023 for i in range(4)}, "4096"),
            ({"a": "x\0"}, "NUL"),
            ({"a": "\ud800"}, "surrogate"),
            ({"a": "\udfff!"}, "surrogate"),
            ({"\ud800": "v"}, "keys are"),
            ({"a": 1}, "must be str, not int"),
            ({"a": None}, "must be str, not NoneType"),
            ({"a": b"x"}, "must be str, not bytes"),
            ({"a": True}, "must be str, not bool"),
            ({"a": ["x"]}, "must be str, not list"),
            ({"a": {"b": "c"}}, "must be str, not dict"),
            ({"a": "1", "A": "2"}, "differ only in case"),
            ({"keyhinge": "1"}, "library's own"),
            ({"KeyHinge": "1"}, "library's own"),
            ({"keyhinge.x": "1"}, "library's own"),
            ({"KEYHINGEx": "1"}, "library's own"),
            (None, "mapping"),
            ("account=1", "mapping"),
            ([("a", "b")], "mapping"),
            ({"a"}, "mapping"),
            (b"", "mapping"),
            (1, "mapping"),
        ],
    )
    def test_refused(self, context, reason):
        for _ in range(2):  # a refusal isn't remembered as good
            with pytest.raises(InvalidContextError, match=reason) as caught:
                check_context(context)
            assert caught.value.__cause__ is caught.value.__context__ is None

    def test_values_are_not_shown(self):
        with pytest.raises(InvalidContextError) as caught:
            check_context({"account": "marker\0"})
        assert "marker" not in str(caught.value)
        with pytest.raises(InvalidContextError) as caught:
            check_context({"marker in a key": "v"})
        assert "marker" not in str(caught.value)

    def test_case_folds_beyond_ascii_are_no_keys(self):
        # U+212A lowers to k and U+017F uppers to S: neither may get in beside the plain letter.
        for key in ("\u212aey", "\u017fecret"):
            with pytest.raises(InvalidContextError):
                check_context({key: "v"})


class TestFrozen:
    def test_a_later_change_has_no_effect(self):
        context = {"a": "1"}
        checked = check_context(context)
        context["a"] = "2"
        assert checked == {"a": "1"}
        assert check_context(context) == {"a": "2"}
        context["b"] = "\0"
        with pytest.raises(InvalidContextError):
            check_context(context)

    def test_read_only(self):
        checked = check_context({"a": "1"})
        for change in (
            lambda: checked.__setitem__("a", "2"),
            lambda: checked.__delitem__("a"),
            lambda: checked.update({"a": "2"}),
            lambda: checked.setdefault("b", "2"),
            lambda: checked.pop("a"),
            checked.popitem,
            checked.clear,
            lambda: checked.__ior__({"a": "2"}),
        ):
            with pytest.raises(TypeError, match="can't be changed"):
                change()
        assert checked == {"a": "1"}

    def test_copies(self):
        checked = check_context(CONTEXT)
        assert copy.copy(checked) is copy.deepcopy(checked) is checked
        again = pickle.loads(pickle.dumps(checked))
        assert (type(again), again, again.encoded) == (FrozenContext, checked, checked.encoded)

    def test_what_is_checked_is_what_is_kept(self):
        class Fickle(Mapping[str, str]):
            """Tells another value each time."""

            told = 0

            def __getitem__(self, key: str) -> str:
                self.told += 1
                return str(self.told)

            def __iter__(self) -> Iterator[str]:
                return iter(["a"])

            def __len__(self) -> int:
                return 1

        checked = check_context(Fickle())
        assert checked.encoded == encode_context(dict(checked))
        own = own_context(Fickle())
        assert own.encoded == encode_context(dict(own))

    def test_str_subclasses(self):
        class Label(str):
            __slots__ = ()

        with pytest.raises(InvalidContextError):
            check_context({Label("label"): "never seen before"})
        with pytest.raises(InvalidContextError):
            check_context({"label": Label("never seen before")})

    def test_the_library_itself_may_use_its_own_keys(self):
        own = own_context({"keyhinge": "envelope/1"})
        assert own == {"keyhinge": "envelope/1"}
        with pytest.raises(InvalidContextError):
            check_context(own)
        with pytest.raises(InvalidContextError):
            check_context(dict(own))
        with pytest.raises(InvalidContextError):
            own_context({"keyhinge": ""})

    def test_the_cache_is_bounded(self):
        for number in range(9000):
            check_context({"n": str(number)})
            assert len(known_contexts) <= 4096


class TestNone:
    """`NO_CONTEXT` is an object, not a content that a caller could write."""

    def test_the_object_itself_is_taken(self):
        assert check_context(NO_CONTEXT) is NO_CONTEXT

    def test_its_content_is_refused(self):
        with pytest.raises(InvalidContextError, match="library's own"):
            check_context(dict(NO_CONTEXT))

    def test_is_not_the_empty_context(self):
        assert encode_context(NO_CONTEXT) != encode_context({})

    def test_binds_where_a_provider_knows_nothing_of_it(self, opened):
        keys = opened()
        value = keys.encrypt(b"x", context=NO_CONTEXT)
        assert keys.decrypt(value, context=NO_CONTEXT) == b"x"
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(value, context={})


class TestOneToOne:
    @given(contexts)
    def test_order_does_not_matter(self, context):
        turned = dict(reversed(list(context.items())))
        assert encode_context(context) == encode_context(turned) == check_context(turned).encoded

    @given(contexts, contexts)
    def test_injective(self, one, other):
        assert (one == other) == (encode_context(one) == encode_context(other))

    @given(contexts)
    def test_decodes_to_itself(self, context):
        """The encoding can be read back, so no other context has it."""
        data = encode_context(context)
        assert data[:6] == b"khctx1"
        count, at, read = data[6], 7, {}
        for _ in range(count):
            end = at + 1 + data[at]
            key, size = data[at + 1 : end].decode(), int.from_bytes(data[end : end + 2], "big")
            read[key] = data[end + 2 : end + 2 + size].decode()
            at = end + 2 + size
        assert (at, read) == (len(data), context)

    @given(st.tuples(st.text("ab:", max_size=4), st.text("ab.", max_size=4), contexts),
           st.tuples(st.text("ab:", max_size=4), st.text("ab.", max_size=4), contexts))  # fmt: skip
    def test_canonical_is_injective(self, one, other):
        assert (one == other) == (canonical(*one) == canonical(*other))

    def test_canonical(self):
        assert canonical("k", "12", {}) == b"\0\x01k\x0212khctx1\0"

    @given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3))
    def test_any_mapping_is_taken_or_refused(self, context):
        with contextlib.suppress(InvalidContextError):
            assert check_context(context) == context
