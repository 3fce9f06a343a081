"""A folder with distributions, as site-packages is one, and a process that finds them there."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

GOOD = """
from keyhinge import Capabilities, Provider, Sealed, hookimpl, settings

keyhinge_api = 1

@settings
class keyhinge_settings: pass

class Toy(Provider):
    capabilities = Capabilities(encrypts=True, binds_context=True)
    @hookimpl
    def keyhinge_encrypt(self, plaintext, context): return Sealed(b"t" + plaintext)
    @hookimpl
    def keyhinge_decrypt(self, value, context): return value.ciphertext[1:]

@hookimpl
def keyhinge_configure(settings, section): return Toy()
"""
ROUND_TRIP = """
keys = KeyManager.open(config)
value = keys.encrypt(b"x", context={})
assert keys.decrypt(value, context={}) == b"x"
keys.close()
"""


class Site:
    """A folder with distributions, as site-packages is one."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def install(self, name, code, *, distribution=None, version="1.2", target=None, entries=None):
        """Put a package with one entry point there."""
        distribution = distribution or f"keyhinge-{name}"
        package = distribution.replace("-", "_")
        (self.folder / f"{package}.py").write_text(code)
        info = self.folder / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = entries or f"[keyhinge.providers]\n{name} = {target or package}\n"
        (info / "entry_points.txt").write_text(lines)
        return info

    def run(self, code, *sections, provider=None, **blocks):
        """Run code with this folder on the path; it has `config` and `KeyManager`."""
        keys = {name: {} for name in sections} | blocks
        config = {"keyManagement": {"provider": provider or sections[0], **keys}}
        program = (
            f"import sys; sys.path.insert(0, {str(self.folder)!r})\n"
            "import logging, json; logging.basicConfig(format='%(message)s')\n"
            "import keyhinge\nfrom keyhinge import *\n"
            f"config = json.loads({json.dumps(config)!r})\n" + textwrap.dedent(code)
        )
        done = subprocess.run(
            [sys.executable, "-I", "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env={},
        )
        assert done.returncode == 0, done.stderr
        return done
