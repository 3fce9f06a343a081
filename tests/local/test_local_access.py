"""Who may own, read and change a key file, tried with real users."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyhinge import AccessDeniedError
from keyhinge_local import KeyFileError, LocalProvider, keyfile

AsUser = Callable[..., Any]
STRANGER = 12345


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter (pytest's own are for their owner alone)."""
    folder = Path(tempfile.mkdtemp(prefix="keyhinge-access-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def path(public: Path) -> Path:
    """A key file in a folder that every user can enter."""
    keyfile.init(public / "a.key")
    return public / "a.key"


def outcome(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str]:
    """Call a function; give the error's kind and message, or "ok"."""
    try:
        function(*arguments, **options)
    except KeyFileError as error:
        chained = "" if error.__context__ is None else " CHAINED"
        return error.kind + chained, str(error)
    return "ok", ""


class TestMode:
    """Which modes are taken."""

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o500])
    def test_owner_alone(self, key_path: Path, mode: int) -> None:
        """The owner's own rights don't matter."""
        key_path.chmod(mode)
        assert outcome(keyfile.show, key_path) == ("ok", "")

    @pytest.mark.parametrize("mode", [0o640, 0o440, 0o650])
    def test_group_read(self, key_path: Path, mode: int) -> None:
        """The group may read only where that is allowed."""
        key_path.chmod(mode)
        kind, message = outcome(keyfile.show, key_path)
        assert kind == "denied"
        assert "allowGroupRead isn't set" in message
        assert f"mode {mode:04o}" in message
        assert f"chmod 0600 {key_path}" in message
        assert outcome(keyfile.show, key_path, allow_group_read=True) == ("ok", "")

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o620, 0o660, 0o666, 0o777])
    @pytest.mark.parametrize("allow_group_read", [False, True])
    def test_never(self, key_path: Path, mode: int, allow_group_read: bool) -> None:
        """The world has no access, and the group can't write."""
        key_path.chmod(mode)
        kind, message = outcome(keyfile.show, key_path, allow_group_read=allow_group_read)
        assert kind == "denied"
        assert "others than its owner can get at it" in message
        assert f"mode {mode:04o}; this process: uid {os.geteuid()}" in message
        assert f"chmod {'0640' if allow_group_read else '0600'} {key_path}" in message

    @pytest.mark.parametrize("change", [keyfile.rotate, keyfile.activate])
    def test_nothing_is_changed(self, key_path: Path, change: Callable[[Path], Any]) -> None:
        """A file that others can read is not changed either."""
        before = key_path.read_bytes()
        key_path.chmod(0o644)
        assert outcome(change, key_path)[0] == "denied"
        assert key_path.read_bytes() == before

    def test_quoted(self, tmp_path: Path) -> None:
        """The command that mends it works for any name."""
        path = tmp_path / "a key; rm -rf x"
        keyfile.init(path)
        path.chmod(0o644)
        _, message = outcome(keyfile.show, path)
        command = message.partition("To mend it: ")[2]
        assert os.system(command) == 0
        assert outcome(keyfile.show, path) == ("ok", "")


class TestKind:
    """What isn't a regular file."""

    def test_pipe(self, tmp_path: Path) -> None:
        """A named pipe is refused and not waited for."""
        os.mkfifo(tmp_path / "a.key", 0o600)
        assert "isn't a regular file" in outcome(keyfile.show, tmp_path / "a.key")[1]

    def test_folder(self, tmp_path: Path) -> None:
        """A folder is refused."""
        assert "isn't a regular file" in outcome(keyfile.show, tmp_path)[1]

    @pytest.mark.parametrize("name", ["a.key", "b/a.key", "a\0.key"])
    def test_missing(self, tmp_path: Path, name: str) -> None:
        """No file, no folder, and a name that can't be one."""
        kind, message = outcome(keyfile.show, tmp_path / name)
        assert kind == "missing"
        assert "put its backup here" in message

    def test_loop(self, tmp_path: Path) -> None:
        """Links that go round end with the system's word for it."""
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        kind, message = outcome(keyfile.show, tmp_path / "a")
        assert kind == "io"
        assert "symbolic links" in message

    def test_too_large(self, key_path: Path) -> None:
        """A file larger than any key set isn't read to its end."""
        with key_path.open("a") as file:
            file.truncate(1 << 30)
        kind, message = outcome(keyfile.show, key_path)
        assert kind == "malformed"
        assert "larger than" in message

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80" * 50, b""])
    def test_no_text(self, key_path: Path, content: bytes) -> None:
        """Bytes that aren't text are refused like any other content."""
        key_path.write_bytes(content)
        assert outcome(keyfile.show, key_path)[0] == "malformed"


