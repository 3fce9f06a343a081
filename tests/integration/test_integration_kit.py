"""The conformance kit finds no fault in a right provider: the scaffold's, `local`, `plaintext`."""

from __future__ import annotations

import importlib.util

import pytest

from keyhinge.testing import conformance_of
from keyhinge_cli._scaffold import write_package
from keyhinge_local import keyfile


@pytest.fixture
def scaffold(tmp_path):
    """The provider that `keyhinge dev new-provider` writes."""
    write_package("mine", tmp_path, "0.1.0")
    [path] = tmp_path.glob("keyhinge-mine/src/*/__init__.py")
    spec = importlib.util.spec_from_file_location("keyhinge_mine", path)
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


def test_scaffold(scaffold):
    sections = {
        name: {"type": "mine", "key": number * 64} for name, number in zip("ab", "12", strict=True)
    }
    assert faults(sections, providers={"mine": scaffold}) == []


def test_local(tmp_path):
    for name in ("a", "b"):
        keyfile.init(tmp_path / name)
    sections = {name: {"type": "local", "keyFile": str(tmp_path / name)} for name in ("a", "b")}
    assert faults(sections) == []


def test_plaintext():
    assert faults({"plaintext": {}, "other": {"type": "plaintext"}}) == []
