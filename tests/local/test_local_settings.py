"""Settings, importing and configuring: all of it before any key is touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyhinge import EncryptedValue, InvalidSettings, KeyUnavailableError, Secret
from keyhinge_local import LocalProvider, LocalSettings, keyfile

Configure = Callable[..., LocalProvider]


class TestSettings:
    """Exactly one of `keyFile` and `key`."""

    def test_neither(self) -> None:
        """Nothing at all says how to make a key file."""
        with pytest.raises(InvalidSettings) as caught:
            LocalSettings()
        assert "keyhinge local init" in caught.value.messages["keyFile"]

    def test_both(self) -> None:
        """Two sources are one too many."""
        with pytest.raises(InvalidSettings) as caught:
            LocalSettings(keyFile=Path("x"), key=Secret("y"))
        assert list(caught.value.messages) == ["key"]

    def test_group_read_of_no_file(self) -> None:
        """A setting that means nothing is refused."""
        with pytest.raises(InvalidSettings) as caught:
            LocalSettings(key=Secret("y"), allowGroupRead=True)
        assert list(caught.value.messages) == ["allowGroupRead"]

    def test_repr(self) -> None:
        """The key isn't shown."""
        assert "geheim" not in repr(LocalSettings(key=Secret("geheim")))


class TestKeyInConfiguration:
    """The file's content as a setting."""

    def test_same_as_the_file(self, configure: Configure, key_path: Path, clock: Any) -> None:
        """It opens what the file encrypted, and never looks for changes."""
        sealed = configure(keyFile=key_path).keyhinge_encrypt(b"x", {})
        provider = configure(clock, key=Secret(key_path.read_text()))
        assert (
            provider.keyhinge_decrypt(EncryptedValue("local", *sealed[1:], sealed[0]), {}) == b"x"
        )
        clock.now += 1e9
        assert provider.keyhinge_encrypt_nowait(b"x", {}) is not None

    @pytest.mark.parametrize("text", ["", "geheim", "{}", "\u00e4\u00f6"])
    def test_malformed(self, configure: Configure, text: str) -> None:
        """What isn't a key set is named by its setting, and not shown."""
        provider = configure(key=Secret(text))
        with pytest.raises(KeyUnavailableError, match=r"keyManagement\.local\.key: not") as caught:
            provider.keyhinge_encrypt(b"x", {})
        assert "geheim" not in str(caught.value)


LIGHT = """
import sys
from pathlib import Path
import keyhinge_local as local
class Section:
    name, path, base_dir = "local", "keyManagement.local", Path(sys.argv[1])
provider = local.keyhinge_configure(local.LocalSettings(keyFile=Path("keyhinge.key")), Section)
provider.capabilities, repr(provider)
loaded = sorted(name for name in sys.modules if name.split(".")[0] in {"cryptography", "asyncio"})
assert loaded == [], loaded
local.keyfile = __import__("keyhinge_local.keyfile").keyfile
local.keyfile.init(sys.argv[1] + "/keyhinge.key")
local.keyfile.rotate(sys.argv[1] + "/keyhinge.key")
assert "cryptography" not in sys.modules
provider.keyhinge_encrypt(b"x", {})
assert "cryptography" in sys.modules
"""


class TestPurity:
    """Importing, configuring, and even making key files."""

    def test_no_cryptography_before_it_is_needed(self, tmp_path: Path) -> None:
        """The first operation imports it."""
        command = [sys.executable, "-W", "error", "-c", LIGHT, str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")

    def test_configure_reads_nothing(self, configure: Configure, tmp_path: Path) -> None:
        """A file that isn't there is no error yet, and can be configured twice."""
        for _ in range(2):
            assert configure(keyFile=tmp_path / "nowhere" / "a.key").capabilities.encrypts

    def test_check_before_first_use(self, configure: Configure, key_path: Path) -> None:
        """A check needs no operation before it."""
        assert configure(keyFile=key_path).keyhinge_check().ok

    def test_module(self) -> None:
        """What core looks for is there."""
        import keyhinge_local as module

        assert module.keyhinge_api == 1
        assert module.keyhinge_settings is LocalSettings
        assert callable(module.keyhinge_configure)
        assert keyfile.__all__
