"""Making and changing key files: in one step, one at a time, and nothing is ever lost."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from keyhinge_local import KeyFileError, _files, keyfile
from keyhinge_local._keyset import MAX_VERSIONS, KeySet


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def labels(info: keyfile.KeySetInfo) -> list[str]:
    """The labels of all versions."""
    return [version.label for version in info.versions]


def folder(path: Path) -> set[str]:
    """The names of everything beside the key file."""
    return {entry.name for entry in path.parent.iterdir()}


class TestInit:
    """A new key file."""

    def test_new(self, tmp_path: Path) -> None:
        """It has one version, which encrypts, and is for its owner alone."""
        path = tmp_path / "a.key"
        info = keyfile.init(path)
        assert info == keyfile.show(path)
        assert info.path == path
        (version,) = info.versions
        assert version.active
        assert version.number == 1
        assert version.label == f"1.{version.fingerprint}" == info.active
        assert timedelta(0) <= datetime.now(timezone.utc) - version.created < timedelta(minutes=1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert folder(path) == {"a.key", "a.key.lock"}
        assert stat.S_IMODE((tmp_path / "a.key.lock").stat().st_mode) == 0o600

    def test_mode_whatever_the_umask(self, tmp_path: Path) -> None:
        """A generous umask makes no generous file."""
        before = os.umask(0)
        try:
            keyfile.init(tmp_path / "a.key")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "a.key.lock").stat().st_mode) == 0o600

    @pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
    def test_never_over_anything(self, tmp_path: Path, kind: str) -> None:
        """What stands there stays, whatever it is."""
        path = tmp_path / "a.key"
        if kind == "file":
            path.write_text("mine")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "elsewhere")
        before = os.lstat(path)
        with pytest.raises(KeyFileError, match="never overwritten") as caught:
            keyfile.init(path)
        assert caught.value.kind == "exists"
        assert os.lstat(path) == before
        assert folder(path) == {"a.key"}

    def test_appears_meanwhile(self, tmp_path: Path) -> None:
        """Even a file that appears after looking is not overwritten."""
        path = tmp_path / "a.key"
        path.write_text("mine")
        with pytest.raises(KeyFileError, match="never overwritten"):
            _files.create(path, b"other")
        assert path.read_text() == "mine"
        assert folder(path) == {"a.key"}

    def test_no_folder(self, tmp_path: Path) -> None:
        """A folder that isn't there is named."""
        with pytest.raises(KeyFileError, match="nowhere doesn't exist") as caught:
            keyfile.init(tmp_path / "nowhere" / "a.key")
        assert caught.value.kind == "missing"

    def test_two_at_once(self, tmp_path: Path) -> None:
        """Of two processes one makes the file, the other is told."""
        script = (
            "import sys\n"
            "from keyhinge_local import keyfile\n"
            "try: print('made', keyfile.init(sys.argv[1]).key_id)\n"
            "except keyfile.KeyFileError as error: print(error.kind, '-')\n"
        )
        path = tmp_path / "a.key"
        started = [run(script, path) for _ in range(3)]
        outputs = [process.communicate()[0].split() for process in started]
        assert sorted(word for word, _ in outputs) == ["exists", "exists", "made"]
        made = next(key_id for word, key_id in outputs if word == "made")
        assert keyfile.show(path).key_id == made


