"""Durations, and the option that takes one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyhinge import ConfigError, KeyManager
from keyhinge.config import duration_text, load_configuration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("365d", timedelta(days=365)),
        ("52w", timedelta(weeks=52)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("1s", timedelta(seconds=1)),
        ("365000d", timedelta(days=365_000)),
    ],
)
def test_what_they_mean(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert parse_duration(duration_text(duration)) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "365",
        "d",
        "0d",
        "-1d",
        "1.5d",
        "1y",
        "365 d",
        "365D",
        "1d12h",
        "365001d",
        "٣d",
        "9" * 50,
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="as in 365d") as caught:
        parse_duration(text)
    assert not text or text not in str(caught.value).replace("365d", "").replace(" d ", "")


def test_the_option() -> None:
    options = {"maxKeyAge": "365d", "requireEncryption": True}
    loaded = load_configuration({"keyManagement": {"provider": "a", "a": {}, "options": options}})
    assert loaded.options.key_age == timedelta(days=365)
    assert loaded.options.require_encryption
    shown = {view.key: view.value for view in loaded.describe_options()}
    assert shown["options.maxKeyAge"] == "365d"


def test_without_it_there_is_no_limit() -> None:
    assert load_configuration({"keyManagement": {}}).options.key_age is None


@pytest.mark.parametrize(
    ("management", "path", "message"),
    [
        ({"options": {"maxKeyAge": "1y"}}, "keyManagement.options.maxKeyAge", "as in 365d"),
        ({"options": {"maxKeyAge": 365}}, "keyManagement.options.maxKeyAge", "text"),
        ({"maxKeyAge": "365d"}, "keyManagement.maxKeyAge", "keyManagement.options.maxKeyAge"),
    ],
)
def test_slips(management: dict[str, object], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyManager.open({"keyManagement": {"provider": "plaintext", **management}}, environ={})
    [problem] = caught.value.problems
    assert problem.path == path
    assert message in problem.message
