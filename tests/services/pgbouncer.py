"""PgBouncer in transaction mode, if the machine has it: it isn't in any Python package."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa
from tests.services.ports import free_port, wait_until

__all__ = ["Bouncer", "binary", "bouncer_before"]

_CONFIG = """
[databases]
* = host={host} port={server_port} user={user}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
admin_users = admin
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
server_round_robin = 1
logfile = {folder}/pgbouncer.log
"""


def binary() -> str | None:
    """Give the path of the program; None if it isn't installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class Bouncer:
    """One of them.

    Attributes:
        url: SQLAlchemy's URL of the database through it.
    """

    def __init__(self, url: str, folder: Path, connections: int) -> None:
        server = sa.make_url(url)
        host = server.query.get("host") or server.host
        assert isinstance(host, str)
        self._port = free_port()
        self._folder = folder
        config = folder / "pgbouncer.ini"
        config.write_text(
            _CONFIG.format(
                host=host,
                server_port=server.port or 5432,
                user=server.username or "postgres",
                password=f" password={server.password}" if server.password else "",
                port=self._port,
                connections=connections,
                folder=folder,
            )
        )
        program = binary()
        assert program is not None
        self._command = [program, str(config)]
        if os.getuid() == 0:
            # It doesn't run as root, and the server's socket is open to the server's user alone.
            user = Path(host).owner() if host.startswith("/") else "nobody"
            shutil.chown(folder, user)
            self._command += ["--user", user]
        self.url = server.set(
            host="127.0.0.1", port=self._port, query={}, username=server.username or "postgres"
        ).render_as_string(hide_password=False)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        wait_until(self._answers, 20, self._process)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)

    def connections(self) -> int:
        """Count its connections to the database's server."""
        with closing(self._console()) as console:
            return len(console.execute("SHOW SERVERS").fetchall())

    def _console(self) -> psycopg.Connection:
        name = f"host=127.0.0.1 port={self._port} user=admin dbname=pgbouncer"
        return psycopg.connect(name, autocommit=True, prepare_threshold=None)

    def _answers(self) -> bool:
        try:
            self._console().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def bouncer_before(url: str, folder: Path, *, connections: int) -> Iterator[Bouncer]:
    """Put one before a database, with so few connections to it."""
    bouncer = Bouncer(url, folder, connections)
    try:
        yield bouncer
    finally:
        bouncer.kill()
