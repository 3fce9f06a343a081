"""A secret shows itself to nobody but `reveal`, and follows its file."""

import copy
import json
import os
import pickle
import threading
import time

import attrs
import cattrs
import pytest

from keyhinge._errors import ConfigError, SecretFileError
from keyhinge._secret import Secret

MARKER = "S3CR3T-marker"


def age(path):
    """Make a file look as if it had been there for long, so that it may be cached."""
    then = time.time() - 60
    os.utime(path, (then, then))


class TestRedaction:
    @pytest.mark.parametrize(
        "show", [repr, str, "{}".format, "{:>30}".format, lambda s: f"{s!r:>3}"]
    )
    def test_shown(self, show):
        assert MARKER not in show(Secret(MARKER))
        assert "redacted" in show(Secret(MARKER))

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_never_copied(self, duplicate):
        with pytest.raises(TypeError, match="can't be pickled or copied"):
            duplicate(Secret(MARKER))

    def test_not_compared(self):
        assert Secret(MARKER) != Secret(MARKER)
        secret = Secret(MARKER)
        assert secret == secret
        assert secret.__eq__(MARKER) is NotImplemented
        assert len({secret, Secret(MARKER)}) == 2

    def test_survives_asdict_and_unstructuring(self):
        @attrs.define
        class Settings:
            token: Secret

        settings = Settings(Secret(MARKER))
        for made in (attrs.asdict(settings), cattrs.unstructure(settings)):
            assert MARKER not in repr(made)
            assert MARKER not in str(made["token"])
            with pytest.raises(TypeError):
                json.dumps(made)

    def test_has_no_dict(self):
        assert not hasattr(Secret(MARKER), "__dict__")

    @pytest.mark.parametrize("arguments", [(), (b"x",), (5,)])
    def test_wrong_arguments(self, arguments):
        with pytest.raises(TypeError, match="a text"):
            Secret(*arguments)

    def test_both(self):
        with pytest.raises(TypeError, match="a text"):
            Secret("a", path="b")


class TestReveal:
    def test_text(self):
        secret = Secret(MARKER)
        assert secret.reveal() == MARKER
        assert secret.path is None

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("token", "token"),
            ("token\n", "token"),
            ("token\r\n", "token"),
            ("token\n\n", "token\n"),
            ("token\r", "token\r"),
            ("two\nlines\n", "two\nlines"),
            (" Grüße ", " Grüße "),
        ],
    )
    def test_one_newline_is_dropped(self, tmp_path, content, expected):
        path = tmp_path / "token"
        path.write_bytes(content.encode())
        assert Secret.from_file(path).reveal() == expected
        assert Secret.from_file(str(path)).path == path

    def test_read_when_needed(self, tmp_path):
        path = tmp_path / "token"
        secret = Secret.from_file(path)
        path.write_text("later")
        assert secret.reveal() == "later"

    def test_read_again_when_it_changes(self, tmp_path):
        path = tmp_path / "token"
        path.write_text("one")
        age(path)
        secret = Secret.from_file(path)
        assert secret.reveal() == "one"
        path.write_text("two")
        assert secret.reveal() == "two"
        path.write_text("six")  # same size, perhaps within the clock's step
        assert secret.reveal() == "six"
        other = tmp_path / "other"
        other.write_text("ten")
        age(other)
        other.replace(path)  # as Kubernetes does: the same time and size, another file
        assert secret.reveal() == "ten"

    def test_not_read_when_it_does_not_change(self, tmp_path, monkeypatch):
        path = tmp_path / "token"
        path.write_text("one")
        age(path)
        secret = Secret.from_file(path)
        secret.reveal()
        monkeypatch.setattr(os, "open", None)
        assert secret.reveal() == "one"

    def test_gone_again(self, tmp_path):
        """A file that disappears is an error, not the old secret."""
        path = tmp_path / "token"
        path.write_text("one")
        age(path)
        secret = Secret.from_file(path)
        secret.reveal()
        path.unlink()
        with pytest.raises(SecretFileError, match="doesn't exist"):
            secret.reveal()

    def test_threads(self, tmp_path):
        """Each reading gives one of the contents, whole."""
        path = tmp_path / "token"
        contents = ["a" * 5000, "b" * 7000]
        path.write_text(contents[0])
        secret = Secret.from_file(path)
        seen: set[str] = set()
        errors: list[BaseException] = []
        stop = threading.Event()

        def read():
            while not stop.is_set():
                try:
                    seen.add(secret.reveal())
                except BaseException as error:
                    errors.append(error)
                    return

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(60):
            new = tmp_path / "new"
            new.write_text(contents[number % 2])
            new.replace(path)
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert seen <= set(contents)


class TestFileErrors:
    def check(self, path, reason):
        with pytest.raises(SecretFileError, match=reason) as caught:
            Secret.from_file(path).reveal()
        assert isinstance(caught.value, ConfigError)
        assert str(path) in str(caught.value)
        assert MARKER not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    def test_missing(self, tmp_path):
        self.check(tmp_path / "nope", "doesn't exist")
        file = tmp_path / "file"
        file.write_text("x")
        self.check(file / "below", "doesn't exist")

    def test_folder(self, tmp_path):
        self.check(tmp_path, "folder")

    def test_not_utf8(self, tmp_path):
        path = tmp_path / "token"
        path.write_bytes(MARKER.encode() + b"\xff")
        self.check(path, "isn't UTF-8")

    @pytest.mark.parametrize("content", [b"", b"\n"])
    def test_empty(self, tmp_path, content):
        path = tmp_path / "token"
        path.write_bytes(content)
        self.check(path, "is empty")

    def test_size(self, tmp_path):
        path = tmp_path / "token"
        path.write_bytes(b"x" * (1 << 20))
        assert len(Secret.from_file(path).reveal()) == 1 << 20
        path.write_bytes(MARKER.encode() + b"x" * (1 << 20))
        self.check(path, "larger than 1 MiB")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
    def test_pipe_is_not_waited_for(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        self.check(path, "regular file")

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
    )
    def test_permission(self, tmp_path):
        path = tmp_path / "token"
        path.write_text(MARKER)
        path.chmod(0)
        self.check(path, "permission denied")

    def test_link_to_itself(self, tmp_path):
        path = tmp_path / "loop"
        path.symlink_to(path)
        self.check(path, "symbolic links")

    def test_impossible_path(self):
        with pytest.raises(SecretFileError, match="path holds a character"):
            Secret.from_file("a\0b").reveal()
