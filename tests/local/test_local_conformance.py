"""The `local` provider passes the conformance kit, with a file and with a key in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import keyhinge_local
from keyhinge.testing import ProviderConformance
from keyhinge_local import keyfile


class TestKeyFile(ProviderConformance):
    """A section with `keyFile`."""

    provider = keyhinge_local
    client_libraries = ("cryptography",)

    @pytest.fixture(autouse=True)
    def key_files(self, tmp_path: Path) -> None:
        """Make a key file for each of two sections."""
        self.one, self.other = tmp_path / "one.key", tmp_path / "other.key"
        keyfile.init(self.one)
        keyfile.init(self.other)

    def settings(self) -> Mapping[str, Any]:
        """Name the file."""
        return {"keyFile": str(self.one)}

    def other_settings(self) -> Mapping[str, Any]:
        """Name another one."""
        return {"keyFile": str(self.other)}


class TestKeyInPlace(TestKeyFile):
    """A section with `key`."""

    def settings(self) -> Mapping[str, Any]:
        """Give the file's content."""
        return {"key": self.one.read_text()}

    def other_settings(self) -> Mapping[str, Any]:
        """Give another one's."""
        return {"key": self.other.read_text()}
