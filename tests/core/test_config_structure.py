"""Nodes become settings strictly: nothing turns into something else, and no value is shown."""

import enum
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from keyhinge._secret import Secret
from keyhinge._settings import InvalidSettings, secret, setting, settings
from keyhinge.config._interpolation import interpolate
from keyhinge.config._mapping import parse_mapping
from keyhinge.config._structure import structure
from keyhinge.config._yaml import parse_yaml

MARKER = "S3CR3T-marker"
UNSET = "the environment variable NOPE isn't set. Set it, or give a default: ${NOPE:-default}"
NOT_BOOL = "must be true or false, in these letters: yes, no, on, off, 1 and 0 aren't taken"
BASE = Path("/etc/app")
ENVIRON = {"YES": "true", "PORT": "8200", "TEXT": MARKER, "EMPTY": "", "NO": "no", "ZERO": "0123"}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Name(str):
    __slots__ = ()


class Level(str, enum.Enum):
    LOW = "low"


class Number(enum.IntEnum):
    ONE = 1


@settings
class Inner:
    role_name: str = setting(alias="roleName")
    deep: bool = False


@settings
class Sample:
    text: str = ""
    maybe: str | None = "default"
    flag: bool = False
    number: int = setting(default=0, minimum=-5, maximum=9000)
    ratio: float = setting(default=0.0, minimum=-1, maximum=1e6)
    path: Path | None = None
    mode: Literal["token", "kubernetes"] = "token"
    colour: Colour = Colour.RED
    level: Level | None = None
    numbered: Number = Number.ONE
    words: list[str] = setting(factory=list)
    more: tuple[str, ...] = ()
    numbers: Sequence[int] = ()
    labels: dict[str, str] = setting(factory=dict)
    where: Mapping[str, str | list[str]] = setting(factory=dict)
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    token: Secret | None = secret(default=None)
    either: int | str | None = None


def read(text: str, cls: type = Sample):
    """Structure `store:` with this behind it."""
    node = parse_yaml(f"store: {text}".encode()).blocks["store"]
    return structure(interpolate(node, ENVIRON), cls, base_dir=BASE)


def value(text: str, name: str) -> Any:
    """The one attribute of a `Sample` made of the text, which has to be right."""
    made = read(text)
    assert [str(problem) for problem in made.problems] == []
    return getattr(made.value, name)


def wrong(text: str, cls: type = Sample) -> list[str]:
    """The problems of a text that has to be wrong; no problem ever shows the marker."""
    made = read(text, cls)
    assert made.value is None
    assert MARKER not in repr(made)
    return [f"{problem.path}: {problem.message}" for problem in made.problems]


class TestText:
    @pytest.mark.parametrize(
        ("yaml", "expected"),
        [
            ("monetr", "monetr"),
            ("'0123'", "0123"),
            ('"no"', "no"),
            ("''", ""),
            ("https://vault:8200/", "https://vault:8200/"),
            ("10.0.0.1", "10.0.0.1"),
            ("1.2.3", "1.2.3"),
            ("two words", "two words"),
            ("arn:aws:kms:eu-west-1:1:key/a", "arn:aws:kms:eu-west-1:1:key/a"),
            ("12345-abc", "12345-abc"),
            ("0x", "0x"),
            (".", "."),
            ("'${NO}'", "no"),
            ("${NO}", "no"),
            ("${ZERO}", "0123"),
            ("5${EMPTY}", "5"),
            ("'null'", "null"),
        ],
    )
    def test_taken(self, yaml, expected):
        assert value(f"\n  text: {yaml}", "text") == expected

    @pytest.mark.parametrize(
        "yaml",
        ["0123", "12", "-5", "+5", "1_000", "0x1F", "0b11", "0o17", "089", "1e3", "1E-3", "1.5",
         "1.", ".5", "-.5", "1.5e3", ".inf", "-.Inf", ".NaN", "12:30", "12:30:00", "1:30.5",
         "2001-01-01",
         "2001-1-1", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43", "yes", "No", "on",
         "OFF",
         "true", "False", "y", "N", "=", "<<"],
    )  # fmt: skip
    def test_surprises_are_refused(self, yaml):
        assert wrong(f"{{text: {yaml}}}") == ["store.text: must be text: write it in quotes"]

    @pytest.mark.parametrize("yaml", ["", "~", "null", "Null", "NULL"])
    def test_null(self, yaml):
        assert wrong(f"{{text: {yaml}}}")[0].startswith("store.text: has no value")
        assert value(f"{{maybe: {yaml}}}", "maybe") is None

    def test_optional_text_may_be_empty(self):
        assert value("{maybe: ''}", "maybe") == ""
        assert value("{maybe: '${EMPTY}'}", "maybe") == ""
        assert value("{}", "maybe") == "default"

    @pytest.mark.parametrize("yaml", ["[S3CR3T-marker]", "{S3CR3T-marker: 1}"])
    def test_not_a_scalar(self, yaml):
        assert wrong(f"{{text: {yaml}}}") == [
            "store.text: must be a single value, not a list or a mapping"
        ]


