"""What the packaging tests look at: each distribution's metadata, and its built files."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Distribution:
    """A distribution of this repository, as it stands in the tree."""

    name: str
    folder: Path
    project: dict[str, Any]

    @property
    def module(self) -> str:
        """Name that it is imported by."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        """Folder of its package."""
        return self.folder / "src" / self.module

    @property
    def is_provider(self) -> bool:
        """Whether it registers a provider."""
        return "keyhinge.providers" in self.project.get("entry-points", {})


def read(file: Path) -> Distribution:
    """Return the distribution that `file`, a pyproject.toml, describes."""
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    return Distribution(project["name"], file.parent, project)


ALL = [
    read(ROOT / "core" / "pyproject.toml"),
    *map(read, sorted(ROOT.glob("plugins/*/pyproject.toml"))),
]


@dataclass(frozen=True)
class Built:
    """The files of a distribution that are uploaded."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def every() -> list[Distribution]:
    """All distributions, core first."""
    return ALL


@pytest.fixture(params=ALL, ids=lambda each: each.name)
def dist(request: pytest.FixtureRequest) -> Distribution:
    """Each distribution in turn."""
    value: Distribution = request.param
    return value


@pytest.fixture(scope="session")
def dist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with each wheel and sdist: those of ``nox -s build``, or new ones."""
    if given := os.environ.get("KEYHINGE_TEST_DIST"):
        return Path(given)
    target = tmp_path_factory.mktemp("dist")
    for each in ALL:
        build("sdist", each.folder, target)
        # The wheel is made from the sdist, as an installer without our tree would do it.
        stem = f"{each.module}-{each.project['version']}"
        unpacked = tmp_path_factory.mktemp(each.name)
        with tarfile.open(target / f"{stem}.tar.gz") as archive:
            archive.extractall(unpacked, filter="data")
        build("wheel", unpacked / stem, target)
    return target


@pytest.fixture(scope="session")
def hatchling() -> Callable[[str, Path, Path], None]:
    """Builds a file of a package: `hatchling("wheel", folder, target)`."""
    return build


def build(kind: str, folder: Path, target: Path) -> None:
    """Build one file without the network: hatchling is installed here."""
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        kind,
        "--directory",
        str(target),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def built(dist: Distribution, dist_folder: Path) -> Built:
    """The built files of `dist`."""
    stem = f"{dist.module}-{dist.project['version']}"
    return Built(dist_folder / f"{stem}-py3-none-any.whl", dist_folder / f"{stem}.tar.gz")
