"""For authors of providers: a kit of tests that tells whether a provider is right.

Needs pytest, and is imported only when asked for.
"""

import pytest

# Without this, a failing assertion in the kit would show nothing but "AssertionError".
pytest.register_assert_rewrite("keyhinge.testing._conformance", "keyhinge.testing._support")

from keyhinge.testing._conformance import ProviderConformance  # noqa: E402

__all__ = ["ProviderConformance"]
