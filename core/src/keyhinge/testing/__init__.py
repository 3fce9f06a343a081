"""For authors of providers, a kit of tests; for applications, a key service that obeys.

Needs pytest, and is imported only when asked for.
"""

from keyhinge.testing._case import BrokenRuleError
from keyhinge.testing._configured import conformance_of
from keyhinge.testing._conformance import ProviderConformance
from keyhinge.testing._fake import fake_keys
from keyhinge.testing._fake_service import FakeService
from keyhinge.testing._rules import RULES, Rule
from keyhinge.testing._run import Result, run_conformance

__all__ = [
    "RULES",
    "BrokenRuleError",
    "FakeService",
    "ProviderConformance",
    "Result",
    "Rule",
    "conformance_of",
    "fake_keys",
    "run_conformance",
]
