"""The conformance kit against a section that an operator has configured."""

from __future__ import annotations

import pytest
from tests.core.wrong_providers._right import Module, Right
from tests.core.wrong_providers.secrets import ShowsTheTokenInErrors
from tests.core.wrong_providers.values import IgnoresTheContext

from keyhinge import (
    AccessDeniedError,
    ConfigError,
    ProviderNotFoundError,
    UnavailableError,
    hookimpl,
)
from keyhinge.config import read_configuration
from keyhinge.testing import conformance_of

TOKEN = "t0ken-of-an-operator"
STRANGER = "it needs a second section with a key of its own, and none was named"


class Composing(Module):
    """Builds on another section, to see that it can."""

    @hookimpl
    def keyhinge_configure(self, settings, section):
        below = section.over("right")

        class Over(Right):
            def key(self):
                return super().key() + below.current_key().key_id.encode()

        return Over(settings, section)


class Away(Right):
    """Its service answers to nobody, or refuses; and the error tells the token."""

    def seal(self, plaintext, context):
        kind = {"k-away": UnavailableError, "k-denied": AccessDeniedError}.get(self.key_id)
        if kind is not None:
            raise kind(f"no answer to {self.token.reveal()}")
        return super().seal(plaintext, context)


class Mislabels(Right):
    """Encrypts under one name of the key, and decrypts under another one."""

    def seal(self, plaintext, context):
        return super().seal(plaintext, context)._replace(key_id="misnamed")


class Broken(Module):
    """Can't be configured."""

    @hookimpl
    def keyhinge_configure(self, settings, section):
        return None


PROVIDERS = {
    "right": Module(Right),
    "ignores": Module(IgnoresTheContext),
    "shows": Module(ShowsTheTokenInErrors),
    "composing": Composing(Right),
    "broken": Broken(Right),
    "away": Module(Away),
    "mislabels": Module(Mislabels),
}
CONFIG = {
    "keyManagement": {
        "provider": "right",
        "options": {"requireEncryption": True},
        "right": {"token": "${TOKEN}", "keyID": "k1"},
        "other": {"type": "right", "token": "another-t0ken", "keyID": "k2"},
        "same": {"type": "right", "token": "${TOKEN}", "keyID": "k1"},
        "ignores": {"token": "${TOKEN}", "aliases": ["old"]},
        "shows": {"token": "${TOKEN}"},
        "composing": {"token": "${TOKEN}"},
        "broken": {"token": "${TOKEN}"},
        "away": {"token": "${TOKEN}", "keyID": "k-away"},
        "denied": {"type": "away", "token": "${TOKEN}", "keyID": "k-denied"},
        "here": {"type": "away", "token": "${TOKEN}"},
        "mislabels": {"token": "${TOKEN}"},
        "gone": {},
    }
}


def run(section, *, config=CONFIG, **options):
    """Give the results by outcome: the cases, with their rules and messages."""
    options.setdefault("environ", {"TOKEN": TOKEN})
    found: dict[str, dict[str, tuple[str, str]]] = {"passed": {}, "failed": {}, "skipped": {}}
    for result in conformance_of(config, section, providers=PROVIDERS, **options):
        assert TOKEN not in repr(result)
        found[result.outcome][result.case] = (result.rule, result.message)
    return found


def test_a_right_one_without_another_key():
    found = run("right")
    assert found["failed"] == {}
    reasons = [message for _, message in found["skipped"].values()]
    assert reasons.count(STRANGER) == 2
    assert len(found["passed"]) > 30


def test_with_another_key():
    found = run("right", other="other")
    assert found["failed"] == {}
    # What only a test's class can say.
    assert set(found["skipped"]) == {
        "test_client_library_is_not_imported_early",
        "test_wrong_settings_are_refused",
    }


def test_another_section_with_the_same_key_is_no_stranger():
    assert [rule for rule, _ in run("right", other="same")["failed"].values()] == ["R13", "R14"]


def test_a_wrong_one():
    failed = run("ignores")["failed"]
    assert {rule for rule, _ in failed.values()} == {"R10", "R11", "R20"}
    _, message = failed["test_value_opens_only_under_its_context"]
    assert message.startswith("a value made under")


def test_no_message_shows_a_secret():
    """`run` looks for it in every result."""
    failed = run("shows")["failed"]
    assert failed["test_errors_show_no_secret"][0] == "R22"
    assert failed["test_batches_keep_order"][1].endswith("no answer for (redacted)")


def test_a_section_that_builds_on_another_one():
    assert run("composing")["failed"] == {}


def test_a_configuration_that_was_read_already():
    assert run("right", config=read_configuration(CONFIG, {"TOKEN": TOKEN}))["failed"] == {}


def test_a_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("keyManagement:\n  provider: right\n  right: {tokenFile: token}\n")
    (tmp_path / "token").write_text(TOKEN)
    # Its token may change at any time, so the file is opened in the nowait hooks, too.
    assert set(run("right", config=path)["failed"]) <= {"test_nowait_hooks_do_no_io"}


@pytest.mark.parametrize(
    ("section", "other", "message"),
    [
        ("rihgt", None, "there is no section 'rihgt'.* Did you mean 'right'"),
        ("right", "otehr", "there is no section 'otehr'"),
        ("right", "ignores", "is of another provider"),
    ],
)
def test_names(section, other, message):
    with pytest.raises(ConfigError, match=message):
        run(section, other=other)


def test_a_provider_that_is_not_installed():
    with pytest.raises(ProviderNotFoundError):
        run("gone")


def test_a_provider_that_cannot_be_configured():
    found = run("broken")
    assert not found["passed"].keys() - {"test_module_implements_the_hook_api"}
    assert {rule for rule, _ in found["failed"].values()} == {"R1"}
    assert "returned NoneType, not a Provider" in next(iter(found["failed"].values()))[1]


@pytest.mark.parametrize(
    ("section", "other", "kind", "retryable", "message"),
    [
        ("away", None, UnavailableError, True, "away: no answer to (redacted)"),
        ("denied", None, AccessDeniedError, False, "denied: no answer to (redacted)"),
        ("here", "away", UnavailableError, True, "away: no answer to (redacted)"),
    ],
)
def test_no_provider_is_blamed_for_its_service(section, other, kind, retryable, message):
    with pytest.raises(kind) as caught:
        run(section, other=other)
    assert str(caught.value) == message
    assert caught.value.retryable is retryable


def test_a_provider_that_refuses_its_own_values_is_to_blame():
    assert "test_round_trip" in run("mislabels")["failed"]


def test_a_wrong_file():
    with pytest.raises(ConfigError):
        run("right", config={"keyManagement": {"right": {}}})
