"""`keyhinge config`: every problem, the schema, and what is in force."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml


class TestCheck:
    def test_nothing_wrong(self, run, project):
        done = run("config", "check")
        assert done.code == 0
        assert "nothing is wrong" in done.err

    def test_every_problem_also_in_unused_sections(self, run, project):
        project.sections(
            "local",
            "  local: {keyFile: keyhinge.key, allowGroupRead: perhaps}\n"
            "  spare: {type: local, keyfil: x}\n"
            "  gone: {type: unheard-of}\n",
            store="store: {url: 'sqlite:///x.db', tabel: y}\n",
        )
        done = run("config", "check", "--json")
        assert done.code == 2
        problems = {event["path"]: event for event in done.events if event["event"] == "problem"}
        assert problems["keyManagement.local.allowGroupRead"]["line"] == 3
        assert "Did you mean 'keyFile'?" in problems["keyManagement.spare.keyfil"]["message"]
        assert "pip install" in problems["keyManagement.gone"]["message"]
        assert "Did you mean 'table'?" in problems["store.tabel"]["message"]
        assert done.events[-1]["event"] == "summary"
        assert done.events[-1]["errors"] == sum(p["severity"] == "error" for p in problems.values())
        assert run("config", "check").text.count("error") >= 4

    def test_what_only_shows_when_it_is_opened(self, run, project):
        project.sections("plaintext", "  plaintext:\n  options: {requireEncryption: true}\n")
        done = run("config", "check")
        assert done.code == 2
        assert "doesn't encrypt" in done.text

    def test_plaintext_as_primary_is_a_warning(self, run, project):
        project.sections("plaintext", "  plaintext:\n")
        done = run("config", "check", "--json")
        assert done.code == 0
        assert done.events[-1]["warnings"] == 1

    @pytest.mark.parametrize(
        "text", ["", "a: [", "keyManagement: {provider: x, provider: y}", "- 1"]
    )
    def test_hostile_files(self, text, run, project):
        project.config.write_text(text)
        done = run("config", "check")
        assert done.code == 2
        assert "Traceback" not in done.err

    def test_the_line_of_a_wrong_file_is_not_shown(self, run, project):
        project.config.write_text("keyManagement:\n  local: {key: 'hunter2\n")
        done = run("config", "check")
        assert done.code == 2
        assert "hunter2" not in done.text + done.err


class TestSchema:
    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_fits_what_init_writes(self, options, run, project):
        done = run("config", "schema", *options)
        assert done.code == 0
        schema = json.loads(done.out)
        jsonschema.Draft202012Validator.check_schema(schema)
        config = yaml.safe_load(project.config.read_text(encoding="utf-8"))
        jsonschema.validate(config, schema)
        config["keyManagement"]["local"]["keyfile"] = "x"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema)
        assert schema["properties"]["store"]["properties"]["url"]


class TestShow:
    def test_values_without_secrets(self, run, project, monkeypatch):
        monkeypatch.setenv("WHERE", "sqlite:///hunter2.db")
        project.sections(
            "local",
            "  local: {keyFile: keyhinge.key}\n  spare: {type: local, key: hunter2}\n",
            store="store: {url: '${WHERE}'}\n",
        )
        done = run("config", "show", "--origin", "--json")
        assert done.code == 0
        assert "hunter2" not in done.text + done.err
        settings = {event["path"]: event for event in done.events}
        assert settings["keyManagement.provider"]["value"] == "local"
        assert settings["keyManagement.local.keyFile"]["origin"] == "config.yaml:3"
        assert settings["keyManagement.local.allowGroupRead"]["origin"] == "default"
        assert settings["keyManagement.spare.key"]["value"] == "(redacted)"
        assert settings["store.url"] == {
            "event": "setting",
            "path": "store.url",
            "value": "(redacted)",
            "origin": "$WHERE",
        }

    def test_origin_is_only_shown_when_asked_for(self, run, project):
        assert "config.yaml:" not in run("config", "show").text
        assert "config.yaml:" in run("config", "show", "--origin").text

    def test_a_wrong_file_is_shown_as_far_as_it_goes(self, run, project):
        project.sections("lokal", "  local: {keyFile: keyhinge.key}\n  x: {type: unheard-of}\n")
        done = run("config", "show")
        assert "keyManagement.local.keyFile" in done.text
        assert "config check" in done.err
        assert "unheard-of" in done.err
