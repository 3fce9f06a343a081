"""The tutorial's provider is a package: it builds, installs and is found by its entry point."""

from __future__ import annotations

import json

import pytest
from tests.packaging._environment import Environment
from tests.packaging._tutorial import write_tutorial

CONFIG = """
keyManagement:
  provider: acme
  acme: {keyID: tenant-1, token: '${ACME_TOKEN}'}
  local: {keyFile: keyhinge.key}
store: {url: 'sqlite:///secrets.db'}
"""


@pytest.fixture(scope="module")
def made(dist_folder, hatchling, tmp_path_factory):
    """An environment with the package as it is at the tutorial's end, and the package's folder."""
    folder = tmp_path_factory.mktemp("tutorial")
    package = write_tutorial(folder)
    hatchling("wheel", package, folder / "dist")
    wheels = [*dist_folder.glob("*.whl"), *folder.glob("dist/*.whl")]
    environment = Environment(folder / "environment", sorted(wheels))
    # What stands for the service's client library is installed as one would be.
    (package / "src/acme_client.py").rename(environment.site / "acme_client.py")
    return environment, package


def test_its_tests_pass_where_it_is_installed(made):
    """The conformance kit and the tests of its errors."""
    environment, package = made
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=package)
    assert " passed" in done


def test_the_package_is_found_and_loads(made, tmp_path):
    """`keyhinge providers` lists it beside the others, with all that a bug report needs."""
    environment, _ = made
    printed = environment.run(
        "-m", "keyhinge_cli", "providers", "--load", "--verbose", "--json", cwd=tmp_path
    )
    events = map(json.loads, printed.splitlines())
    (mine,) = [each for each in events if each.get("name") == "acme"]
    assert mine["distribution"] == "keyhinge-acme"
    assert mine["status"] == "ok"
    assert mine["settings"] == "keyhinge_acme.Settings"
    assert mine["capabilities"]["max_plaintext"] == 4096
    assert mine["location"].startswith(str(environment.folder))


def test_stored_secrets_move_to_it(made, tmp_path):
    """A section that names it takes the values of another one over, and its kit passes."""
    environment, _ = made

    def keyhinge(*arguments, stdin=""):
        return environment.run(
            "-m", "keyhinge_cli", *arguments, cwd=tmp_path, stdin=stdin, ACME_TOKEN="t-8d21f0"
        )

    keyhinge("init")
    keyhinge("secrets", "put", "--account", "a", "--kind", "k", "--id", "s", stdin="token\n")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    keyhinge("dev", "conformance", "acme", "--yes")
    keyhinge("migrate")
    keyhinge("verify")
    listed = [json.loads(line) for line in keyhinge("secrets", "list", "--json").splitlines()]
    assert [(each["section"], each["key_id"]) for each in listed] == [("acme", "tenant-1")]
    assert keyhinge("secrets", "get", "--account", "a", "--id", "s").strip() == "token"
    schema = json.loads(keyhinge("config", "schema"))
    assert {"keyID", "tokenFile"} <= schema["$defs"]["provider-acme"]["properties"].keys()
