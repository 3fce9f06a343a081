"""What `keyhinge dev new-provider` writes is a package: it builds, installs, passes and works."""

from __future__ import annotations

import json
import tarfile

import pytest
from tests.packaging._environment import Environment
from tests.packaging._lines import lines_of_code

KEY = "5b" * 32


@pytest.fixture(scope="module")
def made(dist_folder, hatchling, tmp_path_factory):
    """A new environment with our wheels and the new package's, and the package's folder."""
    folder = tmp_path_factory.mktemp("scaffold")
    ours = sorted(dist_folder.glob("*.whl"))
    Environment(folder / "first", ours).run(
        "-m", "keyhinge_cli", "dev", "new-provider", "acme", cwd=folder
    )
    package = folder / "keyhinge-acme"
    hatchling("sdist", package, folder / "dist")
    hatchling("wheel", package, folder / "dist")
    (wheel,) = (folder / "dist").glob("*.whl")
    return Environment(folder / "second", [*ours, wheel]), package


def test_the_conformance_tests_pass_where_it_is_installed(made):
    """All of the kit, with the installed package and not the folder's."""
    environment, package = made
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=package)
    assert " passed" in done
    where = environment.run("-c", "import keyhinge_acme as m; print(m.__file__)", cwd=package)
    assert where.startswith(str(environment.folder))
    assert (environment.folder / where).with_name("py.typed").is_file()


def test_it_is_found_and_loads(made, tmp_path):
    """`keyhinge providers --load` lists it beside ours."""
    environment, _ = made
    printed = environment.run("-m", "keyhinge_cli", "providers", "--load", "--json", cwd=tmp_path)
    listed = {each["name"]: each for each in map(json.loads, printed.splitlines())}
    assert {"acme", "local", "plaintext"} <= listed.keys()
    assert listed["acme"]["distribution"] == "keyhinge-acme"
    assert listed["acme"]["version"] == "0.1.0"
    assert {each["status"] for each in listed.values()} == {"ok"}


def test_a_section_encrypts_with_it(made, tmp_path):
    """A value goes there and back, and doesn't open under another context or key."""
    environment, _ = made
    text = "keyManagement:\n  provider: acme\n  acme: {key: '${ACME_KEY}'}\n"
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")

    def keyhinge(*arguments, stdin="", key=KEY, fails=False):
        return environment.run(
            "-m", "keyhinge_cli", *arguments, cwd=tmp_path, stdin=stdin, fails=fails, ACME_KEY=key
        )

    value = keyhinge("encrypt", "--context", "a=b", stdin="token\n")
    assert value.startswith("kh1:acme:")
    assert keyhinge("decrypt", "--context", "a=b", stdin=value) == "token"
    assert keyhinge("decrypt", "--context", "a=c", stdin=value, fails=True) == ""
    assert keyhinge("decrypt", "--context", "a=b", stdin=value, key="00" * 32, fails=True) == ""
    keyhinge("check")
    schema = json.loads(keyhinge("config", "schema"))
    assert {"key", "keyFile"} <= schema["$defs"]["provider-acme"]["properties"].keys()


def test_it_is_small(made):
    """A reader sees all of it: 40 lines of provider, 55 with what makes it a package."""
    _, package = made
    provider = lines_of_code(package / "src/keyhinge_acme/__init__.py")
    assert provider <= 40
    assert provider + lines_of_code(package / "pyproject.toml") <= 55


def test_the_sdist_is_complete(made, tmp_path):
    """Whoever gets the source has the tests too."""
    _, package = made
    (archive,) = package.parent.glob("dist/*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    names = {file.relative_to(unpacked).as_posix() for file in unpacked.rglob("*.*")}
    assert {"pyproject.toml", "README.md", "tests/test_conformance.py", "noxfile.py"} <= names
