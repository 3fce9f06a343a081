"""No name can leave its place in a request's path."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyhinge_vault._names import (
    api_path,
    check_path,
    key_name_problem,
    mount_problem,
    namespace_problem,
    username_problem,
)

ESCAPES = (
    "",
    ".",
    "..",
    "../encrypt/other",
    "a/b",
    "/a",
    "a/",
    "a\\b",
    "%2e%2e",
    "%2E",
    "a%2fb",
    "%00",
    "a\0b",
    "a\nb",
    "a\r\nX-Vault-Token: t",
    "a\x7f",
    "a?list=true",
    "a#b",
    "a b",
    "\u2025",
    "a\uff0fb",
)


class TestGrammar:
    """What the settings take."""

    @pytest.mark.parametrize("name", ["app", "a", "_", "9", "a.b-c_d", "a..b", "A" * 512])
    def test_key_names(self, name: str):
        assert key_name_problem(name) is None

    @pytest.mark.parametrize(
        "name", [*ESCAPES, "-a", "a-", ".a", "a.", "a@b", "A" * 513, "schl\u00fcssel"]
    )
    def test_no_key_names(self, name: str):
        problem = key_name_problem(name)
        assert problem is not None
        assert len(name) < 5 or name not in problem

    @pytest.mark.parametrize(("name", "fits"), [("a.b@example.com", True), ("a@", False)])
    def test_usernames(self, name: str, fits: bool):
        assert (username_problem(name) is None) is fits

    @pytest.mark.parametrize("problem", [mount_problem, namespace_problem])
    def test_paths(self, problem: Callable[[str], str | None]):
        """Mounts and namespaces have segments, none of which goes up."""
        assert problem("transit") is problem("teams/a/transit-2") is None
        assert all(problem(text) for text in ESCAPES if text != "a/b")
        assert problem("a//b")
        assert problem("a/../b")
        assert problem("a/./b")

    @pytest.mark.parametrize("text", ["x\n", "x\r", "app\n"])
    def test_no_newline_slips_through(self, text: str):
        """`$` would match before a newline."""
        assert key_name_problem(text)
        assert mount_problem(text)
        assert namespace_problem(text)
        assert username_problem(text)


class TestPaths:
    """Putting paths together."""

    def test_segments(self):
        assert api_path("transit", "encrypt", "app") == "transit/encrypt/app"
        assert api_path("auth/userpass", "login", "a@b") == "auth/userpass/login/a@b"
        assert api_path("a/b", "c d?#\u00e4") == "a/b/c%20d%3F%23%C3%A4"

    @pytest.mark.parametrize(
        "escape",
        [text for text in ESCAPES if text not in {"a?list=true", "a#b", "a b"} and text.isascii()],
    )
    def test_escapes(self, escape: str):
        with pytest.raises(ValueError, match="not a segment") as caught:
            api_path("transit", "encrypt", escape)
        assert len(escape) < 5 or escape not in str(caught.value)

    @pytest.mark.parametrize("mount", ["", "/", "..", "a/..", "a//b", "%2e%2e/a", "a?b"])
    def test_mounts(self, mount: str):
        with pytest.raises(ValueError, match="not a mount"):
            api_path(mount, "x")

    @given(st.text(max_size=20))
    def test_any_segment(self, text: str):
        """Whatever comes through is one segment, stays it however it is read, and means itself."""
        try:
            path = api_path("transit", "encrypt", text)
        except (ValueError, UnicodeEncodeError):
            return
        assert check_path(path) == path
        head, found = path.rsplit("/", 1)
        assert head == "transit/encrypt"
        assert unquote(found) == text
        assert unquote(unquote(found)) not in {".", ".."}

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "a/%2e%2e/b",
            "a/%2E/b",
            "a%2Fb",
            "a%5Cb",
            "a%00",
            "a%252e",
            *["a?b", "a#b", "a b", "a\nb", "http://x/y", "\u00e4", "a%zz", "a%2e%2e/"],
        ],
    )
    def test_finished_paths(self, path: str):
        """What another way to make a path might let through is refused before it is sent."""
        with pytest.raises(ValueError, match="not a path"):
            check_path(path)
