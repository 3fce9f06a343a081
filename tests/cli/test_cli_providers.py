"""`keyhinge providers`, with packages that are broken, hostile or in conflict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BROKEN = {
    "import": "import a_module_that_is_missing\n",
    "error": "raise RuntimeError('hunter2')\n",
    "syntax": "def (\n",
    "exit": "import sys\nsys.exit(0)\n",
    "hard exit": "import os\nos._exit(0)\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "no api": "keyhinge_settings = object\n",
    "newer api": "keyhinge_api = 99\n",
}


@pytest.fixture
def beside_local(install: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a package for this process and those that load it.

    Of ours only `local` stays listed, since `--load` starts a process for each.
    """
    from keyhinge import _discovery

    def few(name: str, source: str) -> Path:
        site: Path = install(name, source)
        monkeypatch.setenv("PYTHONPATH", str(site))
        monkeypatch.syspath_prepend(site)
        found = [each for each in _discovery.installed_providers() if each.name in {"local", name}]
        monkeypatch.setattr(_discovery, "installed_providers", lambda: found)
        return site

    return few


def test_listed_from_metadata_alone(run):
    done = run("providers", "--json")
    assert done.code == 0
    names = {event["name"]: event for event in done.events}
    assert names["local"]["distribution"] == "keyhinge-local"
    assert names["local"]["target"] == "keyhinge_local"
    assert names["local"]["status"] == "installed"
    assert "keyhinge-plaintext" in run("providers").text