class TestOwner:
    """Files of other users."""

    def test_stranger_owns_it(self, path: Path, as_user: AsUser) -> None:
        """Whoever owns the file could change the keys: not even root takes a stranger's."""
        os.chown(path, STRANGER, STRANGER)
        kind, message = outcome(keyfile.show, path)
        assert kind == "denied"
        assert f"Owner: uid {STRANGER}, group {STRANGER}, mode 0600" in message
        assert "this process: uid 0" in message
        assert "change nothing and run this as that user" in message
        assert f"chown 0 {path}" in message

    def test_own(self, path: Path, as_user: AsUser) -> None:
        """A user's own file is taken."""
        os.chown(path, STRANGER, STRANGER)
        assert as_user(STRANGER, lambda: outcome(keyfile.show, path)) == ("ok", "")

    def test_unreadable(self, path: Path, as_user: AsUser) -> None:
        """What the system refuses says owner, mode, who we are and how to mend it."""
        kind, message = as_user(STRANGER, lambda: outcome(keyfile.show, path))
        assert kind == "denied"
        assert "can't be read. Owner: uid 0" in message
        assert f"mode 0600; this process: uid {STRANGER}" in message
        assert f"chown {STRANGER} {path} && chmod 0600 {path}" in message

    def test_the_command_mends_it(self, path: Path, as_user: AsUser) -> None:
        """Run as root, the command that is printed is enough."""
        _, message = as_user(STRANGER, lambda: outcome(keyfile.show, path))
        command = message.partition("to mend it: ")[2].partition(" (as root)")[0]
        assert os.system(command) == 0
        assert as_user(STRANGER, lambda: outcome(keyfile.show, path)) == ("ok", "")

    def test_folder_in_the_way(self, path: Path, as_user: AsUser) -> None:
        """Where a folder is closed, it is named."""
        path.parent.chmod(0o700)
        kind, message = as_user(STRANGER, lambda: outcome(keyfile.show, path))
        assert kind == "denied"
        assert f"uid {STRANGER} may not enter {path.parent}." in message

    def test_kubernetes(self, path: Path, as_user: AsUser) -> None:
        """Root's file, readable by our group, behind links: a mount with fsGroup."""
        (path.parent / "..data").symlink_to(".")
        (path.parent / "mounted").symlink_to("..data/a.key")
        os.chown(path, 0, STRANGER)
        path.chmod(0o440)

        def look(allow: bool) -> tuple[str, str]:
            mounted = path.parent / "mounted"
            return outcome(keyfile.show, mounted, allow_group_read=allow)

        assert as_user(STRANGER, lambda: look(True)) == ("ok", "")
        kind, message = as_user(STRANGER, lambda: look(False))
        assert kind == "denied"
        assert "allowGroupRead" in message

    def test_rotate_of_roots_file(self, path: Path, as_user: AsUser) -> None:
        """Who isn't the owner would change the owner: refused before anything is written."""
        os.chown(path, 0, STRANGER)
        path.chmod(0o640)
        path.parent.chmod(0o777)
        before = path.read_bytes()

        def rotate() -> tuple[str, str]:
            return outcome(keyfile.rotate, path, allow_group_read=True)

        kind, message = as_user(STRANGER, rotate)
        assert kind == "denied"
        assert "belongs to uid 0: run this as that user" in message
        assert path.read_bytes() == before

    def test_folder_of_root(self, path: Path, as_user: AsUser) -> None:
        """In a folder that isn't ours nothing can be made; the error says what failed."""
        os.chown(path, STRANGER, STRANGER)
        kind, message = as_user(STRANGER, lambda: outcome(keyfile.rotate, path))
        assert kind == "denied"
        assert "opening the lock file failed: Permission denied" in message
        assert f"uid {STRANGER}" in message
        kind, _ = as_user(STRANGER, lambda: outcome(keyfile.init, path.parent / "b.key"))
        assert kind == "denied"

    def test_provider(
        self, path: Path, as_user: AsUser, configure: Callable[..., LocalProvider]
    ) -> None:
        """The provider says the same, as an error of the operation."""

        def encrypt() -> str:
            provider = configure(keyFile=path)
            with pytest.raises(AccessDeniedError, match="chown 12345") as caught:
                provider.keyhinge_encrypt(b"x", {})
            assert caught.value.failure is not None
            return caught.value.failure.code

        assert as_user(STRANGER, encrypt) == "denied"