class TestBool:
    @pytest.mark.parametrize(
        ("yaml", "expected"),
        [("true", True), ("false", False), ("'${YES}'", True), ("'${X:-false}'", False)],
    )
    def test_taken(self, yaml, expected):
        assert value(f"{{flag: {yaml}}}", "flag") is expected

    @pytest.mark.parametrize(
        ("yaml", "hint"),
        [
            ("yes", "aren't taken"), ("no", "aren't taken"), ("On", "aren't taken"),
            ("off", "aren't taken"), ("True", "aren't taken"), ("1", "aren't taken"),
            ("'true'", "without quotes"), ("'${NO}'", "aren't taken"),
            ("'${YES}${EMPTY}'", "without quotes"), ("'${EMPTY}'", "must be true or false"),
            (MARKER, "must be true or false"), ("0x1", "must be true or false"),
        ],
    )  # fmt: skip
    def test_refused(self, yaml, hint):
        (problem,) = wrong(f"{{flag: {yaml}}}")
        assert problem.startswith("store.flag: must be true or false")
        assert hint in problem


class TestNumbers:
    @pytest.mark.parametrize(
        ("yaml", "expected"), [("0", 0), ("-5", -5), ("8200", 8200), ("'${PORT}'", 8200)]
    )
    def test_int(self, yaml, expected):
        assert value(f"{{number: {yaml}}}", "number") == expected

    @pytest.mark.parametrize(
        "yaml",
        ["0123", "0x1F", "0b1", "1_000", "+5", "1e3", "5.0", "'5'", "'${ZERO}'", "'1${ZERO}'", "no",
         "12:30", "S3CR3T-marker", "'${TEXT}'", "99999999999999999999"],
    )  # fmt: skip
    def test_not_int(self, yaml):
        (problem,) = wrong(f"{{number: {yaml}}}")
        assert problem.startswith("store.number: must be a whole number")

    def test_range(self):
        assert wrong("{number: -6}") == ["store.number: must be at least -5"]
        assert wrong("{ratio: 1000001}") == ["store.ratio: must be at most 1000000"]

    @pytest.mark.parametrize(
        ("yaml", "expected"), [("5", 5.0), ("2.5", 2.5), ("-0.25", -0.25), ("'${PORT}'", 8200.0)]
    )
    def test_float(self, yaml, expected):
        result = value(f"{{ratio: {yaml}}}", "ratio")
        assert result == expected
        assert isinstance(result, float)

    @pytest.mark.parametrize(
        "yaml", ["1e3", ".5", "5.", ".inf", ".nan", "01.5", "1_0.0", "'2.5'", "true", MARKER]
    )
    def test_not_float(self, yaml):
        (problem,) = wrong(f"{{ratio: {yaml}}}")
        assert problem.startswith("store.ratio: must be a number")


