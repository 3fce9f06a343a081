"""The finished example is a package of its own: it builds, installs beside ours, and works."""

from __future__ import annotations

import json
import shutil

import pytest
from pyrage import x25519
from tests.packaging._environment import Environment


@pytest.fixture(scope="module")
def made(root, dist_folder, hatchling, tmp_path_factory):
    """A new environment with our wheels and the example's, and a copy of the example's folder."""
    folder = tmp_path_factory.mktemp("example")
    package = folder / "keyhinge-age"
    left = shutil.ignore_patterns("__pycache__", "dist", ".*_cache", ".nox", ".venv")
    shutil.copytree(root / "docs" / "examples" / "keyhinge-age", package, ignore=left)
    hatchling("sdist", package, folder / "dist")
    hatchling("wheel", package, folder / "dist")
    wheels = [*dist_folder.glob("*.whl"), *folder.glob("dist/*.whl")]
    return Environment(folder / "environment", sorted(wheels)), package


def test_its_own_tests_pass_where_it_is_installed(made):
    """The conformance kit, and what is special to age."""
    environment, package = made
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=package)
    assert " passed" in done
    where = environment.run("-c", "import keyhinge_age as m; print(m.__file__)", cwd=package)
    assert where.startswith(str(environment.folder))


def test_it_has_what_a_published_package_has(made):
    """Types, a licence, a workflow, and no file that only we would need."""
    _, package = made
    names = {file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()}
    assert {
        ".github/workflows/test.yml",
        "LICENSE",
        "README.md",
        "noxfile.py",
        "src/keyhinge_age/py.typed",
    } <= names
    assert "Apache License" in (package / "LICENSE").read_text(encoding="utf-8")


def test_secrets_move_to_it_and_back(made, tmp_path):
    """What `init` made is migrated to age, rewrapped to a new identity, and migrated back."""
    environment, _ = made

    def keyhinge(*arguments, stdin=""):
        return environment.run("-m", "keyhinge_cli", *arguments, cwd=tmp_path, stdin=stdin)

    listed = map(json.loads, keyhinge("providers", "--load", "--json").splitlines())
    assert {each["name"]: each["status"] for each in listed}["age"] == "ok"
    keyhinge("init")
    keyhinge("secrets", "put", "--account", "a", "--kind", "k", "--id", "s", stdin="token\n")
    identity = tmp_path / "identity.txt"
    identity.write_text(str(x25519.Identity.generate()), encoding="utf-8")
    identity.chmod(0o600)
    config = tmp_path / "config.yaml"
    text = config.read_text(encoding="utf-8")
    section = "  age: {identityFile: identity.txt}\n\nstore:"
    text = text.replace("\nstore:", section)
    config.write_text(text.replace("provider: local", "provider: age"), encoding="utf-8")
    keyhinge("migrate")
    keyhinge("verify")
    assert keyhinge("secrets", "get", "--account", "a", "--id", "s").strip() == "token"
    keyhinge("check")
    assert '"age"' in keyhinge("secrets", "list", "--json")
    new = x25519.Identity.generate()
    identity.write_text(f"{new}\n{identity.read_text(encoding='utf-8')}", encoding="utf-8")
    assert f"to age, key {new.to_public()}" in keyhinge("rewrap")
    identity.write_text(str(new), encoding="utf-8")
    keyhinge("verify")
    config.write_text(text, encoding="utf-8")
    keyhinge("migrate")
    assert '"age"' not in keyhinge("secrets", "list", "--json")
