"""The provider `age` passes the conformance kit, with a file and with the text in place."""

from pathlib import Path

import keyhinge_age
import pytest
from pyrage import x25519

from keyhinge.testing import ProviderConformance

ONE, OTHER, RECOVERY = (x25519.Identity.generate() for _ in range(3))


class TestText(ProviderConformance):
    """The identity stands in the setting, as it does with `${NAME}`."""

    provider = keyhinge_age
    client_libraries = ("pyrage",)

    def settings(self) -> dict[str, object]:
        """Give a section with a recovery key."""
        return {"identity": str(ONE), "recoveryRecipients": [str(RECOVERY.to_public())]}

    def other_settings(self) -> dict[str, object]:
        """Give one with another identity, and the same recovery key."""
        return {"identity": str(OTHER), "recoveryRecipients": [str(RECOVERY.to_public())]}


class TestFile(ProviderConformance):
    """Each section has a file, as `age-keygen` writes it."""

    provider = keyhinge_age
    client_libraries = ("pyrage",)

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path) -> None:
        """Write the files."""
        self.one, self.other = tmp_path / "one.txt", tmp_path / "other.txt"
        for file, identity in ((self.one, ONE), (self.other, OTHER)):
            file.write_text(f"# public key: {identity.to_public()}\n{identity}\n", encoding="utf-8")
            file.chmod(0o600)

    def settings(self) -> dict[str, str]:
        """Name the file."""
        return {"identityFile": str(self.one)}

    def other_settings(self) -> dict[str, str]:
        """Name the other file."""
        return {"identityFile": str(self.other)}