def test_listing_imports_none(program, install, tmp_path):
    site = install("loud", f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    done = program("providers", env={"PYTHONPATH": str(site)})
    assert done.code == 0
    assert "their-package" in done.text
    assert not (tmp_path / "imported").exists()


def test_load_tries_each(program, service):
    done = program("providers", "--load", "--json", env=service)
    assert done.code == 0
    assert {event["name"]: event["status"] for event in done.events} == {
        "aws": "ok",
        "envelope": "ok",
        "local": "ok",
        "openbao": "ok",
        "plaintext": "ok",
        "service": "ok",
        "vault": "ok",
    }


def test_a_broken_package_changes_nothing(program, project, install):
    """The worst of them: whoever imports it is killed."""
    env = {"PYTHONPATH": str(install("broken", BROKEN["killed"]))}
    value = program("encrypt", stdin=b"token", env=env)
    assert value.code == 0
    assert value.err == ""
    assert program("decrypt", stdin=value.out, env=env).out == b"token"
    assert program("check", env=env).code == 0
    assert program("config", "check", env=env).code == 0


@pytest.mark.parametrize("kind", BROKEN)
def test_load_names_a_broken_package(kind, run, beside_local):
    beside_local("broken", BROKEN[kind])
    done = run("providers", "--load", "--json")
    assert done.code == 1
    states = {event["name"]: event for event in done.events}
    assert states["broken"]["status"] == "broken"
    assert "their-package 1.0" in states["broken"]["reason"]
    assert states["local"]["status"] == "ok"
    assert "hunter2" not in done.text + done.err
    assert "traceback" not in states["broken"]


def test_the_traceback_when_asked_for(run, beside_local):
    beside_local("broken", BROKEN["error"])
    done = run("providers", "--load", "--verbose")
    assert done.code == 1
    assert "RuntimeError: hunter2" in done.err


GOOD = """
from keyhinge import Capabilities, Provider, hookimpl, settings

@settings
class GoodSettings:
    pass

class GoodProvider(Provider):
    capabilities = Capabilities(encrypts=True, binds_context=False, max_plaintext=4096)

keyhinge_api = 1
keyhinge_settings = GoodSettings

@hookimpl
def keyhinge_configure(settings, section) -> GoodProvider:
    raise AssertionError
"""


def test_what_belongs_into_a_bug_report(run, beside_local):
    site = beside_local("good", GOOD)
    metadata = site / "their_package-1.0.dist-info" / "METADATA"
    needs = "Requires-Dist: attrs>=1\nRequires-Dist: missing-package (>=2)\n"
    needs += "Requires-Dist: not-wanted; extra == 'more'\n"
    metadata.write_text(metadata.read_text() + needs)
    events = run("providers", "--load", "--verbose", "--json").events
    assert events[0]["event"] == "environment"
    assert events[0]["api"] == 1
    assert {"keyhinge", "python", "platform", "needs"} <= events[0].keys()
    (good,) = [each for each in events if each.get("name") == "good"]
    assert good["distribution"] == "their-package"
    assert good["version"] == "1.0"
    assert good["target"] == "their_package_module"
    assert good["location"] == str(site / "their_package_module.py")
    assert good["folder"] == str(site)
    assert good["api"] == 1
    assert good["settings"] == "their_package_module.GoodSettings"
    assert good["capabilities"]["binds_context"] is False
    assert good["capabilities"]["max_plaintext"] == 4096
    assert good["needs"].keys() == {"attrs", "missing-package"}
    assert good["needs"]["missing-package"] is None
    shown = run("providers", "--load", "--verbose").text
    for each in ("good  their-package 1.0", str(site), "hook API       1", "GoodSettings"):
        assert each in shown
    assert "encrypts yes, binds_context no" in shown
    assert "missing-package none" in shown


def test_a_bug_report_without_an_import(program, install):
    env = {"PYTHONPATH": str(install("broken", BROKEN["killed"]))}
    done = program("providers", "--verbose", "--json", env=env)
    assert done.code == 0
    (broken,) = [each for each in done.events if each.get("name") == "broken"]
    assert broken["folder"] == env["PYTHONPATH"]
    assert "api" not in broken


def test_a_broken_one_tells_what_it_can(run, beside_local):
    beside_local("broken", BROKEN["newer api"])
    done = run("providers", "--load", "--verbose", "--json")
    assert done.code == 1
    (broken,) = [each for each in done.events if each.get("name") == "broken"]
    assert broken["api"] == 99
    assert broken["location"].endswith("their_package_module.py")
    assert broken["settings"] is None
    assert "upgrade keyhinge" in broken["reason"]


@pytest.mark.parametrize("load", [[], ["--load"]], ids=["listed", "loaded"])
def test_one_line_each_unless_more_is_asked_for(run, beside_local, load):
    beside_local("good", GOOD)
    done = run("providers", *load, "--json")
    assert {frozenset(each) for each in done.events} == {
        frozenset({"event", "name", "distribution", "version", "target", "status", "reason"})
    }


def test_one_that_never_ends_is_given_up(run, beside_local, monkeypatch):
    monkeypatch.setattr("keyhinge_cli._loading.SECONDS", 2)
    beside_local("endless", "import time\ntime.sleep(60)\n")
    done = run("providers", "--load")
    assert done.code == 1
    assert "wasn't loaded within 2 s" in done.err


def test_load_shows_a_package_no_secrets_of_the_environment(
    run, beside_local, tmp_path, monkeypatch
):
    seen = tmp_path / "seen"
    beside_local("nosy", f"import os\nopen({str(seen)!r}, 'w').write(repr(dict(os.environ)))\n")
    for name in ("VAULT_TOKEN", "KEYHINGE_DATABASE"):
        monkeypatch.setenv(name, "hunter2")
    assert run("providers", "--load").code == 1
    assert seen.exists()
    assert "hunter2" not in seen.read_text()


def test_load_does_not_import_from_the_current_folder(program, project):
    (project.folder / "keyhinge_local.py").write_text("raise SystemExit(7)\n")
    done = program("providers", "--load")
    assert done.code == 0, done.err


def test_a_second_package_with_the_same_name_is_an_error_that_names_both(program, project, install):
    env = {"PYTHONPATH": str(install("local", "raise RuntimeError\n"))}
    for arguments in (["providers"], ["providers", "--load"]):
        done = program(*arguments, env=env)
        assert done.code == 1
        assert "conflict" in done.text
        assert "keyhinge-local 0.1.0 and their-package 1.0" in done.err
        assert done.err.count("Uninstall") == 1
    done = program("encrypt", stdin=b"token", env=env)
    assert done.code == 2
    assert "keyhinge-local" in done.err
    assert "their-package" in done.err
    assert done.out == b""
    done = program("config", "check", env=env)
    assert done.code == 2
    assert "their-package" in done.text


def test_a_provider_that_is_not_installed(run, project):
    project.sections("vualt", "  vualt: {keyID: x}\n")
    done = run("check")
    assert done.code == 2
    assert "pip install" in done.err


def test_what_the_library_logs_is_json_too(program, tmp_path):
    metadata = tmp_path / "site" / "odd-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_bytes(b"\xff\xfe")
    done = program("providers", "--json", env={"PYTHONPATH": str(metadata.parent)})
    assert done.code == 0
    assert [error["event"] for error in done.errors] == ["warning"]
    assert "metadata can't be read" in done.errors[0]["message"]


def test_those_of_ours_that_are_not_installed(run, monkeypatch):
    from keyhinge import _discovery

    installed = _discovery.installed_providers()
    few = [each for each in installed if each.name in {"local", "plaintext"}]
    monkeypatch.setattr(_discovery, "installed_providers", lambda: few)
    assert (
        run("providers").err.strip()
        == 'not installed: aws, openbao, vault; to install: pip install "keyhinge[aws,vault]"'
    )
    monkeypatch.setattr(_discovery, "installed_providers", list)
    assert 'pip install "keyhinge[aws,local,vault,plaintext]"' in run("providers").err
