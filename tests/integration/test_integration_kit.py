"""The conformance kit finds no fault in a right provider: the tutorial's, `local`, `plaintext`."""

from __future__ import annotations

import base64
import importlib.util
import re
from pathlib import Path

import pytest

from keyhinge.testing import conformance_of
from keyhinge_local import keyfile

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "write-a-provider.md"
MODULE = re.compile(
    r"<!-- file: src/keyhinge_minimal/__init__.py -->\n```python\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture
def minimal(tmp_path):
    """The tutorial's provider, as the page has it."""
    found = MODULE.search(TUTORIAL.read_text(encoding="utf-8"))
    assert found is not None
    path = tmp_path / "keyhinge_minimal.py"
    path.write_text(found["text"], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("keyhinge_minimal", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults(sections, **options):
    """Give what the kit finds wrong with the first section, the second one being the other."""
    first, second = sections
    config = {"keyManagement": {"provider": first, **sections}}
    results = list(conformance_of(config, first, other=second, environ={}, **options))
    assert len(results) >= 40
    return [result for result in results if result.outcome == "failed"]


def test_minimal(minimal):
    keys = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]
    sections = {"a": {"type": "minimal", "key": keys[0]}, "b": {"type": "minimal", "key": keys[1]}}
    assert faults(sections, providers={"minimal": minimal}) == []


def test_local(tmp_path):
    for name in ("a", "b"):
        keyfile.init(tmp_path / name)
    sections = {name: {"type": "local", "keyFile": str(tmp_path / name)} for name in ("a", "b")}
    assert faults(sections) == []


def test_plaintext():
    assert faults({"plaintext": {}, "other": {"type": "plaintext"}}) == []
