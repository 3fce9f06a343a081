"""Bytes of YAML become nodes, or one clear error without anything out of the file."""

from typing import Any

import pytest
import yaml

from keyhinge._errors import ConfigError
from keyhinge.config import _yaml
from keyhinge.config._nodes import MappingNode, ScalarNode, problems_of
from keyhinge.config._yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse_yaml

MARKER = "S3CR3T-marker"


@pytest.fixture(params=["libyaml", "pure"], autouse=True)
def loader(request, monkeypatch):
    """Both of PyYAML's parsers have to give the same."""
    if request.param == "pure":
        monkeypatch.setattr(_yaml, "_LOADER", yaml.SafeLoader)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML was built without libyaml")
    return request.param


def problems(text: str) -> list[str]:
    """Everything that reading alone finds wrong, as text."""
    parsed = parse_yaml(text.encode())
    found = [*parsed.problems]
    for node in parsed.blocks.values():
        found.extend(problems_of(node))
    return [str(problem) for problem in found]


class TestShape:
    def test_paths_and_lines(self):
        """Each node knows where it stands; a value has its key's line."""
        parsed = parse_yaml(
            b"keyManagement:\n  vault:\n    role:\n      monetr\n    l: [a,\n  b]\n"
        )
        root = parsed.blocks["keyManagement"]
        assert isinstance(root, MappingNode)
        vault = root.entries["vault"]
        assert isinstance(vault, MappingNode)
        role = vault.entries["role"]
        assert isinstance(role, ScalarNode)
        assert (role.path, role.line, role.text) == ("keyManagement.vault.role", 3, "monetr")
        words: Any = vault.entries["l"]
        items = words.items
        assert [item.path for item in items] == [f"keyManagement.vault.l[{n}]" for n in (0, 1)]
        assert [item.line for item in items] == [5, 6]

    def test_quotes_are_kept_apart(self):
        root: Any = parse_yaml(b"store:\n  a: no\n  b: 'no'\n  c: \"no\"\n  d: |\n    no\n").blocks[
            "store"
        ]
        forms = [root.entries[key].form for key in "abcd"]
        assert forms == ["plain", "text", "text", "text"]

    def test_byte_order_mark(self):
        assert parse_yaml(b"\xef\xbb\xbfstore: {}\n").blocks.keys() == {"store"}

    def test_other_keys_are_left_alone(self):
        """The application may use all of YAML in its own part of the file."""
        parsed = parse_yaml(
            b"base: &base {a: 1, a: 2, 5: x, yes: y}\n"
            b"mine: !custom {<<: *base, x: *base}\n"
            b"? [complex, key]\n: v\n"
            b"list: &l [*l]\n"
            b"keyManagement: {}\n"
            b"base: twice\n"
        )
        assert parsed.blocks.keys() == {"keyManagement"}
        assert parsed.other_keys == ("base", "mine", "list", "base")
        assert parsed.problems == ()


