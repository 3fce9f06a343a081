"""Configuration of Sphinx. ``nox -s docs`` builds; a warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE / "_generators")]

project = "Keyhinge"
author = "The Keyhinge developers"
project_copyright = "The Keyhinge developers"
release = tomllib.loads((HERE.parent / "core/pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["version"]
version = release.rpartition(".")[0]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "generated_pages",
]
exclude_patterns = ["_generated", "examples/*/README.md"]
suppress_warnings: list[str] = []
root_doc = "index"
default_role = "code"  # docstrings have single backticks
language = "en"
smartquotes = False  # it would make one dash of an option's two

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autoclass_content = "class"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"Keyhinge {release}"
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
