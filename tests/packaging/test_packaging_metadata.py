"""What each distribution says about itself."""

from __future__ import annotations

import re

from packaging.requirements import Requirement
from packaging.version import Version

PLANNED = {"aws", "vault"}  # extras that are named before their distributions exist


class TestEachDistribution:
    def test_licence(self, dist, root):
        """It is under Apache-2.0 and carries the repository's licence text."""
        assert dist.project["license"] == "Apache-2.0"
        assert dist.project["license-files"] == ["LICENSE"]
        assert (dist.folder / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()

    def test_readme_and_types(self, dist):
        """It has a README of its own and declares its types."""
        assert dist.project["readme"] == "README.md"
        assert (dist.folder / "README.md").read_text(encoding="utf-8").strip()
        assert (dist.source / "py.typed").is_file()
        assert "Typing :: Typed" in dist.project["classifiers"]

    def test_one_version_and_the_same_pythons(self, dist, every):
        """Version, Pythons and classifiers are those of core."""
        core = every[0].project
        for field in ("version", "requires-python"):
            assert dist.project[field] == core[field]
        assert python_classifiers(dist) == python_classifiers(every[0])

    def test_depends_on_a_range_of_this_repository(self, dist, every):
        """A plugin takes every version of core from its own up to the next major one."""
        version = Version(dist.project["version"])
        expected = f"<{version.major + 1},>={version.major}.{version.minor}"
        ours = [
            r
            for r in requirements(dist.project["dependencies"])
            if r.name in {d.name for d in every}
        ]
        assert all(str(requirement.specifier) == expected for requirement in ours)
        assert bool(ours) == (dist.name != "keyhinge")

    def test_every_dependency_has_a_lowest_version(self, dist):
        """Nothing is declared without the version that it was tested with."""
        listed = [*dist.project["dependencies"]]
        for extra in dist.project.get("optional-dependencies", {}).values():
            listed += extra
        loose = [
            str(r) for r in requirements(listed) if not any(s.operator == ">=" for s in r.specifier)
        ]
        assert loose == []


def test_the_extras_of_core_name_every_plugin(every):
    """``pip install "keyhinge[local,store,cli]"`` finds each plugin by its short name."""
    extras = every[0].project["optional-dependencies"]
    named = {name: [r.name for r in requirements(needs)] for name, needs in extras.items()}
    plugins = {d.name.removeprefix("keyhinge-"): [d.name] for d in every[1:]}
    assert {name: named.get(name) for name in plugins} == plugins
    assert {name: named[name] for name in PLANNED} == {
        name: [f"keyhinge-{name}"] for name in PLANNED
    }


def test_provider_names_follow_the_grammar(every):
    """Users write an entry point's name in their file; no two distributions share one."""
    names = [
        name
        for d in every
        for name in d.project.get("entry-points", {}).get("keyhinge.providers", {})
    ]
    assert names
    assert sorted(set(names)) == sorted(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name) for name in names)


def requirements(lines):
    return [Requirement(line) for line in lines]


def python_classifiers(dist):
    return [line for line in dist.project["classifiers"] if line.startswith("Programming Language")]
