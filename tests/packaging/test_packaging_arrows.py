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
# Where a name is computed: core loads the provider that a section names, the command line says how
# to install the plugin that a command needs.
COMPUTED = {"keyhinge/_discovery.py", "keyhinge_cli/_plugins.py"}
NAMES = {"yaml": "pyyaml"}  # distributions that are called otherwise than what they install
# The kit is used inside of pytest; its fake key service takes a better cipher if there is one.
UNDECLARED = {"keyhinge/testing": {"pytest", "cryptography"}}


def test_arrows_point_one_way(dist, every):
    """Core imports no plugin, a provider no other provider, the store no provider."""
    ours = {each.module for each in every}
    allowed = ARROWS.get(dist.module, {"keyhinge"}) | {dist.module}
    wrong = [(file, name) for file, name in imports(dist) if name in ours and name not in allowed]
    assert wrong == []


def test_names_are_computed_in_few_places(dist):
    """An import by a computed name escapes the test above, so each place of that kind is known."""
    found = set()
    for file in sorted(dist.source.rglob("*.py")):
        calls = [n for n in ast.walk(parse(file)) if isinstance(n, ast.Call) and is_import(n)]
        if any(not named(call) for call in calls):
            found.add(file.relative_to(dist.source.parent).as_posix())
    assert found <= COMPUTED


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
        ("importlib.import_module('hvac')", {"hvac"}),
        ("import_module(f'keyhinge_cli.{name}')", {"keyhinge_cli"}),
        ("import_module(f'keyhinge_{name}')", set()),
    ],
)
def test_the_finder_sees_imports_wherever_they_stand(source, expected):
    """The tests above would be worth nothing if a lazy import escaped them."""
    assert set(find(ast.parse(source))) == expected


def imports(dist, *, skip_types=False):
    """Return each import in a package: the file, from its source folder, and the top-level name."""
    found = []
    for file in sorted(dist.source.rglob("*.py")):
        tree = parse(file)
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
        elif isinstance(node, ast.Call) and is_import(node):
            yield from named(node)


def is_import(call):
    """Tell whether a call imports what its first argument names."""
    return ast.unparse(call.func) in {"import_module", "importlib.import_module", "__import__"}


def named(call):
    """Return the top-level name that an import call imports, in a list: empty if it is computed."""
    name = call.args[0]
    start = name.values[0] if isinstance(name, ast.JoinedStr) else name
    text = str(start.value) if isinstance(start, ast.Constant) else ""
    top, dot, _ = text.partition(".")
    return [top] if dot or (text and start is name) else []


def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))
