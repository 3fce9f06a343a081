"""What makes a case of the kit out of a method: the rule that it checks, and a bound in time."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest

from keyhinge import KeyhingeError, ProviderContractError
from keyhinge.testing._rules import RULES, Rule

__all__ = ["BrokenRuleError", "bounded", "checks", "expect", "refused", "skip"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
F = TypeVar("F", bound=Callable[..., None])

BLOCKS = "R27"
BARE = "test_hooks_return_what_they_promise"


class BrokenRuleError(AssertionError):
    """A provider breaks a rule of the contract.

    Attributes:
        rule: The rule.
        what: What happened.
    """

    __module__ = "keyhinge.testing"  # as pytest shows it

    def __init__(self, rule: str, what: str) -> None:
        self.rule: Rule = RULES[rule]
        self.what = what.rstrip(".")
        super().__init__(f"{self.what}. This breaks {self.rule} See {self.rule.link}")


def checks(rule: str) -> Callable[[F], F]:
    """Say which rule a case checks; whatever goes wrong in it breaks that rule.

    The case runs in a thread of its own, so that a hook that never comes back fails it, too.
    """
    RULES[rule]  # an author's slip in a number is found on import

    def decorate(case: F) -> F:
        @functools.wraps(case)
        def run(self: Any, *args: Any, **fixtures: Any) -> None:
            __tracebackhide__ = True
            try:
                bounded(partial(case, self, *args, **fixtures), self.timeout)
            except (BrokenRuleError, NotImplementedError):
                raise
            except (Exception, pytest.fail.Exception) as failure:
                raise BrokenRuleError(rule, described(failure)) from failure

        run.keyhinge_rule = rule  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


def bounded(work: Callable[[], T], seconds: float) -> T:
    """Run something in a thread and wait for it, but not for ever.

    Raises:
        BrokenRuleError: It didn't come back in time. Its thread is left behind.
    """
    __tracebackhide__ = True
    answers: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised again by the caller
            failures.append(failure)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not answers:
        raise BrokenRuleError(BLOCKS, f"it didn't come back within {seconds:g} s")
    return answers[0]


def described(failure: BaseException) -> str:
    """Say in words what a case ran into; nothing secret."""
    kind = type(failure).__name__
    if isinstance(failure, AssertionError | pytest.fail.Exception) and str(failure):
        return str(failure)
    # A stranger's exception may say anything. pytest shows it as the cause of ours.
    text = str(failure) if isinstance(failure, KeyhingeError | NotImplementedError) else ""
    if isinstance(failure, ProviderContractError) and failure.failure and failure.failure.type:
        # Core lets go of what a hook raised, with its traceback. That case calls the hooks bare.
        text = f"{text.rstrip('.')}. To see where, run {BARE} alone"
    return f"{kind}: {text}" if text else kind


def expect(condition: bool, otherwise: str) -> None:
    """Fail with a sentence unless something holds. Unlike `assert`, `python -O` leaves it in."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(otherwise)


def refused(call: Callable[[], object], kinds: type[E] | tuple[type[E], ...], what: str) -> E:
    """Expect a call to raise an error of a kind; give that error."""
    __tracebackhide__ = True
    try:
        call()
    except kinds as failure:
        return failure
    raise AssertionError(what)


def skip(reason: str) -> None:
    """Leave a case out."""
    __tracebackhide__ = True
    pytest.skip(reason)
