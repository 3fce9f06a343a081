"""The conformance kit finds each fault of the wrong providers, and none in the right one."""

from __future__ import annotations

import importlib
import subprocess
import sys
from email.message import Message

import pytest
from tests.core.wrong_providers._right import WRONG, Module, Right, conformance

from keyhinge import hookimpl
from keyhinge.testing import RULES, run_conformance
from keyhinge.testing.__main__ import main as explain
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


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("TakesAnySettings", "block 1 of wrong_settings is taken"),
        ("ShowsWrongSettings", "the error for block 1 of wrong_settings shows the value of keyID"),
    ],
)
def test_it_says_what_is_wrong_with_settings(name, what):
    (found,) = [each for each in WRONG if each.name == name]
    (result,) = run_conformance(found.conformance, only={found.case})
    assert result.message == what


def test_it_says_that_the_order_of_a_contexts_keys_matters():
    class WritesTheContextDown(Right):
        def bound(self, context):
            return repr(dict(context)).encode()

    kit = conformance(Module(WritesTheContextDown))
    (result,) = run_conformance(kit, only={"test_value_opens_only_under_its_context"})
    assert result.message == "a value doesn't open where the context's keys have another order"


def test_it_says_where_to_see_an_authors_own_slip():
    class Slips(Right):
        @hookimpl
        def keyhinge_rewrap_many(self, items):
            return dict[str, list[object]]()["no_such_name"]

    kit = conformance(Module(Slips))
    case = "test_hooks_return_what_they_promise"
    (result,) = run_conformance(kit, only={"test_rewrapped_batches_keep_order"})
    assert result.message.endswith(f"To see where, run {case} alone")
    bench = kit()
    with bench._opened() as keys, pytest.raises(AssertionError) as raised:
        getattr(bench, case)(keys, b"x")
    assert "no_such_name" in str(raised.value.__cause__)


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
    assert str(failure.value).endswith("See python -m keyhinge.testing R10")


def test_a_failures_link_can_be_followed_where_nothing_but_core_is():
    _, _, arguments = RULES["R10"].link.partition("python ")
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments.split()],
        check=True,
        capture_output=True,
        text=True,
    )
    text = " ".join(done.stdout.split())
    for part in (str(RULES["R10"]), RULES["R10"].reason, RULES["R10"].remedy):
        assert part in text
    assert "test_value_opens_only_under_its_context" in text
    assert done.stderr == ""


def test_rules_can_be_looked_up(capsys):
    assert explain(["r5", "R7"]) == 0
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if line[0:1] == "R"] == ["R5", "R7"]
    assert explain([]) == 0
    assert capsys.readouterr().out.count("What to do:") == len(RULES)
    assert explain(["R5", "R0"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"R1 to {[*RULES][-1]}" in shown.err


def test_documentation_on_the_web_is_named_where_there_is_any(monkeypatch):
    known = Message()
    known["Project-URL"] = "Source, https://example.org/source"
    known["Project-URL"] = "Documentation, https://example.org/docs/"
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: known)
    assert RULES["R10"].link == "https://example.org/docs/reference/hooks.html#r10"


def test_the_kit_is_imported_only_when_asked_for():
    program = (
        "import sys, keyhinge\n"
        "found = {'pytest', '_pytest', 'keyhinge.testing'} & set(sys.modules)\n"
        "assert not found, found\n"
        "import keyhinge.testing\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
