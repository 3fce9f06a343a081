"""Servers for pages whose examples need one: ``<!-- services: moto, openbao -->``.

Each page has servers of its own, started before its first example and gone behind its last one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the servers are those of the tests
REGION = "eu-central-1"
ACCOUNT = "111122223333"
# Names that stand in pages for the server of the page's own.
OPENBAO_PLACES = (
    "https://openbao.example.com:8200",
    "https://vault.example.com:8200",
    "http://127.0.0.1:8200",  # where `bao server -dev` listens
)


class Services:
    """The running servers of one page.

    Attributes:
        environ: Variables that the page's examples see.
        places: Addresses in the page, and those that take their place when an example runs.
    """

    def __init__(self, programs: Path) -> None:
        self.environ: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self._programs = programs  # a folder of commands that are made for the page
        self._running = ExitStack()

    def start(self, name: str) -> None:
        """Start a server by its name in the mark."""
        starters: dict[str, Callable[[], None]] = {"moto": self._moto, "openbao": self._openbao}
        if name not in starters:
            msg = f"no service is called {name!r}; there are {', '.join(starters)}"
            raise LookupError(msg)
        starters[name]()

    def stop(self) -> None:
        """Stop all servers."""
        self._running.close()

    def _moto(self) -> None:
        from tests.services.moto import ACCESS_KEY, SECRET_KEY, Moto

        server = Moto(strict=True, account=ACCOUNT)
        self._running.callback(server.stop)
        server.start()
        self.environ |= {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,  # the name that boto3 knows
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        script = f'exec "{sys.executable}" -W ignore "{ROOT / "dev/aws_command.py"}" "$@"'
        self._command("aws", script)

    def _openbao(self) -> None:
        from tests.services.openbao import binary, dev_server

        server = self._running.enter_context(dev_server())
        # For the servers' own command line. Keyhinge reads these variables, too.
        for name in ("BAO", "VAULT"):
            self.environ |= {f"{name}_ADDR": server.url, f"{name}_TOKEN": server.root}
        self.places |= dict.fromkeys(OPENBAO_PLACES, server.url)
        for name in ("bao", "vault"):  # the two command lines are the same for what pages show
            self._command(name, f'exec "{binary()}" "$@"')

    def _command(self, name: str, script: str) -> None:
        self._programs.mkdir(exist_ok=True)
        file = self._programs / name
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)
