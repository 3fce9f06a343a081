"""The conformance kit finds each fault of the wrong providers, and none in the right one."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from tests.core.wrong_providers._right import WRONG, Module, Right, conformance

from keyhinge.testing import RULES, run_conformance
from keyhinge.testing._run import cases_of

for name in ("batches", "hostile", "living", "modules", "secrets", "values"):
    importlib.import_module(f"tests.core.wrong_providers.{name}")

CASES = cases_of(conformance(None))


class TestRight(conformance(Module(Right))):  # type: ignore[misc]
    """The one that the others differ from passes."""


def test_the_right_one_passes_without_pytest():
    results = list(run_conformance(conformance(Module(Right))))
    assert [result for result in results if result.outcome == "failed"] == []
    skipped = [result.case for result in results if result.outcome == "skipped"]
    assert skipped == ["test_client_library_is_not_imported_early"]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_each_fault_is_found_by_its_case(wrong):
    (result,) = run_conformance(wrong.conformance, only={wrong.case})
    assert (result.outcome, result.rule) == ("failed", wrong.rule), result
    assert "t0ken" not in result.message
    assert result.message


def test_each_rule_is_broken_by_somebody():
    assert {wrong.rule for wrong in WRONG} == set(RULES)


def test_each_rule_is_checked_by_a_case():
    assert {case.keyhinge_rule for case in CASES.values()} == set(RULES)  # type: ignore[attr-defined]


def test_each_case_finds_something():
    """A case that no wrong provider fails may be one that nobody can fail."""
    assert {wrong.case for wrong in WRONG} == set(CASES)


def test_a_failure_names_the_rule_and_where_it_stands():
    (wrong,) = [each for each in WRONG if each.name == "IgnoresTheContext"]
    bench = wrong.conformance()
    with bench._opened() as keys, pytest.raises(AssertionError) as failure:
        bench.test_value_opens_only_under_its_context(keys, keys.capabilities(), b"x")
    assert "This breaks R10: The whole context is authenticated" in str(failure.value)
    assert "reference/hooks" in str(failure.value)
    assert str(failure.value).endswith("#r10")


def test_the_kit_is_imported_only_when_asked_for():
    program = (
        "import sys, keyhinge\n"
        "found = {'pytest', '_pytest', 'keyhinge.testing'} & set(sys.modules)\n"
        "assert not found, found\n"
        "import keyhinge.testing\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
