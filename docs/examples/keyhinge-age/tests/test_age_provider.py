"""What is special to age: several identities, recovery, and files that anybody can make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keyhinge_age
import pyrage
import pytest
from pyrage import x25519

from keyhinge import (
    ConfigError,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
)

FIRST, SECOND, RECOVERY = (x25519.Identity.generate() for _ in range(3))
CONTEXT = {"account": "acct_1"}


def opened(**block: Any) -> KeyManager:
    """Open one section."""
    config: Mapping[str, Any] = {"keyManagement": {"provider": "age", "age": block}}
    return KeyManager.open(config, providers={"age": keyhinge_age}, environ={})


def test_a_new_identity_goes_on_top() -> None:
    """It encrypts from now on, and what the old one encrypted still opens."""
    with opened(identity=str(FIRST)) as keys:
        old = keys.encrypt(b"token", context=CONTEXT)
    assert old.key_id == str(FIRST.to_public())
    with opened(identity=f"# new\n{SECOND}\n\n# old\n{FIRST}\n") as keys:
        assert keys.decrypt(old, context=CONTEXT) == b"token"
        assert keys.is_stale(old, keys.current_key())
        assert keys.capabilities().key_versions  # without it `keyhinge rewrap` refuses
        new = keys.rewrap(old, context=CONTEXT)
        assert new.key_id == str(SECOND.to_public())
    with opened(identity=str(SECOND)) as keys:
        assert keys.decrypt(new, context=CONTEXT) == b"token"
        with pytest.raises(KeyUnavailableError, match=old.key_id):
            keys.decrypt(old, context=CONTEXT)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """No restart is needed to add an identity."""
    file = tmp_path / "identities.txt"
    file.write_text(str(FIRST), encoding="utf-8")
    with opened(identityFile=str(file)) as keys:
        old = keys.encrypt(b"token", context=CONTEXT)
        file.write_text(f"{SECOND}\n{FIRST}\n", encoding="utf-8")
        assert keys.current_key().key_id == str(SECOND.to_public())
        assert keys.decrypt(old, context=CONTEXT) == b"token"


def test_a_recovery_key_opens_values_without_this_package() -> None:
    """Behind a format byte and a tag stands an age file, which every age program can open."""
    public = str(RECOVERY.to_public())
    with opened(identity=str(FIRST), recoveryRecipients=[public]) as keys:
        value = keys.encrypt(b"token", context=CONTEXT)
    assert pyrage.decrypt(value.ciphertext[keyhinge_age.OFFSET :], [RECOVERY]) == b"token"
    with opened(identity=str(FIRST)) as keys:
        value = keys.encrypt(b"token", context=CONTEXT)
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(value.ciphertext[keyhinge_age.OFFSET :], [RECOVERY])


def test_who_knows_the_public_key_cannot_plant_a_value() -> None:
    """Anybody can make an age file for it, even under the tag of a right one, but not the tag."""
    with opened(identity=str(FIRST)) as keys:
        value = keys.encrypt(b"token", context=CONTEXT)
        forged = pyrage.encrypt(b"planted", [FIRST.to_public()])
        for tag in (value.ciphertext[1 : keyhinge_age.OFFSET], bytes(32), b""):
            planted = EncryptedValue("age", value.key_id, "", value.ciphertext[:1] + tag + forged)
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(planted, context=CONTEXT)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# nothing\n", "holds no age identity"),
        (f"{FIRST}\nhunter2", "line 2 of the setting 'identity'"),
        (str(FIRST)[:-2], "line 1 of the setting 'identity'"),
        (str(FIRST.to_public()), "line 1 of the setting 'identity'"),
    ],
    ids=["empty", "second line", "cut", "public key"],
)
def test_a_wrong_identity_is_told_and_not_shown(text: str, says: str) -> None:
    """The line is named, and what stands there isn't."""
    with opened(identity=text) as keys:
        with pytest.raises(KeyUnavailableError, match=says) as raised:
            keys.encrypt(b"token", context={})
        (finding,) = [each for each in keys.check().findings if each.code == "age-unusable"]
    for message in (str(raised.value), finding.message):
        assert "hunter2" not in message
        assert str(FIRST)[:-2] not in message


@pytest.mark.parametrize(
    "wrong",
    ["age1short", str(FIRST), "age1" + "b" * 58],
    ids=["short", "secret key", "alphabet"],
)
def test_a_wrong_recovery_key_is_told_at_the_start(wrong: str) -> None:
    """A slip is found when the configuration is read; a secret key in its place isn't shown."""
    with pytest.raises(ConfigError, match="recoveryRecipients") as raised:
        opened(identity=str(FIRST), recoveryRecipients=[wrong])
    assert wrong not in str(raised.value)


def test_a_recovery_key_with_a_wrong_character() -> None:
    """It is found by its checksum before anything is encrypted."""
    public = str(RECOVERY.to_public())
    wrong = public[:-1] + ("q" if public[-1] != "q" else "p")
    keys = opened(identity=str(FIRST), recoveryRecipients=[wrong])
    with keys, pytest.raises(KeyUnavailableError, match="a character is wrong"):
        keys.encrypt(b"token", context={})


def test_check_tells_who_else_can_read_the_file(tmp_path: Path) -> None:
    """A key file that others can read is worth a warning, and a missing recovery key a word."""
    file = tmp_path / "identities.txt"
    file.write_text(str(FIRST), encoding="utf-8")
    levels = {}
    for mode in (0o600, 0o644):
        file.chmod(mode)
        with opened(identityFile=str(file)) as keys:
            report = keys.check()
        assert report.ok
        levels[mode] = {each.code: each.level for each in report.findings}
    assert levels[0o600]["age-no-recovery"] == "info"
    assert "age-file-mode" not in levels[0o600]
    assert levels[0o644]["age-file-mode"] == "warning"