class TestOthers:
    @pytest.mark.parametrize(
        ("yaml", "expected"),
        [("ca.crt", "/etc/app/ca.crt"), ("/abs/ca", "/abs/ca"), ("~/ca", "/etc/app/~/ca")],
    )
    def test_path(self, yaml, expected):
        assert value(f"{{path: {yaml}}}", "path") == Path(expected)

    @pytest.mark.parametrize("yaml", ["''", '"a\\0b"'])
    def test_not_path(self, yaml):
        assert wrong(f"{{path: {yaml}}}") == ["store.path: must be a path"]

    def test_choice(self):
        assert value("{mode: kubernetes}", "mode") == "kubernetes"
        assert wrong("{mode: kubernets}") == [
            "store.mode: must be one of: token, kubernetes. Did you mean 'kubernetes'?"
        ]
        assert wrong("{mode: S3CR3T-marker}") == ["store.mode: must be one of: token, kubernetes."]
        assert value("{colour: blue}", "colour") is Colour.BLUE
        assert value("{level: low}", "level") is Level.LOW
        assert value("{numbered: 1}", "numbered") is Number.ONE
        assert wrong("{level: S3CR3T-marker}") == ["store.level: must be one of: low."]
        assert wrong("{colour: S3CR3T-marker}") == ["store.colour: must be one of: red, blue."]

    def test_lists(self):
        assert value("{words: [a, 'no']}", "words") == ["a", "no"]
        assert value("{more: [a, b]}", "more") == ("a", "b")
        assert value("{numbers: [1, 2]}", "numbers") == (1, 2)
        assert wrong("{words: [a, no, 5]}") == [
            "store.words[1]: must be text: write it in quotes",
            "store.words[2]: must be text: write it in quotes",
        ]
        assert wrong("{words: S3CR3T-marker}") == ["store.words: must be a list, as in [a, b]"]

    def test_mappings(self):
        assert value("{labels: {a: b, A: c, x.y: d}}", "labels") == {"a": "b", "A": "c", "x.y": "d"}
        assert value("{where: {kind: [a, b], x: z}}", "where") == {"kind": ["a", "b"], "x": "z"}
        assert wrong("{labels: {a: 5}}") == ["store.labels.a: must be text: write it in quotes"]
        assert wrong("{labels: [S3CR3T-marker]}") == [
            "store.labels: must be a mapping, as in {a: b}"
        ]

    def test_unions(self):
        assert value("{either: 5}", "either") == 5
        assert value("{either: five}", "either") == "five"
        assert value("{either: ~}", "either") is None
        assert wrong("{either: no}") == ["store.either: must be text: write it in quotes"]

    def test_nested(self):
        made = read("{inner: {roleName: a}, inners: [{roleName: b, deep: true}]}").value
        assert made.inner == Inner(roleName="a")
        assert made.inners == (Inner(roleName="b", deep=True),)
        assert wrong("{inner: {deep: no}, inners: [{}, {rolName: a}, S3CR3T-marker]}") == [
            "store.inner.roleName: this key is missing, and it is needed",
            f"store.inner.deep: {NOT_BOOL}",
            "store.inners[0].roleName: this key is missing, and it is needed",
            "store.inners[1].rolName: this key isn't known. Did you mean 'roleName'?",
            "store.inners[1].roleName: this key is missing, and it is needed",
            "store.inners[2]: must be a block of settings, with one key on each line",
        ]


class TestKeys:
    def test_unknown(self):
        assert wrong("{colr: red}") == ["store.colr: this key isn't known. Did you mean 'colour'?"]
        (problem,) = wrong("{zzz: S3CR3T-marker}")
        assert problem.startswith("store.zzz: this key isn't known. The keys are: text, maybe,")

    @pytest.mark.parametrize("yaml", ["{token:S3CR3T-marker}", "{S3CR3T-marker}", "{'a b': 1}"])
    def test_a_secret_that_became_a_key_is_not_shown(self, yaml):
        (problem,) = wrong(yaml)
        assert problem.startswith("store: there is a key here that isn't known")

    def test_case(self):
        made = read("{Text: a, TOKENFILE: b}")
        assert made.value.text == "a"
        assert [problem.severity for problem in made.problems] == ["warning", "warning"]
        assert [f"{problem.path}: {problem.message}" for problem in made.problems] == [
            "store.Text: the key should be spelt 'text'; it is taken as that",
            "store.TOKENFILE: the key should be spelt 'tokenFile'; it is taken as that",
        ]
        assert made.errors == ()

    @pytest.mark.parametrize(
        "yaml", ["{text: a, Text: b}", "{TEXT: a, text: b}", "{TEXT: a, Text: b}"]
    )
    def test_two_that_differ_in_case(self, yaml):
        problems = wrong(yaml)
        assert [problem for problem in problems if "two keys differ only in case" in problem]

    def test_lines(self):
        made = read("\n  flag: no\n  # x\n  ratio:\n    no\n")
        assert [problem.line for problem in made.problems] == [2, 4]

    def test_yaml_problems_are_reported_once(self):
        assert wrong("{text: &x a, flag: '${NOPE}', number: no}") == [
            "store.text: YAML anchors (&name) aren't taken here; write the value out",
            f"store.flag: {UNSET}",
            "store.number: must be a whole number, in decimal digits without leading zeros",
        ]


class TestSecrets:
    @settings
    class Needed:
        token: Secret = secret()
        key: Secret | None = secret(default=None, file_twin=False)

    def test_given(self):
        made = read("{token: S3CR3T-marker}", self.Needed).value
        assert made.token.reveal() == MARKER
        assert made.token.path is None
        assert MARKER not in repr(made)

    def test_file(self):
        made = read("{tokenFile: run/token}", self.Needed).value
        assert made.token.path == BASE / "run/token"

    def test_null_is_nothing(self):
        assert read("{token: , tokenFile: a}", self.Needed).value.token.path == BASE / "a"
        assert read("{token: a, tokenFile: }", self.Needed).value.token.reveal() == "a"
        assert value("{token: }", "token") is None

    def test_both(self):
        assert wrong("{token: S3CR3T-marker, tokenFile: S3CR3T-marker}", self.Needed) == [
            "store.tokenFile: 'token' and 'tokenFile' are both given; keep one of them"
        ]

    def test_none(self):
        assert wrong("{}", self.Needed) == [
            "store.token: this key is missing; give it, or name a file with 'tokenFile'"
        ]

    def test_no_twin(self):
        (problem,) = wrong("{token: a, keyFile: b}", self.Needed)
        assert problem.startswith("store.keyFile: this key isn't known")

    def test_a_number_is_no_secret(self):
        assert wrong("{token: 0123}", self.Needed) == [
            "store.token: must be text: write it in quotes"
        ]


