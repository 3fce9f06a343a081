"""The `plaintext` provider passes the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keyhinge_plaintext
from keyhinge.testing import ProviderConformance


class TestPlaintext(ProviderConformance):
    """It has no settings, so any two sections are the same."""

    provider = keyhinge_plaintext

    def settings(self) -> Mapping[str, Any]:
        """Give an empty block."""
        return {}

    def other_settings(self) -> Mapping[str, Any]:
        """Give another one."""
        return {}