class TestRotateAndActivate:
    """New versions."""

    def test_rotate_only_decrypts(self, key_path: Path) -> None:
        """A new version doesn't encrypt until it is activated."""
        old = keyfile.show(key_path)
        info = keyfile.rotate(key_path)
        assert info == keyfile.show(key_path)
        assert info.key_id == old.key_id
        assert labels(info)[:1] == labels(old)
        assert [version.number for version in info.versions] == [1, 2]
        assert info.active == old.active
        assert keyfile.activate(key_path).active == labels(info)[1]

    def test_rotate_and_activate(self, key_path: Path) -> None:
        """On one host both are one step."""
        info = keyfile.rotate(key_path, activate=True)
        assert info.active == labels(info)[1]

    def test_activate_again(self, key_path: Path) -> None:
        """Doing it again changes nothing, not even the file."""
        keyfile.rotate(key_path)
        first = keyfile.activate(key_path, 2)
        before = key_path.stat()
        assert keyfile.activate(key_path, 2) == first
        assert key_path.stat().st_ino == before.st_ino
        assert key_path.stat().st_mtime_ns == before.st_mtime_ns

    def test_activate_an_old_one(self, key_path: Path) -> None:
        """Back is possible."""
        keyfile.rotate(key_path, activate=True)
        assert keyfile.activate(key_path, 1).active.startswith("1.")

    def test_activate_unknown(self, key_path: Path) -> None:
        """A version that isn't there is refused, and the others are named."""
        keyfile.rotate(key_path)
        before = key_path.read_bytes()
        with pytest.raises(KeyFileError, match="no version 7; it has 1, 2") as caught:
            keyfile.activate(key_path, 7)
        assert caught.value.kind == "refused"
        assert key_path.read_bytes() == before

    @pytest.mark.parametrize("change", [keyfile.rotate, keyfile.activate, keyfile.show])
    def test_missing(self, tmp_path: Path, change: Callable[[Path], Any]) -> None:
        """A missing file is not made by accident, and nothing else is left behind."""
        path = tmp_path / "a.key"
        with pytest.raises(KeyFileError, match="keyhinge local init") as caught:
            change(path)
        assert caught.value.kind == "missing"
        assert folder(path) == set()

    def test_link_stays_a_link(self, key_path: Path, tmp_path: Path) -> None:
        """What a link points to is replaced, not the link."""
        link = tmp_path / "link"
        link.symlink_to(key_path.name)
        info = keyfile.rotate(link)
        assert link.is_symlink()
        assert labels(keyfile.show(key_path)) == labels(info)

    def test_mode_stays(self, key_path: Path) -> None:
        """A group that may read the file still may."""
        key_path.chmod(0o640)
        keyfile.rotate(key_path, allow_group_read=True)
        assert stat.S_IMODE(key_path.stat().st_mode) == 0o640

    def test_group_stays(self, key_path: Path, as_user: Callable[..., Any]) -> None:
        """The group of the file stays, too."""
        os.chown(key_path, -1, 12345)
        keyfile.rotate(key_path)
        assert key_path.stat().st_gid == 12345

    @pytest.mark.parametrize("last", [(999_999,), tuple(range(1, MAX_VERSIONS + 1))])
    def test_no_more_versions(self, tmp_path: Path, last: tuple[int, ...]) -> None:
        """A file that would become unreadable isn't written."""
        now = datetime(2026, 1, 31, tzinfo=timezone.utc)
        key_set = KeySet.generate(now)
        while len(key_set.versions) < len(last):
            key_set = key_set.rotated(now)
        for version, number in zip(key_set.versions, last, strict=True):
            version.number = number
        path = tmp_path / "a.key"
        _files.create(path, key_set.activated(last[-1]).dump().encode())
        before = path.read_bytes()
        with pytest.raises(KeyFileError, match="as many versions as there can be"):
            keyfile.rotate(path)
        assert path.read_bytes() == before

    def test_show_has_no_key(self, key_path: Path) -> None:
        """What is shown holds no key."""
        key = json.loads(key_path.read_text())["versions"][0]["key"]
        assert key not in repr(keyfile.show(key_path))


ROTATE = """
import sys
from keyhinge_local import keyfile
for _ in range(int(sys.argv[2])):
    print(keyfile.rotate(sys.argv[1], activate=True).active, flush=True)
"""


