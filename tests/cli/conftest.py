"""The command in this process and as a program of its own, and folders to run it in."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyhinge_cli._main import run as run_command

SCRIPT = Path(sys.executable).with_name("keyhinge")


@dataclass(frozen=True)
class Done:
    """What a command wrote, and how it ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8")

    @property
    def events(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Standard error as JSON lines."""
        return [json.loads(line) for line in self.err.splitlines()]


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current folder, no variable of ours, and logging as it was afterwards."""
    for name in [name for name in os.environ if name.startswith("KEYHINGE_")]:
        if not name.startswith("KEYHINGE_TEST"):
            monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    log = logging.getLogger("keyhinge")
    before = log.handlers[:], log.propagate
    yield
    log.handlers[:], log.propagate = before


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process: `run("check", stdin=b"")`."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Done:
        out_bytes, err_bytes = io.BytesIO(), io.BytesIO()
        out, err = io.TextIOWrapper(out_bytes, "utf-8"), io.TextIOWrapper(err_bytes, "utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = run_command([str(each) for each in arguments])
        out.flush()
        err.flush()
        return Done(code, out_bytes.getvalue(), err_bytes.getvalue().decode("utf-8"))

    return run


@pytest.fixture
def script() -> Path:
    """The installed program."""
    return SCRIPT


@pytest.fixture
def program() -> Run:
    """Runs the installed program: `program("check", stdin=b"", env={"X": "1"})`."""

    def program(
        *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> Done:
        done = subprocess.run(
            [SCRIPT, *arguments],
            input=stdin,
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode("utf-8"))

    return program


@pytest.fixture
def python() -> Run:
    """Runs a program text in a new interpreter."""

    def python(text: str, *arguments: str, env: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text, *arguments],
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode("utf-8"))

    return python


class Project:
    """A folder made by `keyhinge init`, which is the current one."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.key = folder / "keyhinge.key"
        self.database = folder / "secrets.db"
        self._run = run

    def put(self, value: bytes, account: str = "acct_1", kind: str = "token") -> str:
        """Store a secret; give its id."""
        done = self._run("secrets", "put", "--account", account, "--kind", kind, stdin=value)
        assert done.code == 0, done.err
        return done.text.strip()

    def sections(self, primary: str, text: str, store: str = "") -> None:
        """Write another configuration: its primary section, and sections as YAML."""
        head = f"keyManagement:\n  provider: {primary}\n"
        place = store or "store:\n  url: sqlite:///secrets.db\n"
        self.config.write_text(head + text + place, encoding="utf-8")

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement in the database."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(statement, values).fetchall()


@pytest.fixture
def project(run: Run, tmp_path: Path) -> Project:
    """A configuration, a key file and an empty store."""
    done = run("init")
    assert done.code == 0, done.err
    return Project(run, tmp_path / "work")


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Makes an installed package with a provider, in a folder for `PYTHONPATH`.

    `install("name", source, distribution="their-package", version="1.0")`
    """

    def install(
        name: str, source: str, *, distribution: str = "their-package", version: str = "1.0"
    ) -> Path:
        folder = tmp_path / "site"
        module = f"{distribution.replace('-', '_')}_module"
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[keyhinge.providers]\n{name} = {module}\n", encoding="utf-8"
        )
        return folder

    return install


# A provider that knows what ends when, and what matters for which purpose: what `findings` in its
# settings says, as JSON. It counts what it encrypts in a file beside the configuration.
FINDER = """
import json
from pathlib import Path
from keyhinge import (
    Capabilities, CheckReport, Finding, Provider, Sealed, hookimpl, setting, settings,
)

@settings
class FinderSettings:
    findings: str = setting(default="[]", help="What check finds.")

class FinderProvider(Provider):
    capabilities = Capabilities(encrypts=False, binds_context=False)

    def __init__(self, findings, folder):
        self.findings = findings
        self.log = folder / "encrypted.log"

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        with self.log.open("a") as log:
            log.write("x")
        return Sealed(plaintext, "key", "1")

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        return value.ciphertext

    @hookimpl
    def keyhinge_check(self):
        return CheckReport(
            Finding(**{**each, "purposes": tuple(each.get("purposes", ["app", "read", "migrate"]))})
            for each in json.loads(self.findings)
        )

keyhinge_api = 1
keyhinge_settings = FinderSettings

@hookimpl
def keyhinge_configure(settings, section):
    return FinderProvider(settings.findings, section.base_dir)
"""


@pytest.fixture
def finder(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a provider `finder` installed, whose setting `findings` is what its check finds."""
    monkeypatch.syspath_prepend(install("finder", FINDER))


# A provider whose key service can be made slow, or to fail, by variables of the environment.
SERVICE = """
import os, time
from keyhinge import (
    Capabilities, InvalidCiphertextError, Provider, Sealed, ThrottledError,
    UnavailableError, encode_context, hookimpl, settings,
)

@settings
class ServiceSettings:
    pass

class ServiceProvider(Provider):
    capabilities = Capabilities(encrypts=True, binds_context=True)

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        if os.environ.get("SERVICE_THROTTLES"):
            raise ThrottledError("the service asks for fewer requests; try again later")
        if os.environ.get("SERVICE_SAYS"):
            os.write(2, b"encrypting\\n")
        time.sleep(float(os.environ.get("SERVICE_SECONDS", "0")))
        bound = encode_context(context)
        mixed = bytes(byte ^ 0x5A for byte in plaintext)
        return Sealed(len(bound).to_bytes(2, "big") + bound + mixed, "key", "1")

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        if os.environ.get("SERVICE_DOWN"):
            raise UnavailableError("the service doesn't answer; try again later")
        size = int.from_bytes(value.ciphertext[:2], "big") + 2
        if value.ciphertext[2:size] != encode_context(context):
            raise InvalidCiphertextError
        return bytes(byte ^ 0x5A for byte in value.ciphertext[size:])

keyhinge_api = 1
keyhinge_settings = ServiceSettings

@hookimpl
def keyhinge_configure(settings, section):
    return ServiceProvider()
"""


@pytest.fixture
def service(install: Install) -> dict[str, str]:
    """The environment in which a provider `service` is installed."""
    return {"PYTHONPATH": str(install("service", SERVICE))}


class Running:
    """The installed program while it runs; its standard error goes to a pipe that is read last."""

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [SCRIPT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
        )

    def line(self) -> str:
        """Wait for the next line of standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode("utf-8")

    def error_line(self) -> str:
        """Wait for the next line of standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode("utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> Done:
        """Wait for the end, and give what was written and not read yet."""
        out, err = self.process.communicate(timeout=30)
        return Done(self.process.returncode, out, err.decode("utf-8"))


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts the installed program: `start("migrate", env={…})`."""
    started: list[Running] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Running:
        started.append(Running(arguments, env or {}))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()
