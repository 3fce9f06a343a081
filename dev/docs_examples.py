"""A pytest plugin that executes the examples of Markdown pages (``nox -s examples``).

Sybil finds the fences and makes a test of each; what is ours is what the languages mean. The
rules for writers stand in CONTRIBUTING.md.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import SkipTest

import yaml
from _console import Console
from _services import Services
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.typing import Evaluator

FENCES = FencedCodeBlockLexer(r"[^\n]*")
MARK = re.compile(r"<!-- (?P<kind>file|not run): (?P<text>[^\n]+?) -->\s*\Z")
SERVICES = re.compile(r"^<!-- services: (?P<names>[^\n]+?) -->$", re.MULTILINE)
SHOWN = {"ini", "json", "mermaid", "sql", "text", "toml"}  # read, never run


class Page:
    """What the examples of one page share: a folder, the shell session in it, and servers.

    Args:
        services: The names of the servers that the page asks for.
    """

    def __init__(self, services: Iterable[str] = ()) -> None:
        self.before = Path.cwd()
        self.environ = dict(os.environ)
        self.path = list(sys.path)
        self.folder = Path(tempfile.mkdtemp(prefix="keyhinge-docs-")).resolve()
        self.console = Console(self.folder)
        os.chdir(self.folder)
        for name in [name for name in os.environ if name.startswith("KEYHINGE_")]:
            del os.environ[name]
        programs = self.folder.with_name(self.folder.name + ".bin")
        self.services = Services(programs)
        for service in services:
            self.services.start(service)
        self.console.environ |= self.services.environ
        self.console.environ["PATH"] = f"{programs}{os.pathsep}{self.console.environ['PATH']}"
        os.environ.update(self.services.environ)

    def real(self, text: str) -> str:
        """Put the addresses of the page's servers into an example."""
        for shown, address in self.services.places.items():
            text = text.replace(shown, address)
        return text

    def close(self) -> None:
        """Stop the servers, leave the folder and remove it."""
        self.services.stop()
        shutil.rmtree(self.folder.with_name(self.folder.name + ".bin"), ignore_errors=True)
        os.chdir(self.before)
        # Python remembers which folder "." was when something was imported from there.
        sys.path[:] = self.path
        sys.path_importer_cache.pop(".", None)
        os.environ.clear()
        os.environ.update(self.environ)
        shutil.rmtree(self.folder)


def open_page(namespace: dict[str, Any]) -> None:
    """Prepare a page before its first example."""
    namespace["_page"] = Page(namespace.pop("_services", ()))


def close_page(namespace: dict[str, Any]) -> None:
    """Clean up behind a page's last example."""
    namespace["_page"].close()


def run_console(example: Example) -> None:
    """Type the commands of a ``console`` fence and compare what they print."""
    page: Page = example.namespace["_page"]
    problem = page.console.play(page.real(example.parsed))
    assert problem is None, problem


def check_yaml(example: Example) -> None:
    """Check that a ``yaml`` fence is YAML."""
    yaml.safe_load(example.parsed)


def refuse(example: Example) -> None:
    """Refuse a language without a meaning here: nobody would notice that it is never executed."""
    language = example.region.lexemes["language"]
    msg = f"a fence in {language!r} is neither executed nor known as text: see CONTRIBUTING.md"
    raise AssertionError(msg)


EVALUATORS: dict[str, Evaluator] = {
    "console": run_console,
    "python": PythonEvaluator(),
    "yaml": check_yaml,
}


def parse(document: Document) -> Iterable[Region]:
    """Yield what is to be tested in a page: each fence, unless it is only shown."""
    if asked := SERVICES.search(document.text):
        document.namespace["_services"] = re.split(r",\s*", asked["names"])
    for region in FENCES(document):
        language = region.lexemes["language"].strip()
        mark = MARK.search(document.text, 0, region.start)
        source = region.lexemes["source"]
        region.parsed = source
        if mark and mark["kind"] == "not run":
            region.evaluator = skipping(mark["text"])
        elif mark:
            region.evaluator = writing(mark["text"], check_yaml if language == "yaml" else None)
        elif language in SHOWN or language.startswith("{"):
            continue
        elif language == "python" and source.startswith(">>>"):
            for part in DocTestStringParser(DocTestEvaluator())(source, document.path):
                part.adjust(region, source)
                yield part
            continue
        else:
            region.evaluator = EVALUATORS.get(language, refuse)
        yield region


def skipping(reason: str) -> Evaluator:
    """Return an evaluator that reports the example as skipped."""

    def skip(_example: Example) -> None:
        raise SkipTest(reason)

    return skip


def writing(name: str, check: Evaluator | None) -> Evaluator:
    """Return an evaluator that puts the example into the page's folder as file `name`."""

    def write(example: Example) -> None:
        if check:
            check(example)
        page: Page = example.namespace["_page"]
        file = (page.folder / name).resolve()
        assert file.is_relative_to(page.folder), f"{name} is outside of the page's folder"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page.real(example.parsed), encoding="utf-8")

    return write


pytest_collect_file = Sybil(
    parsers=[parse],
    patterns=["*.md"],
    excludes=["_generated/*"],
    path=str(Path(__file__).resolve().parent.parent),
    setup=open_page,
    teardown=close_page,
).pytest()
