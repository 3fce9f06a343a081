"""`${NAME}` is filled in once, after YAML, in values alone."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyhinge.config._interpolation import InterpolationError, expand, interpolate
from keyhinge.config._nodes import MappingNode, ScalarNode, SequenceNode

ENVIRON = {"HOST": "vault.local", "EMPTY": "", "NEST": "${HOST}", "BAD": "\udcff"}
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
UNSET = "{}: the environment variable NOPE isn't set. Set it, or give a default: ${{NOPE:-default}}"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class TestExpand:
    @pytest.mark.parametrize(
        ("text", "expected", "variables", "whole"),
        [
            ("plain", "plain", (), False),
            ("", "", (), False),
            ("$HOST and $5", "$HOST and $5", (), False),
            ("${HOST}", "vault.local", ("HOST",), True),
            ("https://${HOST}:${PORT:-8200}/", "https://vault.local:8200/", ("HOST",), False),
            ("${PORT:-8200}", "8200", (), True),
            ("${EMPTY}", "", ("EMPTY",), True),
            ("${EMPTY:-x}", "x", (), True),
            ("${NO:-}", "", (), True),
            ("${NO:-a:-b $x}", "a:-b $x", (), True),
            ("$${HOST}", "${HOST}", (), False),
            ("$$${HOST}", "$${HOST}", (), False),
            ("${NEST}", "${HOST}", ("NEST",), True),
            ("${HOST}${HOST}", "vault.localvault.local", ("HOST",), False),
        ],
    )
    def test_examples(self, text, expected, variables, whole):
        expansion = expand(text, ENVIRON)
        assert (expansion.text, expansion.variables, expansion.whole) == (
            expected,
            variables,
            whole,
        )

    @pytest.mark.parametrize(
        "text",
        ["${", "a${", "${}", "${HOST", "${1A}", "${A-b}", "${A:b}", "${HO ST}", "${A:-${HOST}}"],
    )
    def test_malformed(self, text):
        with pytest.raises(InterpolationError, match=re.escape("${NAME:-default}")):
            expand(text, ENVIRON)

    def test_unset_names_the_variable(self):
        with pytest.raises(InterpolationError, match="variable NOPE isn't set"):
            expand("${NOPE}", {})
        with pytest.raises(InterpolationError, match="variable NOPE isn't set"):
            expand("x${NOPE}", {})

    def test_a_password_with_braces_is_not_repeated(self):
        with pytest.raises(InterpolationError) as caught:
            expand("pa${ss}word", {})
        assert "{ss}" not in str(caught.value)
        assert "variable ss" not in str(caught.value)

    def test_not_utf8(self):
        with pytest.raises(InterpolationError, match="UTF-8"):
            expand("${BAD}", ENVIRON)

    def test_length(self):
        with pytest.raises(InterpolationError, match="longer than 1 MiB"):
            expand("${A}" * 100, {"A": "x" * 20_000})

    @given(text=TEXT)
    def test_text_without_references_stays(self, text):
        text = text.replace("${", "")
        if "${" not in text:
            assert expand(text, {}).text == text

    @given(text=TEXT)
    def test_escaped_text_comes_back(self, text):
        """Whatever an operator has to write can be written."""
        if "$${" not in text:
            assert expand(text.replace("${", "$${"), {}).text == text

    @given(name=NAMES, value=TEXT, before=TEXT, after=TEXT)
    def test_never_expanded_twice(self, name, value, before, after):
        before, after = before.replace("$", ""), after.replace("$", "")
        expansion = expand(f"{before}${{{name}}}{after}", {name: value})
        assert expansion.text == before + value + after

    @given(text=st.text("${}:-AB \n\\"), value=TEXT)
    def test_anything_is_expanded_or_refused(self, text, value):
        message = None
        try:
            expand(text, {"A": f"<{value}>"})
        except InterpolationError as error:
            message = str(error)
        if message is not None:
            assert "${" in text
            assert f"<{value}>" not in message


class TestInterpolate:
    def test_tree(self):
        scalar = ScalarNode(path="store.a[0]", line=3, text="${HOST}")
        tree = MappingNode(
            path="store", entries={"${HOST}": SequenceNode(path="store.a", items=(scalar,))}
        )
        result: Any = interpolate(tree, ENVIRON)
        assert list(result.entries) == ["${HOST}"]
        filled = result.entries["${HOST}"].items[0]
        assert (filled.text, filled.form, filled.line) == ("vault.local", "text", 3)
        assert scalar.text == "${HOST}"

    def test_problems_stay_with_the_node(self):
        node = interpolate(ScalarNode(path="store.a", line=3, text="${NOPE}"), {})
        assert [f"{problem.path}: {problem.message}" for problem in node.problems] == [
            UNSET.format("store.a")
        ]

    def test_plain_scalars_without_references_stay_plain(self):
        node: Any = interpolate(ScalarNode(path="store.a", text="no"), {})
        assert node.form == "plain"

    def test_what_is_filled_in_is_text(self):
        """A variable that holds `no` doesn't become a boolean by itself."""
        node: Any = interpolate(ScalarNode(path="store.a", text="${A}"), {"A": "no"})
        assert (node.form, node.whole) == ("text", True)
