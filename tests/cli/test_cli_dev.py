"""`keyhinge dev`: a new package, and the conformance kit against a section."""

from __future__ import annotations

import json

import pytest


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

    def test_the_same_versions_of_core_as_our_own_providers(self, run, tmp_path):
        run("dev", "new-provider", "acme")
        text = (tmp_path / "work/keyhinge-acme/pyproject.toml").read_text(encoding="utf-8")
        assert '"keyhinge>=0.1,<1"' in text
        assert json.dumps(["Topic :: Security :: Cryptography", "Typing :: Typed"]) in text
