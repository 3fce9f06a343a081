"""The `envelope` provider passes the conformance kit over `local`; over others, see integration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from keyhinge.testing import ProviderConformance
from keyhinge_local import envelope, keyfile


class TestOverLocal(ProviderConformance):
    """Data keys that a key file wraps."""

    provider = envelope
    client_libraries = ("cryptography",)
    more: Mapping[str, Any] = {}

    @pytest.fixture(autouse=True)
    def key_files(self, tmp_path: Path) -> None:
        """Make a key file for each of two sections below."""
        self.below = {}
        for name in ("below", "other"):
            keyfile.init(tmp_path / name)
            self.below[name] = {"type": "local", "keyFile": str(tmp_path / name)}

    def settings(self) -> Mapping[str, Any]:
        """Name the section below."""
        return {"over": "below", **self.more}

    def other_settings(self) -> Mapping[str, Any]:
        """Name the other one."""
        return {"over": "other", **self.more}

    def wrong_settings(self) -> Sequence[Mapping[str, Any]]:
        """Give some that can't be right."""
        return [
            {**self.settings(), "maxAge": "soon"},
            {**self.settings(), "partitionBy": ["account", "Account"]},
        ]

    def other_sections(self) -> Mapping[str, Mapping[str, Any]]:
        """Give both."""
        return self.below


class TestFewMessages(TestOverLocal):
    """A new data key every few values."""

    more: Mapping[str, Any] = {"maxMessages": 3}


class TestFewKeys(TestOverLocal):
    """Room for one data key."""

    more: Mapping[str, Any] = {"maxKeys": 1}