class TestManyWriters:
    """Processes that change one file at the same time, or die while they do."""

    def test_no_version_is_lost(self, key_path: Path) -> None:
        """Each of many concurrent rotations leaves its version."""
        started = [run(ROTATE, key_path, 10) for _ in range(4)]
        outputs = [process.communicate()[0].split() for process in started]
        assert [process.returncode for process in started] == [0] * 4
        made = {label for output in outputs for label in output}
        info = keyfile.show(key_path)
        assert len(made) == 40
        assert made < set(labels(info))
        assert [version.number for version in info.versions] == list(range(1, 42))

    def test_threads(self, key_path: Path) -> None:
        """Threads of one process wait for each other as well."""
        threads = [threading.Thread(target=keyfile.rotate, args=(key_path,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keyfile.show(key_path).versions) == 9

    def test_readers_never_see_half_a_file(self, key_path: Path) -> None:
        """A reader that looks all the time reads a whole file each time."""
        writer = run(ROTATE, key_path, 40)
        reads = 0
        while writer.poll() is None:
            assert keyfile.show(key_path).versions
            reads += 1
        writer.communicate()
        assert reads > 10

    def test_killed_at_any_moment(self, key_path: Path) -> None:
        """After kill -9 the file is whole, and has every version that was told."""
        moment = random.Random(1)
        told: set[str] = set()
        killed = 0
        for _ in range(15):
            writer = run(ROTATE, key_path, 30)
            assert writer.stdout is not None
            told.add(writer.stdout.readline().strip())
            time.sleep(moment.random() * 0.02)
            writer.send_signal(signal.SIGKILL)
            told |= {line for line in writer.communicate()[0].split("\n") if line.count(".") == 1}
            killed += writer.returncode == -signal.SIGKILL
            known = set(labels(keyfile.show(key_path)))
            # A last line may have been cut by the kill.
            assert {label for label in told if len(label.partition(".")[2]) == 8} <= known
        assert killed >= 10
        keyfile.rotate(key_path)
        assert folder(key_path) == {key_path.name, key_path.name + ".lock"}

    def test_leftovers_are_removed(self, key_path: Path) -> None:
        """A temporary file of a killed writer holds keys, and goes at the next change."""
        leftover = key_path.with_name(f".{key_path.name}.{'0' * 16}.tmp")
        stranger = key_path.with_name(".keyhinge.key.tmp")
        leftover.write_text("keys")
        stranger.write_text("not ours")
        keyfile.rotate(key_path)
        assert not leftover.exists()
        assert stranger.exists()

    def test_lock_that_is_held(self, key_path: Path) -> None:
        """Waiting for a lock ends with an error that says so."""
        with (
            _files.locked(key_path),
            pytest.raises(KeyFileError, match=r"another process has held it for 0\.1 s") as caught,
            _files.locked(key_path, seconds=0.1),
        ):
            pass
        assert caught.value.kind == "io"

    def test_lock_that_is_a_link(self, key_path: Path, tmp_path: Path) -> None:
        """A link in place of the lock file isn't followed."""
        lock = key_path.with_name(key_path.name + ".lock")
        lock.unlink()
        lock.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeyFileError, match="opening the lock file failed"):
            keyfile.rotate(key_path)
        assert not (tmp_path / "elsewhere").exists()


class TestFailures:
    """What the operating system refuses."""

    def test_disk_full(self, key_path: Path) -> None:
        """No space: the old file stays, and no temporary file is left."""
        before = key_path.read_bytes()
        script = (
            "import resource, signal, sys\n"
            "from keyhinge_local import keyfile\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
            "try: keyfile.rotate(sys.argv[1])\n"
            "except keyfile.KeyFileError as error: print(error.kind, '|', error)\n"
        )
        output = run(script, key_path).communicate()[0]
        assert output.startswith("io | ")
        assert "writing a file beside it failed: File too large" in output
        assert key_path.read_bytes() == before
        assert folder(key_path) == {key_path.name, key_path.name + ".lock"}

    def test_errors_chain_nothing(self, key_path: Path) -> None:
        """Errors of the operating system aren't chained."""
        key_path.with_name(key_path.name + ".lock").unlink()
        key_path.with_name(key_path.name + ".lock").mkdir()
        with pytest.raises(KeyFileError, match="Is a directory") as caught:
            keyfile.rotate(key_path)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