class TestBroken:
    @pytest.mark.parametrize(
        ("data", "line", "reason"),
        [
            (b"a: 1\nb: \xff" + MARKER.encode(), 2, "isn't UTF-8"),
            (b"a:\n\tb: " + MARKER.encode(), 2, "tab"),
            (b"a: 'S3CR3T-marker\n", None, "isn't closed"),
            (b"a: [S3CR3T-marker\n", None, "bracket"),
            (b"a: b: S3CR3T-marker\n", 1, "':'"),
            (b"a: 1\n S3CR3T-marker: 2\n", 2, ""),
            (b"a: @S3CR3T-marker\n", 1, "quotes"),
            (b"a: %S3CR3T-marker\n", 1, "quotes"),
            (b'a: "\\S3CR3T-marker"\n', 1, "escape"),
            (b"a: S3CR3T-marker\x07\n", None, "control character"),
            (b"a: {S3CR3T-marker: 1\nb: 2}\n", 2, ""),
            (b"a: 1\nS3CR3T-marker\nb: 2\n", None, ""),
            (b"%YAML 9.9\n---\na: 1\n", None, ""),
            (b'a: "\\UFFFFFFFF"', None, ""),
        ],
    )
    def test_syntax_errors_show_nothing(self, data, line, reason):
        with pytest.raises(ConfigError) as caught:
            parse_yaml(data, source="config.yaml")
        message = str(caught.value)
        assert message.startswith("config.yaml")
        assert "S3CR3T" not in message
        assert reason in message
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        if line is not None:
            assert caught.value.problems[0].line == line

    @pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n", b"---\n...\n", b"\n\n"])
    def test_empty(self, data):
        with pytest.raises(ConfigError, match="the file is empty"):
            parse_yaml(data)

    @pytest.mark.parametrize("data", [b"- a\n", b"word\n", b"null\n", b"42", b"''"])
    def test_no_mapping(self, data):
        with pytest.raises(ConfigError, match="must be a mapping"):
            parse_yaml(data)

    def test_two_documents(self):
        with pytest.raises(ConfigError, match=r"line 2: .*more than one YAML document"):
            parse_yaml(b"keyManagement:\n---\nkeyManagement:\n")

    def test_too_large(self):
        with pytest.raises(ConfigError, match="larger than 1 MiB"):
            parse_yaml(b"a: " + b"x" * MAX_BYTES)

    @pytest.mark.parametrize("key", ["store", "application"])
    def test_too_deep(self, key):
        def nested(depth: int) -> bytes:
            return f"{key}: {'[' * depth}{']' * depth}\n".encode()

        parse_yaml(nested(MAX_DEPTH - 1))
        with pytest.raises(ConfigError, match="nested deeper than 32"):
            parse_yaml(nested(MAX_DEPTH))

    @pytest.mark.parametrize("line", ["  k{}: 1\n", "  k: 1\n", "  {}: 1\n", "  - 1\n"])
    def test_too_many(self, line):
        """Only our part counts: the application may have long lists."""
        lines = "".join(line.format(number) for number in range(MAX_VALUES + 1)).encode()
        assert parse_yaml(b"application:\n" + lines + b"store:\n").blocks
        with pytest.raises(ConfigError, match="more than 5000 values"):
            parse_yaml(b"store:\n" + lines)

    def test_bottomless(self):
        """The bound holds before the parser has gone to the bottom."""
        with pytest.raises(ConfigError, match="nested deeper"):
            parse_yaml(b"a: " + b"[" * (MAX_BYTES - 3))


class TestStrict:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("store: {a: 1, a: 2}", "store.a (line 1): this key stands here twice"),
            ("store: &x {}", "store (line 1): YAML anchors"),
            ("store:\n  a: &x b", "store.a (line 2): YAML anchors"),
            ("x: &x b\nstore:\n  a: *x", "store.a (line 3): YAML aliases"),
            ("x: &x {}\nstore: *x", "store (line 2): YAML aliases"),
            ("store: {a: !!str 5}", "store.a (line 1): YAML tags"),
            ("store: {a: ! 5}", "store.a (line 1): YAML tags"),
            ("store: !x {}", "store (line 1): YAML tags"),
            ("store: {a: !!python/object:os.system {}}", "store.a (line 1): YAML tags"),
            ("!x store: {}", "store (line 1): YAML tags"),
            ("store: {&x a: b}", "store.a (line 1): YAML anchors"),
            ("x: &x {}\nstore:\n  <<: *x", "store (line 3): YAML merge keys"),
            ("store: {5: a}", "store (line 1): a key here must be text"),
            ("store: {no: a}", "store (line 1): a key here must be text"),
            ("store: {~: a}", "store (line 1): a key here must be text"),
            ("store: {? [a] : b}", "store (line 1): a key here must be a plain word"),
            ("store: {}\nstore: {}", "store (line 2): this key stands here twice"),
            ("store: {}\nStore: {}", "store (line 2): two keys differ only in case"),
            ("KeyManagement: {}", "keyManagement (line 1): the key should be spelt"),
        ],
    )
    def test_what_is_ours(self, text, problem):
        found = problems(text)
        assert len(found) == 1
        assert found[0].startswith(problem)

    def test_everything_at_once(self):
        text = "store:\n  a: &x 1\n  b: !y 2\n  c: {d: 1, d: 2}\n"
        assert len(problems(text)) == 3

    @pytest.mark.parametrize("key", ["{token:S3CR3T-marker}", "{'S3CR3T marker': 1}"])
    def test_a_secret_as_a_key(self, key):
        """A forgotten space makes the secret part of a key: the path doesn't repeat it."""
        parsed = parse_yaml(f"store: {key}".encode())
        store: Any = parsed.blocks["store"]
        child = next(iter(store.entries.values()))
        assert child.path == "store.?"

    def test_surrogates(self, loader):
        if loader == "libyaml":
            with pytest.raises(ConfigError):
                parse_yaml(b'store: {a: "\\ud800"}')
        else:
            assert problems('store: {a: "\\ud800"}') == [
                "store.a (line 1): an escape makes a character that no text can hold"
            ]
