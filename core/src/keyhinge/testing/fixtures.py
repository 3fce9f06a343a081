"""pytest fixtures over a key service in memory, active only where they are asked for.

In a project's `conftest.py`:

    pytest_plugins = ["keyhinge.testing.fixtures"]
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keyhinge import KeyManager
from keyhinge.testing._fake import fake_keys
from keyhinge.testing._fake_service import FakeService

__all__ = ["keyhinge_keys", "keyhinge_service"]


@pytest.fixture
def keyhinge_service() -> FakeService:
    """A key service in memory: tell it to fail, to be slow, to lose its key."""
    return FakeService()


@pytest.fixture
def keyhinge_keys(keyhinge_service: FakeService) -> Iterator[KeyManager]:
    """A `KeyManager` over `keyhinge_service`, closed after the test."""
    with fake_keys(keyhinge_service) as keys:
        yield keys
