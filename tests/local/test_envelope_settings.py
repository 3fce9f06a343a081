"""Settings of an `envelope` section, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from tests.local._envelope import open_envelope

from keyhinge import ConfigError, KeyManager
from keyhinge_local.envelope import EnvelopeSettings


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ({"over": None}, "over", "has no value"),
        ({"over": 7}, "over", "must be text"),
        ({"maxMessages": 0}, "maxMessages", "at least 1"),
        ({"maxMessages": 2**32 + 1}, "maxMessages", f"at most {2**32}"),
        ({"maxMessages": "many"}, "maxMessages", "must be a whole number"),
        ({"maxMessages": True}, "maxMessages", "must be a whole number"),
        ({"maxKeys": 0}, "maxKeys", "at least 1"),
        ({"maxKeys": 1_000_001}, "maxKeys", "at most 1000000"),
        ({"maxAge": "0s"}, "maxAge", "whole number with its unit"),
        ({"maxAge": "1.5h"}, "maxAge", "whole number with its unit"),
        ({"maxAge": "-1h"}, "maxAge", "whole number with its unit"),
        ({"maxAge": "soon"}, "maxAge", "whole number with its unit"),
        ({"maxAge": ""}, "maxAge", "whole number with its unit"),
        ({"partitionBy": ["a", "a"]}, "partitionBy", "names a key twice"),
        ({"partitionBy": ["a", "A"]}, "partitionBy", "names a key twice"),
        ({"partitionBy": [f"k{n}" for n in range(16)]}, "partitionBy", "more than 15 keys"),
        ({"partitionBy": ["keyhinge"]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": ["KeyHinge2"]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": [""]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": ["a b"]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": ["a\n"]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": ["1"]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": ["k" * 65]}, "partitionBy", "can't be a key of a context"),
        ({"partitionBy": "account"}, "partitionBy", "list"),
        ({"alsoUnwrap": "aws"}, "alsoUnwrap", "list"),
        ({"partionBy": ["a"]}, "partionBy", "id you mean 'partitionBy'"),
        ({"keyFile": "a.key"}, "keyFile", "isn't known. The keys are: over, alsoUnwrap, "),
    ],
    ids=str,
)
def test_wrong(kms, settings, path, message):
    """Each is refused with the place of the mistake, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        open_envelope({"kms": kms}, **settings)
    [problem] = caught.value.problems
    assert problem.path == f"keyManagement.envelope.{path}"
    assert message in problem.message


def test_without_over():
    config = {"keyManagement": {"provider": "envelope", "envelope": {}}}
    with pytest.raises(ConfigError, match=r"keyManagement\.envelope.*over"):
        KeyManager.open(config, environ={})


def test_all_mistakes_at_once(kms):
    """One run is enough to mend them all."""
    with pytest.raises(ConfigError) as caught:
        open_envelope({"kms": kms}, maxAge="x", partitionBy=["a", "a"])
    paths = {problem.path.rpartition(".")[2] for problem in caught.value.problems}
    assert paths == {"maxAge", "partitionBy"}


def test_defaults():
    """An hour, and a million values: what the reference promises."""
    settings = EnvelopeSettings(over="kms")
    assert settings.max_messages == 2**20
    assert settings.max_age_seconds == 3600
    assert settings.max_keys == 5000
    assert settings.partition_by == []
    assert settings.also_unwrap == []


@pytest.mark.parametrize(
    "settings",
    [
        {"maxMessages": 1},
        {"maxMessages": 2**32},
        {"maxAge": "1s"},
        {"maxAge": "365d"},
        {"maxKeys": 1},
        {"partitionBy": []},
        {"partitionBy": [f"k{n}" for n in range(15)]},
    ],
    ids=str,
)
def test_right(kms, settings):
    """The ends of each range."""
    with open_envelope({"kms": kms}, **settings) as keys:
        context = {f"k{n}": "1" for n in range(15)}
        assert keys.decrypt(keys.encrypt(b"x", context=context), context=context) == b"x"