class TestChecksOfTheClass:
    def test_invalid_settings_are_shown(self):
        @settings
        class Pair:
            a: str | None = None
            token: Secret | None = secret(default=None)

            def __attrs_post_init__(self):
                raise InvalidSettings({"a": "goes with b", "token": "t", "": "neither", "c.d": "x"})

        made = read("\n  a: x\n  tokenFile: z\n", Pair)
        assert [str(problem) for problem in made.problems] == [
            "store (line 1): neither",
            "store.c.d (line 1): x",
            "store.a (line 2): goes with b",
            "store.token (line 3): t",
        ]

    def test_other_exceptions_are_not(self):
        @attrs.define
        class Foreign:
            name: str = attrs.field(validator=attrs.validators.matches_re("[0-9]+"))
            other: str = attrs.field(default="x")

        assert wrong(f"{{name: {MARKER}}}", Foreign) == [
            "store.name: isn't a value that the provider takes"
        ]

    @pytest.mark.parametrize("kind", [RuntimeError, KeyError, ValueError])
    def test_whatever_they_are(self, kind):
        @attrs.define
        class Foreign:
            name: str

            def __attrs_post_init__(self):
                raise kind(self.name)

        assert wrong(f"{{name: {MARKER}}}", Foreign) == [
            "store: isn't a value that the provider takes"
        ]

    def test_a_validator_that_needs_the_instance(self):
        @attrs.define
        class Foreign:
            name: str = attrs.field()

            @name.validator
            def _check(self, attribute, text):
                raise ValueError(self.name)

        assert wrong(f"{{name: {MARKER}}}", Foreign) == [
            "store: isn't a value that the provider takes"
        ]


class TestAuthorsMistakes:
    @pytest.mark.parametrize(
        "kind", [Any, bytes, set[str], tuple[str, str], dict[int, str], object, Name]
    )
    def test_types_that_settings_cannot_have(self, kind):
        cls = attrs.make_class("Odd", {"odd": attrs.field(type=kind)})
        with pytest.raises(TypeError, match="isn't a type that settings can have") as caught:
            read("{odd: [S3CR3T-marker, b]}" if "tuple" in repr(kind) else "{odd: {a: b}}", cls)
        assert MARKER not in repr(caught.value)
        assert caught.value.__context__ is None


class TestMapping:
    """A Python mapping of the whole file: there, values are what they are."""

    def made(self, **values):
        node = parse_mapping({"store": values}).blocks["store"]
        return structure(interpolate(node, ENVIRON), Sample, base_dir=BASE)

    def test_taken(self):
        made = self.made(
            text="no", flag=True, number=5, ratio=2, more=("a", "b"), labels={"a": "0123"},
            maybe=None, token="${TEXT}",
        )  # fmt: skip
        assert made.problems == ()
        sample = made.value
        assert (sample.text, sample.flag, sample.number, sample.ratio) == ("no", True, 5, 2.0)
        assert (sample.more, sample.labels, sample.maybe) == (("a", "b"), {"a": "0123"}, None)
        assert sample.token.reveal() == MARKER

    def test_whole_variables(self):
        assert self.made(flag="${YES}", number="${PORT}").value.number == 8200

    @pytest.mark.parametrize(
        "values",
        [
            {"text": 5}, {"text": True}, {"text": None}, {"text": b"x"}, {"flag": 1},
            {"flag": "true"},
            {"number": True}, {"number": 5.0}, {"number": "5"}, {"ratio": float("nan")},
            {"ratio": float("inf")}, {"ratio": 10**400}, {"ratio": False}, {"words": {"a"}},
            {"token": Secret(MARKER)}, {"labels": {5: "a"}}, {"text": "\ud800"}, {"mode": 5},
        ],
    )  # fmt: skip
    def test_refused(self, values):
        made = self.made(**values)
        assert made.value is None
        assert len(made.problems) == 1
        (key,) = values
        assert re.match(rf"store\.{key}: ", str(made.problems[0]))

    def test_bottomless(self):
        labels: dict[str, Any] = {}
        labels["a"] = labels
        assert "nested deeper" in str(self.made(labels=labels).problems)
