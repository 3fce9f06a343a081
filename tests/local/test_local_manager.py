"""The `local` provider behind KeyManager: configuration in, values out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyhinge import (
    ConfigError,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
    SectionNotConfiguredError,
)
from keyhinge_local import keyfile

ROW = {"account_id": "acct_1", "secret_id": "sec_1"}
CONFIG = """
keyManagement:
  provider: local
  local:
    keyFile: keyhinge.key
  spare:
    type: local
    key: ${SPARE_KEY}
"""


@pytest.fixture
def config(tmp_path: Path, key_path: Path) -> Path:
    """A configuration beside its key file."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def keys(config: Path, tmp_path: Path) -> Iterator[KeyManager]:
    """An open KeyManager with a key file and a second key set in the environment."""
    keyfile.init(tmp_path / "spare.key")
    environ = {"SPARE_KEY": (tmp_path / "spare.key").read_text()}
    with KeyManager.open(config, environ=environ) as keys:
        yield keys


def test_two_sections(keys: KeyManager) -> None:
    """A file and a key from the environment stand side by side."""
    for section in ("local", "spare"):
        value = keys.encrypt(b"x", context=ROW, section=section)
        assert value.section == section
        assert keys.decrypt(value, context=ROW) == b"x"
        assert keys.check(section).ok


def test_every_changed_character_of_the_text(keys: KeyManager) -> None:
    """Whatever character of the stored text changes, no plaintext comes out."""
    text = keys.encrypt(b"token", context=ROW).to_text()
    body = text.rindex(":") + 1
    for at, old in enumerate(text):
        expected: tuple[type[Exception], ...] = (InvalidCiphertextError,)
        if at < body:  # it may then name another section, key set or version
            expected += (SectionNotConfiguredError, KeyUnavailableError)
        for new in {"A", "b", "1", "/", ":", "=", "\n"} - {old}:
            changed = text[:at] + new + text[at + 1 :]
            with pytest.raises(expected):
                keys.decrypt(EncryptedValue.from_text(changed), context=ROW)


def test_staleness(keys: KeyManager, key_path: Path) -> None:
    """Rotating alone makes nothing stale, activating does, rewrapping mends it."""
    value = keys.encrypt(b"x", context=ROW)
    keyfile.rotate(key_path)
    keys.reload()
    assert not keys.is_stale(value, keys.current_key())
    keyfile.activate(key_path)
    keys.reload()
    assert keys.is_stale(value, keys.current_key())
    value = keys.rewrap(value, context=ROW)
    assert not keys.is_stale(value, keys.current_key())
    assert keys.decrypt(value, context=ROW) == b"x"


def test_async(keys: KeyManager) -> None:
    """The first call goes to a thread, the next ones are made inline."""

    async def work() -> None:
        first = await keys.aencrypt(b"x", context=ROW)
        values = await asyncio.gather(
            *(keys.aencrypt(b"%d" % n, context=ROW) for n in range(50)),
        )
        assert await keys.adecrypt(first, context=ROW) == b"x"
        opened = [await keys.adecrypt(value, context=ROW) for value in values]
        assert opened == [b"%d" % n for n in range(50)]

    asyncio.run(work())


def test_missing_file_is_no_problem_of_opening(config: Path, key_path: Path) -> None:
    """Opening reads no key file; the first operation says what is missing."""
    key_path.unlink()
    with (
        KeyManager.open(config, environ={"SPARE_KEY": "x"}) as keys,
        pytest.raises(KeyUnavailableError, match="keyhinge local init") as caught,
    ):
        keys.encrypt(b"x", context=ROW)
    assert caught.value.section == "local"
    assert caught.value.operation == "encrypt"


def test_settings_are_checked(config: Path) -> None:
    """What doesn't fit together is a problem of the configuration, with its path."""
    config.write_text("keyManagement:\n  provider: local\n  local: {}\n")
    with pytest.raises(ConfigError, match=r"keyManagement\.local\.keyFile"):
        KeyManager.open(config)


def test_nothing_leaks(keys: KeyManager, key_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key in the configuration shows in no repr, error or log record."""
    caplog.set_level(logging.DEBUG)
    text = os.fsdecode(key_path.read_bytes())
    key = text[text.index('"key": "') + 8 :][:44]
    value = keys.encrypt(b"x", context=ROW)
    seen = [repr(keys), repr(keys.check()), repr(value), caplog.text]
    for bad in ({}, {"account_id": "other"}):
        with pytest.raises(InvalidCiphertextError) as caught:
            keys.decrypt(value, context=bad)
        seen += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    assert not any(key[at : at + 8] in "".join(seen) for at in range(36))
