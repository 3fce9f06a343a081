"""`keyhinge dev`: a new package, and the conformance kit against a section."""

from __future__ import annotations

import json

import pytest
import yaml


class TestNewProvider:
    def test_the_files_and_what_to_do_next(self, run, tmp_path):
        done = run("dev", "new-provider", "acme-kms")
        assert done.code == 0, done.err
        folder = tmp_path / "work" / "keyhinge-acme-kms"
        listed = {folder.parent / line for line in done.text.splitlines()}
        assert listed == {file for file in folder.rglob("*") if file.is_file()}
        assert {str(file.relative_to(folder)) for file in listed} == {
            ".github/workflows/test.yml",
            ".gitignore",
            "README.md",
            "noxfile.py",
            "pyproject.toml",
            "src/keyhinge_acme_kms/__init__.py",
            "src/keyhinge_acme_kms/py.typed",
            "tests/test_conformance.py",
        }
        assert "pip install --editable ." in done.err

    def test_nothing_is_left_to_fill_in(self, run, tmp_path):
        run("dev", "new-provider", "acme")
        for file in (tmp_path / "work" / "keyhinge-acme").rglob("*.*"):
            if file.is_file():
                text = file.read_text(encoding="utf-8")
                assert "TODO" not in text
                assert "$" not in text.replace("${ACME_KEY}", "")

    def test_it_can_go_elsewhere(self, run, tmp_path):
        done = run("dev", "new-provider", "acme", "--directory", tmp_path, "--json")
        assert done.code == 0
        (event,) = done.events
        assert event["folder"] == str(tmp_path / "keyhinge-acme")
        assert event["files"][0] == str(tmp_path / "keyhinge-acme" / "pyproject.toml")
        assert (tmp_path / "keyhinge-acme" / "README.md").is_file()

    def test_an_existing_folder_is_left_alone(self, run, tmp_path):
        folder = tmp_path / "work" / "keyhinge-acme"
        folder.mkdir()
        done = run("dev", "new-provider", "acme")
        assert done.code == 2
        assert "nothing is overwritten" in done.err
        assert list(folder.iterdir()) == []

    def test_a_folder_that_is_missing(self, run, tmp_path):
        done = run("dev", "new-provider", "acme", "--directory", tmp_path / "none")
        assert done.code == 2
        assert "make it first" in done.err

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("Acme", "lower-case letters"),
            ("1acme", "begins with a letter"),
            ("acme_kms", "hyphens"),
            ("acme-", "doesn't end with a hyphen"),
            ("acme--kms", "single hyphens"),
            ("a" * 33, "at most 32"),
            ("../acme", "lower-case letters"),
            ("", "lower-case letters"),
            ("ac\nme", "lower-case letters"),
            ("keyhinge-acme", "Say 'acme'"),
            ("options", "the configuration's own"),
            ("store", "the configuration's own"),
            ("vault", "Keyhinge's own packages"),
            ("envelope", "Keyhinge's own packages"),
            ("cli", "Keyhinge's own packages"),
        ],
    )
    def test_a_name_that_cannot_be(self, run, tmp_path, name, says):
        done = run("dev", "new-provider", name)
        assert done.code == 2
        assert says in done.err
        assert list((tmp_path / "work").iterdir()) == []

    def test_a_name_that_is_taken_on_this_machine(self, program, install):
        env = {"PYTHONPATH": str(install("acme", ""))}
        done = program("dev", "new-provider", "acme", "--json", env=env)
        assert done.code == 0
        warnings = [each for each in done.errors if each["event"] == "warning"]
        assert ["their-package 1.0" in each["message"] for each in warnings] == [True]

    def test_its_workflow_runs_the_tests(self, run, tmp_path):
        run("dev", "new-provider", "acme")
        file = tmp_path / "work/keyhinge-acme/.github/workflows/test.yml"
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        assert workflow["jobs"]["test"]["steps"][-1]["run"] == "python -m nox"

    def test_the_same_versions_of_core_as_our_own_providers(self, run, tmp_path):
        run("dev", "new-provider", "acme")
        text = (tmp_path / "work/keyhinge-acme/pyproject.toml").read_text(encoding="utf-8")
        assert '"keyhinge>=0.1,<1"' in text
        assert json.dumps(["Topic :: Security :: Cryptography", "Typing :: Typed"]) in text


# Encrypts, but leaves the context out, and says that it doesn't.
CARELESS = """
import os
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.exceptions import InvalidTag
from keyhinge import Capabilities, InvalidCiphertextError, Provider, Sealed, hookimpl, settings

KEY = AESGCM(bytes(32))

@settings
class CarelessSettings:
    pass

class CarelessProvider(Provider):
    capabilities = Capabilities(encrypts=True, binds_context=True)

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        nonce = os.urandom(12)
        return Sealed(nonce + KEY.encrypt(nonce, plaintext, b""))

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        opened = None
        try:
            opened = KEY.decrypt(value.ciphertext[:12], value.ciphertext[12:], b"")
        except (InvalidTag, ValueError):
            pass
        if opened is None:
            raise InvalidCiphertextError
        return opened

keyhinge_api = 1
keyhinge_settings = CarelessSettings

@hookimpl
def keyhinge_configure(settings, section):
    return CarelessProvider()
"""


