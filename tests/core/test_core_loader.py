"""What is said when a configuration is opened: all errors at once, and warnings."""

import logging

import pytest

import keyhinge
from keyhinge import Capabilities, ConfigError, KeyManager, Provider, Sealed, hookimpl


@keyhinge.settings
class Settings:
    key_id: str = keyhinge.setting(alias="keyID")


class Echo(Provider):
    capabilities = Capabilities(encrypts=True, binds_context=True)

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        return Sealed(b"x" + plaintext)

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        return value.ciphertext[1:]


class Module:
    keyhinge_api = 1
    keyhinge_settings = Settings

    @hookimpl
    def keyhinge_configure(self, settings, section):
        return Echo()


def open_file(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return KeyManager.open(path, providers={"echo": Module()}, environ={})


def test_problems_of_the_file_and_of_the_primary_come_together(tmp_path):
    text = (
        "keyManagement:\n"
        "  provider: echo\n"
        "  optoins: {requireEncryption: true}\n"
        "  echo: {keyID: a, bogus: b}\n"
    )
    with pytest.raises(ConfigError) as raised:
        open_file(tmp_path, text)
    found = [(problem.path, problem.line) for problem in raised.value.problems]
    assert found == [("keyManagement.optoins", 3), ("keyManagement.echo.bogus", 4)]


def test_a_provider_that_is_not_installed_hides_no_problem_of_the_file(tmp_path):
    text = "keyManagement:\n  provider: gone\n  optoins: {a: b}\n  gone: {}\n"
    with pytest.raises(ConfigError) as raised:
        open_file(tmp_path, text)
    assert [problem.path for problem in raised.value.problems] == ["keyManagement.optoins"]


def test_a_key_that_differs_only_in_case_is_taken_and_logged(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="keyhinge"):
        open_file(tmp_path, "keyManagement:\n  provider: echo\n  echo:\n    keyId: a\n").close()
    (record,) = caplog.records
    assert record.event == "keyhinge.config_warning"
    assert "keyManagement.echo.keyId (line 4)" in record.getMessage()
