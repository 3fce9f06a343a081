"""What is in the wheels and sdists."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import PurePosixPath


def test_the_wheel_has_its_package_and_nothing_else(dist, built):
    """The wheel holds each file of the package, its metadata, and no other top-level name."""
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
    info = f"{dist.module}-{dist.project['version']}.dist-info"
    assert {PurePosixPath(name).parts[0] for name in names} == {dist.module, info}
    assert {name for name in names if not name.startswith(info)} == package_files(dist)
    assert f"{info}/licenses/LICENSE" in names


def test_the_wheel_says_what_pyproject_says(dist, built):
    """Name, version, licence, Pythons and entry points arrive in the wheel."""
    info = f"{dist.module}-{dist.project['version']}.dist-info"
    with zipfile.ZipFile(built.wheel) as archive:
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        files = archive.namelist()
        entry_points = (
            archive.read(f"{info}/entry_points.txt").decode()
            if f"{info}/entry_points.txt" in files
            else ""
        )
    assert metadata["Name"] == dist.name
    assert metadata["Version"] == dist.project["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == dist.project["requires-python"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert ("[keyhinge.providers]" in entry_points) == dist.is_provider


def test_the_sdist_has_what_a_build_needs(dist, built):
    """The sdist holds sources, README and licence, and no file that the build doesn't need."""
    stem = f"{dist.module}-{dist.project['version']}"
    with tarfile.open(built.sdist) as archive:
        names = {name.removeprefix(f"{stem}/") for name in archive.getnames()}
    beside = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
    assert {name for name in names if not name.startswith("src/")} <= beside
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names
    assert {
        name.removeprefix("src/") for name in names if name.startswith("src/")
    } == package_files(dist)


def package_files(dist):
    """Return the files of a package, from its parent folder, without what Python leaves behind."""
    source = dist.source.parent
    return {
        file.relative_to(source).as_posix()
        for file in dist.source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
