"""Who imports whom: cli → store → core ← providers, and nothing that isn't declared."""

from __future__ import annotations

import ast
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What a package may import from this repository besides itself.
ARROWS = {
    "keyhinge": set(),
    "keyhinge_store": {"keyhinge"},
    "keyhinge_cli": {"keyhinge", "keyhinge_store"},
}
# The conformance kit is used inside of pytest.
NAMES = {"yaml": "pyyaml"}  # distributions that are called otherwise than what they install
UNDECLARED = {"keyhinge/testing": {"pytest"}}


def test_arrows_point_one_way(dist, every):
    """Core imports no plugin, a provider no other provider, the store no provider."""
    ours = {each.module for each in every}
    allowed = ARROWS.get(dist.module, {"keyhinge"}) | {dist.module}
    wrong = [(file, name) for file, name in imports(dist) if name in ours and name not in allowed]
    assert wrong == []


def test_every_import_is_declared(dist, every):
    """A package imports the standard library, this repository and what its metadata names."""
    needs = [*dist.project.get("dependencies", [])]
    for extra in dist.project.get("optional-dependencies", {}).values():
        needs += extra if dist.name != "keyhinge" else []
    declared = {canonicalize_name(Requirement(line).name) for line in needs}
    ours = {each.module for each in every}
    wrong = []
    for file, name in imports(dist, skip_types=True):
        known = name in ours | sys.stdlib_module_names or any(
            name in names for folder, names in UNDECLARED.items() if file.startswith(folder)
        )
        if not known and canonicalize_name(NAMES.get(name, name)) not in declared:
            wrong.append((file, name))
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import keyhinge_local.x as y", {"keyhinge_local"}),
        ("def f():\n    from keyhinge_store import z", {"keyhinge_store"}),
        ("from . import _sibling", set()),
        ("import importlib\nimportlib.import_module('hvac')", {"importlib", "hvac"}),
    ],
)
def test_the_finder_sees_imports_wherever_they_stand(source, expected):
    """The tests above would be worth nothing if a lazy import escaped them."""
    assert set(find(ast.parse(source))) == expected


def imports(dist, *, skip_types=False):
    """Return each import in a package: the file, from its source folder, and the top-level name."""
    found = []
    for file in sorted(dist.source.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if skip_types:
            tree = WithoutTypes().visit(tree)
        found += [(file.relative_to(dist.source.parent).as_posix(), name) for name in find(tree)]
    return found


class WithoutTypes(ast.NodeTransformer):
    """Drops what stands under ``if TYPE_CHECKING:``, which never runs."""

    def visit_If(self, node):
        if ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        return self.generic_visit(node)


def find(tree):
    """Yield the top-level names that a module imports, at any depth and by any function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            yield from (
                arg.value.partition(".")[0]
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )
