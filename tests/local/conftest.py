"""Key files and providers for the tests of keyhinge-local."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.local._envelope import open_envelope, settle

from keyhinge import KeyManager
from keyhinge.testing import FakeService
from keyhinge_local import LocalProvider, LocalSettings, keyfile, keyhinge_configure

# Children under another uid can't import from the owner's folders, so all of it comes now.
from keyhinge_local import _check, _sealing  # noqa: F401  # isort: skip

datetime.strptime("2026", "%Y")  # noqa: DTZ007 - imports a module of its own


class FakeSection:
    """A section as core describes it to `keyhinge_configure`."""

    name = "local"
    path = "keyManagement.local"
    environ: Mapping[str, str] = {}

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir

    def over(self, name: str, *, also: Any = (), wraps_keys: bool = False) -> NoReturn:
        raise AssertionError("local composes nothing")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run_as(uid: int, function: Callable[[], Any], gid: int | None = None) -> Any:
    """Call a function in a forked child that is another user; give its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            os.write(writing, pickle.dumps(function()))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    assert answer, "the child failed; its traceback is in the captured stderr"
    return pickle.loads(answer)


@pytest.fixture
def as_user() -> Callable[..., Any]:
    """`run_as`; needs root, as only root can become somebody else."""
    if os.geteuid() != 0:
        pytest.skip("needs root: only root can give files away and become another user")
    return run_as


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    """A new key file with one version."""
    path = tmp_path / "keyhinge.key"
    keyfile.init(path)
    return path


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Callable[..., LocalProvider]]:
    """Configure a provider from settings, as core does; closed afterwards."""
    made: list[LocalProvider] = []

    def make(clock: Clock | None = None, **values: Any) -> LocalProvider:
        provider = keyhinge_configure(LocalSettings(**values), FakeSection(tmp_path))
        if clock is not None:
            provider._keyring._clock = clock
        made.append(provider)
        return provider

    yield make
    for provider in made:
        provider.keyhinge_close()


@pytest.fixture
def provider(configure: Callable[..., LocalProvider], key_path: Path) -> LocalProvider:
    """A provider over a new key file."""
    return configure(keyFile=key_path)


@pytest.fixture
def kms() -> FakeService:
    """A key service in memory."""
    return FakeService()


@pytest.fixture
def open_keys(kms: FakeService) -> Iterator[Callable[..., KeyManager]]:
    """Open `envelope` over `kms`: `open_keys(maxMessages=10)`; or see `open_envelope`."""
    made: list[KeyManager] = []

    def make(services: Mapping[str, FakeService] | None = None, **options: Any) -> KeyManager:
        keys = open_envelope({"kms": kms} if services is None else services, **options)
        made.append(keys)
        return keys

    yield make
    for keys in made:
        keys.close()
    settle()


@pytest.fixture
def plain() -> dict[str, str]:
    """The block of a `plaintext` section."""
    pytest.importorskip("keyhinge_plaintext", reason="keyhinge-local is tried alone here")
    return {"type": "plaintext"}
