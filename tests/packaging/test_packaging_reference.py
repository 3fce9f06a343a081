"""The reference is complete: each hook, argument, setting, error, command and public name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import runpy
from collections.abc import Iterator

import click
import pytest

import keyhinge
import keyhinge.testing
import keyhinge_local
import keyhinge_store
from keyhinge import KeyhingeError
from keyhinge._contract import PluginManager
from keyhinge._discovery import Registry
from keyhinge.config._schema import json_schema
from keyhinge.testing import RULES
from keyhinge_cli import cli

INCLUDE = re.compile(r"```\{include\} /_generated/(?P<name>\S+)\n```")


@pytest.fixture(scope="module")
def page(root):
    """Return a function that gives a page of the reference with its generated parts in place."""
    parts: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "docs" / "_generators"))
        for path in (root / "docs" / "_generators").glob("[!_]*.py"):
            spec = importlib.util.spec_from_file_location(f"reference_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            parts.update(module.generate())

    def read(name):
        text = (root / "docs" / "reference" / name).read_text(encoding="utf-8")
        return INCLUDE.sub(lambda match: parts[match["name"]], text)

    return read


def chapter(text: str, title: str) -> str:
    """Return what stands under a heading of the third level."""
    _, found, rest = text.partition(f"\n### {title}\n")
    assert found, f"there is no chapter {title}"
    return rest.partition("\n### ")[0].partition("\n## ")[0]


def hooks() -> Iterator[tuple[str, list[str]]]:
    """Yield each hook that pluggy knows the specification of, with its arguments."""
    manager = PluginManager()
    for name, caller in sorted(vars(manager.hook).items()):
        if name.startswith("keyhinge_"):
            # pluggy 1.5 counts `self` among the arguments.
            yield name, [each for each in caller.spec.argnames if each != "self"]


def test_there_are_hooks():
    """The next test would pass if none were found."""
    assert {"keyhinge_configure", "keyhinge_encrypt", "keyhinge_operation"} < dict(hooks()).keys()


@pytest.mark.parametrize(("name", "arguments"), list(hooks()))
def test_every_hook_and_argument_is_in_the_reference(page, name, arguments):
    """Each hook has a chapter with its signature and a line for each argument."""
    text = chapter(page("hooks.md"), f"`{name}`")
    assert f"def {name}(" in text
    assert [argument for argument in arguments if f"\n- `{argument}`: " not in text] == []


def test_no_hook_is_made_up(page):
    """Each hook that the reference has a chapter about is specified."""
    named = set(re.findall(r"^### `(keyhinge_\w+)`$", page("hooks.md"), re.MULTILINE))
    assert named == dict(hooks()).keys()


def test_every_setting_is_in_the_reference(page):
    """Each key of each installed provider, of the options and of `store` is there."""
    registry = Registry()
    providers = {name: registry.load(name).settings for name in registry.names()}
    schema = json_schema(providers, blocks={"store": keyhinge_store.StoreSettings})
    blocks = [schema["$defs"][f"provider-{name}"] for name in providers]
    blocks += [schema["properties"]["store"]]
    blocks += [schema["properties"]["keyManagement"]["properties"]["options"]]
    keys = {key for block in blocks for key in block["properties"]}
    assert {"keyFile", "url", "urlFile", "requireEncryption"} < keys
    text = page("configuration.md")
    assert [key for key in sorted(keys) if f"| `{key}` |" not in text] == []


def test_every_error_is_in_the_reference(page):
    """Each public error has a chapter that says what to do."""
    errors = {
        thing.__name__
        for module in (keyhinge, keyhinge_store, keyhinge_local)
        for thing in map(vars(module).get, module.__all__)
        if inspect.isclass(thing) and issubclass(thing, KeyhingeError)
    }
    text = page("errors.md")
    assert len(errors) > 25
    for name in errors:
        assert "**What to do.**" in chapter(text, name)


@pytest.mark.parametrize(
    "module", [keyhinge, keyhinge_store, keyhinge.testing], ids=lambda module: module.__name__
)
def test_every_public_name_is_in_the_reference(page, module):
    """Whatever is exported is written about on one of the pages."""
    names = ["python", "store", "hooks", "errors", "configuration", "formats", "testing"]
    text = "\n".join(page(f"{name}.md") for name in names)
    missing = [name for name in module.__all__ if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_every_field_of_a_report_is_in_the_reference(page):
    """Its tables are made from the classes, so each class that JSON is made of must be there."""
    text = page("reports.md")
    for name in ("StatusReport", "AuditReport", "RunEvidence", "RunInfo", "VerifyReport"):
        assert f"**{name}**: " in text
        fields = keyhinge_store.__dict__[name].__attrs_attrs__
        assert [field.name for field in fields if f"| `{field.name}` |" not in text] == []


def test_every_method_of_key_manager_is_in_the_reference(page):
    """The page lists KeyManager's members by hand, in the order in which they are used."""
    public = {name for name in dir(keyhinge.KeyManager) if not name.startswith("_")}
    listed = set(re.findall(r"auto(?:method|property):: (?:KeyManager\.)?(\w+)", page("python.md")))
    assert listed == public - {"after_fork"}


def test_every_command_has_help():
    """The reference of the command line is made from the help texts, so there must be one."""

    def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            with click.Context(command) as context:
                for name in command.list_commands(context):
                    child = command.get_command(context, name)
                    assert child is not None
                    yield from walk(child, f"{path} {name}")

    commands = dict(walk(cli, "keyhinge"))
    assert "keyhinge local rotate" in commands
    assert [path for path, command in commands.items() if not command.help] == []
    silent = [
        f"{path} {option.opts[0]}"
        for path, command in commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_every_rule_is_in_the_reference(page):
    """Each rule that the conformance kit may cite has a heading, and what it is good for."""
    text = page("hooks.md")
    assert list(RULES) == re.findall(r"^### (R\d+)$", text, re.MULTILINE)
    for rule in RULES.values():
        assert rule.anchor == rule.id.lower()  # what a heading's anchor is made of
        assert all(part in chapter(text, rule.id) for part in (rule.text, rule.reason, rule.remedy))


def test_what_is_read_in_a_clone_is_up_to_date(root):
    """Links lead to these pages where nothing was built. `python dev/generated.py` renews them."""
    done = runpy.run_path(str(root / "dev" / "generated.py"))
    for each in done["PAGES"]:
        text = each.read_text(encoding="utf-8")
        assert "{include}" not in text
        assert text == done["renewed"](each), "run: python dev/generated.py"


def test_links_have_words(root):
    """Sphinx puts a page's title into an empty link; a clone shows nothing there."""
    for each in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        empty = re.findall(r"\[\]\([^)]*\)", each.read_text(encoding="utf-8"))
        assert not empty, f"{each.relative_to(root)}: {', '.join(empty)}"
