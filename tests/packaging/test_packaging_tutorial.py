"""The tutorial's provider is a package: it builds, installs and is found by its entry point."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest

FILE = re.compile(
    r"<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The folder that the tutorial's package is installed in."""
    project = tmp_path_factory.mktemp("tutorial")
    page = (root / "docs" / "tutorial" / "write-a-provider.md").read_text(encoding="utf-8")
    files = {match["name"]: match["text"] for match in FILE.finditer(page)}
    assert {"pyproject.toml", "src/keyhinge_minimal/__init__.py"} < files.keys()
    for name, text in files.items():
        target = project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(project / "site")
    return project / "site"


def keyhinge(site, *arguments, stdin="", **environ):
    """Run the command where the package is installed."""
    done = subprocess.run(
        [sys.executable, "-m", "keyhinge_cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(site), **environ},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_is_found_and_loads(site):
    """`keyhinge providers --load` lists it beside the others."""
    listed = map(json.loads, keyhinge(site, "providers", "--load", "--json").splitlines())
    (mine,) = [each for each in listed if each.get("name") == "minimal"]
    assert mine["distribution"] == "keyhinge-minimal"
    assert "ok" in mine.values()


def test_a_section_can_name_it(site, tmp_path):
    """A configuration with `minimal` encrypts and decrypts, and its settings are in the schema."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "keyManagement:\n  provider: minimal\n  minimal: {key: '${MINIMAL_KEY}'}\n",
        encoding="utf-8",
    )
    given = {"MINIMAL_KEY": base64.b64encode(bytes(32)).decode(), "KEYHINGE_CONFIG": str(config)}
    value = keyhinge(site, "encrypt", "--context", "a=b", stdin="token\n", **given)
    assert value.startswith("kh1:minimal:")
    assert keyhinge(site, "decrypt", "--context", "a=b", stdin=value, **given) == "token"
    schema = json.loads(keyhinge(site, "config", "schema", **given))
    assert "keyFile" in schema["$defs"]["provider-minimal"]["properties"]
