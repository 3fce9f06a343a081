"""Sphinx extension: pages, or parts of pages, that are made from the code at each build.

Each module ``docs/_generators/NAME.py`` has a function ``generate() -> dict[str, str]``, which
returns Markdown by file name. It is written to ``docs/_generated/``, which git ignores, and a page
takes it in:

    ```{include} /_generated/NAME.md
    ```
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.typing import ExtensionMetadata


def write_generated(app: Sphinx) -> None:
    """Run each generator and write what it returns, touching only files that change."""
    source = Path(app.srcdir)
    target = source / "_generated"
    target.mkdir(exist_ok=True)
    wanted: dict[str, str] = {}
    for path in sorted(source.glob("_generators/[!_]*.py")):
        for name, text in load(path).generate().items():
            if name in wanted:
                msg = f"two generators make {name}"
                raise ExtensionError(msg)
            wanted[name] = text
    for old in target.iterdir():
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        file = target / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def load(path: Path) -> ModuleType:
    """Import the generator at `path`, which isn't part of a package."""
    spec = importlib.util.spec_from_file_location(f"_generators_{path.stem}", path)
    if spec is None or spec.loader is None:
        msg = f"{path} can't be imported"
        raise ExtensionError(msg)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension with Sphinx."""
    app.connect("builder-inited", write_generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