# Its service is down, or says no.
AWAY = """
import keyhinge as kh

@kh.settings
class AwaySettings:
    fails: str

class AwayProvider(kh.Provider):
    capabilities = kh.Capabilities(encrypts=True, binds_context=True)

    def __init__(self, fails):
        self.fails = fails

    @kh.hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        raise getattr(kh, self.fails)("no answer")

    @kh.hookimpl
    def keyhinge_decrypt(self, value, context):
        raise getattr(kh, self.fails)("no answer")

keyhinge_api = 1
keyhinge_settings = AwaySettings

@kh.hookimpl
def keyhinge_configure(settings, section):
    return AwayProvider(settings.fails)
"""


class TestConformance:
    @pytest.mark.parametrize(
        ("error", "code", "says"),
        [
            ("UnavailableError", 75, "the service can't be reached: away: no answer"),
            ("ThrottledError", 75, "the service can't be reached: away: no answer"),
            ("AccessDeniedError", 1, "the service doesn't let it encrypt: away: no answer"),
        ],
    )
    def test_a_service_that_is_down(self, program, project, install, error, code, says):
        env = {"PYTHONPATH": str(install("away", AWAY))}
        project.sections("away", f"  away: {{fails: {error}}}\n")
        done = program("dev", "conformance", "away", "--yes", env=env)
        assert done.code == code
        assert says in done.err
        assert "No case was run" in done.err
        assert done.text == ""

    def test_a_right_provider_with_another_key(self, program, project):
        other = project.folder / "other.key"
        assert program("local", "init", "--key-file", other).code == 0
        text = "  local: {keyFile: keyhinge.key}\n  spare: {type: local, keyFile: other.key}\n"
        project.sections("local", text)
        done = program("dev", "conformance", "local", "--other", "spare", "--yes", "--json")
        assert done.code == 0, done.text
        *cases, summary = done.events
        assert summary["event"] == "summary"
        assert summary["section"] == "local"
        assert summary["failed"] == 0
        assert summary["broken"] == []
        assert summary["passed"] == sum(each["outcome"] == "passed" for each in cases) > 30
        outcomes = {each["case"]: each["outcome"] for each in cases}
        assert outcomes["test_a_strangers_key_opens_nothing"] == "passed"
        assert all(each["link"].endswith(f"keyhinge.testing {each['rule']}") for each in cases)

    def test_a_wrong_provider(self, program, project, install):
        env = {"PYTHONPATH": str(install("careless", CARELESS))}
        project.sections("careless", "  careless: {}\n")
        done = program("dev", "conformance", "careless", "--yes", "--json", env=env)
        assert done.code == 1
        assert done.events[-1]["failed"] >= 1
        assert "R10" in done.events[-1]["broken"]
        done = program("dev", "conformance", "careless", "--yes", env=env)
        assert done.code == 1
        (line,) = [each for each in done.text.splitlines() if "only under its context" in each]
        assert "R10   failed" in line
        assert "\nR10: The whole context is authenticated" in done.text
        assert "\n  Why: Whoever can write to the database" in done.text
        assert "\n  What to do: Pass `canonical(" in done.text

    def test_one_that_does_not_encrypt(self, program, project):
        project.sections("plaintext", "  plaintext: {}\n")
        done = program("dev", "conformance", "plaintext", "--yes")
        assert done.code == 0, done.text
        assert " 0 failed" in done.text

    def test_nobody_is_there_to_be_asked(self, program, project):
        done = program("dev", "conformance", "local")
        assert done.code == 2
        assert "say --yes" in done.err
        assert "may cost money" in done.err

    def test_what_is_wrong_is_told_before_anybody_is_asked(self, program, project):
        done = program("dev", "conformance", "locla")
        assert done.code == 2
        assert "Did you mean 'local'?" in done.err
        project.sections("local", "  local: {keyFlie: keyhinge.key}\n")
        done = program("dev", "conformance", "local")
        assert done.code == 2
        assert "keyFile" in done.err

    def test_without_pytest(self, program, project, tmp_path):
        (tmp_path / "pytest.py").write_text("raise ModuleNotFoundError('', name='pytest')\n")
        env = {"PYTHONPATH": str(tmp_path)}
        done = program("dev", "conformance", "local", "--yes", env=env)
        assert done.code == 2
        assert "pip install pytest" in done.err
        assert program("dev", "new-provider", "acme", env=env).code == 0
