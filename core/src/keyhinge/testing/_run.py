"""Running the kit's cases without pytest's command, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import attrs
import pytest

from keyhinge import KeyManager
from keyhinge.testing._base import parameters_of
from keyhinge.testing._case import BrokenRuleError, described
from keyhinge.testing._conformance import ProviderConformance
from keyhinge.testing._rules import RULES

__all__ = ["Result", "cases_of", "run_conformance"]


@attrs.frozen
class Result:
    """What came of one case.

    Attributes:
        case: The case's name, as in `test_round_trip`.
        rule: The id of the rule that it checks, or of the one that was found broken.
        outcome: Whether the provider passed.
        message: What went wrong, or why the case was left out; nothing secret.
    """

    case: str
    rule: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""

    @property
    def link(self) -> str:
        """Where the rule is written down."""
        return RULES[self.rule].link


def cases_of(cls: type[ProviderConformance]) -> dict[str, Callable[..., None]]:
    """Give the cases of a class by name, in the order of the kit."""
    found: dict[str, Callable[..., None]] = {}
    for base in cls.__mro__:
        for name in vars(base):
            case = getattr(cls, name)
            if name.startswith("test_") and hasattr(case, "keyhinge_rule"):
                found.setdefault(name, case)
    return found


def run_conformance(
    cls: type[ProviderConformance], *, only: Collection[str] | None = None
) -> Iterator[Result]:
    """Run the cases of a conformance class, and tell each as soon as it is done.

    Args:
        cls: A subclass of `ProviderConformance`. Fixtures of its own aren't run: pytest does that.
        only: The names of the cases to run; all if None.

    Yields:
        A result for each case.
    """
    for name, case in cases_of(cls).items():
        if only is None or name in only:
            yield _run(cls, name, case)


def _run(cls: type[ProviderConformance], name: str, case: Any) -> Result:
    rule: str = case.keyhinge_rule
    bench = cls()
    opened: list[KeyManager] = []
    try:
        with ExitStack() as stack:
            case(bench, **_fixtures(bench, case, stack, opened))
    except pytest.skip.Exception as skipped:
        return Result(name, rule, "skipped", str(skipped.msg))
    except BrokenRuleError as failure:
        rule, what = failure.rule.id, failure.what
    except Exception as failure:  # noqa: BLE001 - settings that are wrong, say
        what = described(failure)
    else:
        return Result(name, rule, "passed")
    # What a wrong provider's errors say can hold anything.
    for keys in opened:
        what = bench._redacted(keys, what)
    return Result(name, rule, "failed", what)


def _fixtures(
    bench: ProviderConformance, case: Any, stack: ExitStack, opened: list[KeyManager]
) -> dict[str, object]:
    wanted = parameters_of(case)
    if not wanted:
        return {}
    keys: KeyManager = stack.enter_context(bench._opened())  # noqa: SLF001 - of the same kit
    opened.append(keys)
    have: dict[str, Callable[[], object]] = {
        "keys": lambda: keys,
        "capabilities": keys.capabilities,
        "plaintext": lambda: bench._plaintext(keys),  # noqa: SLF001
    }
    return {name: have[name]() for name in wanted}
