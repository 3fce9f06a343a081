"""Whatever stands in a file: a configuration or a `ConfigError`, and never a value in a message."""

import contextlib
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from keyhinge._errors import ConfigError, Problem
from keyhinge._secret import Secret
from keyhinge._settings import secret, setting, settings
from keyhinge.config._configuration import Configuration, load_configuration
from keyhinge.config._mapping import parse_mapping

MARKER = "S3CR3T-marker"
EASY = hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings
class Inner:
    """A block in a block."""

    role: str


@settings
class Everything:
    """One of each type."""

    key_id: str = setting(alias="keyID", default="")
    token: Secret | None = secret(default=None)
    flag: bool = False
    number: int = setting(default=1, minimum=0, maximum=10)
    ratio: float = 0.5
    mode: Literal["a", "b"] = "a"
    words: tuple[str, ...] = ()
    labels: dict[str, str] = setting(factory=dict)
    inner: Inner | None = None


def exercise(configuration: Configuration) -> Iterator[Problem]:
    """Use a configuration in every way, yielding what is found wrong."""
    yield from configuration.problems
    for name in configuration.sections:
        problems = configuration.check_section(name, Everything)
        yield from problems
        yield from configuration.check_section(name)
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            with pytest.raises(ConfigError):
                configuration.structure_section(name, Everything)
        else:
            configuration.structure_section(name, Everything)
        configuration.describe(name, Everything)
    with contextlib.suppress(ConfigError):
        configuration.structure_block("store", Everything)
    yield from configuration.check_block("store", Everything)


def run(path, data: bytes) -> list[Problem]:
    path.write_bytes(data)
    failure = None
    try:
        configuration = load_configuration(path, {"SET": "x"})
    except ConfigError as error:
        failure = error
    if failure is not None:
        assert failure.__context__ is None
        assert failure.problems
        return list(failure.problems)
    assert configuration.primary in configuration.sections
    # Plaintext only where the file says so, or says nothing at all.
    assert configuration.primary != "plaintext" or (
        configuration.implicit_plaintext or b"plaintext" in data
    )
    assert MARKER not in repr(configuration)
    return list(exercise(configuration))


KEYS = st.sampled_from(
    ["keyManagement", "KeyManagement", "provider", "plaintext", "vault", "store", "options", "type",
     "aliases", "keyID", "token", "tokenFile", "flag", "number", "ratio", "mode", "words", "labels",
     "inner", "role", "requireEncryption", "observers", "<<", "no", "5", "x", "'q'", '"d"', "? a"]
)  # fmt: skip
VALUES = st.sampled_from(
    [MARKER, f"'{MARKER}'", f'"{MARKER}"', f"{MARKER}: ", f"'{MARKER}", f"[{MARKER}, 5]",
     f"${{{MARKER}}}", f"${{{MARKER}", f"x${{SET}}{MARKER}", f"&a {MARKER}", f"!!str {MARKER}",
     f"- {MARKER}", f"|\n      {MARKER}", f"@{MARKER}", f"%{MARKER}", f"`{MARKER}`", f"{MARKER} #",
     f"https://u:{MARKER}@h/", f"*{MARKER}", f"\t{MARKER}", f'"\\{MARKER}"', f"{MARKER}\x01",
     "plaintext", "vault", "true", "no", "0123", "5", "1e3", "", "~", "[]", "{}", "&a b", "*a",
     "'${SET}'", "'${UNSET:-5}'", "!x y", "|", ">", "[", "}", "'", "a: b: c"]
)  # fmt: skip
LINES = st.builds(
    lambda indent, dash, key, value: f"{' ' * indent}{dash}{key}: {value}",
    st.sampled_from([0, 2, 4, 6, 3]),
    st.sampled_from(["", "", "", "- "]),
    KEYS,
    VALUES,
)


@EASY
@given(data=st.binary(max_size=300))
@example(data=b"\xff\xfe\x00k")
@example(data=b"a: \x85\n")
@example(data=b"%TAG ! x\n--- !!a")
@example(data=b"? ? ? ?")
@example(data=b"- - - -\n- : ")
@example(data=b'"\\UFFFFFFFF": "\\xd8"')
@example(data=b"%YAML 99999999999999999999.1\n---\n")
def test_any_bytes(tmp_path, data):
    run(tmp_path / "config.yaml", data)
    run(tmp_path / "config.yaml", b"keyManagement:\n  " + data)


@EASY
@given(text=st.text("kpr:-?[]{}&*!|>'\"%@`#,~ \n\t$0a.", max_size=60))
def test_any_punctuation(tmp_path, text):
    run(tmp_path / "config.yaml", text.encode())
    run(
        tmp_path / "config.yaml",
        f"keyManagement: {{provider: vault, vault: {{a: {text}}}}}".encode(),
    )


@EASY
@given(lines=st.lists(LINES, min_size=1, max_size=12))
def test_nearly_a_configuration(tmp_path, lines):
    """Secrets in every place where a value can stand, in files that are a little wrong."""
    text = "keyManagement:\n  provider: vault\n  vault:\n" + "\n".join(lines)
    for problem in run(tmp_path / "config.yaml", text.encode()):
        assert MARKER not in str(problem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([MARKER, b"x", {5}]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip


@EASY
@given(config=st.dictionaries(KEYS | st.none(), JSON, max_size=3), block=JSON)
def test_any_mapping(config, block):
    parse_mapping(config)
    for mapping in (config, {**config, "keyManagement": {"provider": "vault", "vault": block}}):
        try:
            configuration = load_configuration(mapping, {})
        except ConfigError as error:
            problems = list(error.problems)
        else:
            problems = list(exercise(configuration))
        for problem in problems:
            assert MARKER not in str(problem)
