"""What `check` says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyhinge import CheckReport, Finding, Secret
from keyhinge_local import LocalProvider, keyfile

Configure = Callable[..., LocalProvider]


def by_code(report: CheckReport) -> dict[str, Finding]:
    """The findings by their code."""
    return {finding.code: finding for finding in report.findings}


def test_good(provider: LocalProvider, key_path: Path) -> None:
    """File, owner, mode, versions, age, and what to back up."""
    report = provider.keyhinge_check()
    found = by_code(report)
    assert report.ok
    assert list(found) == ["key-file", "key-versions", "backup"]
    assert found["key-file"].data == {
        "uid": os.getuid(),
        "gid": key_path.stat().st_gid,
        "mode": "0600",
    }
    info = keyfile.show(key_path)
    assert found["key-versions"].data == {
        "key_id": info.key_id,
        "active": info.active,
        "created": info.versions[0].created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "age": 0,
        "versions": 1,
    }
    assert "backup" in found["backup"].message


def test_age(provider: LocalProvider, key_path: Path) -> None:
    """The age of the version that encrypts is told in days and in seconds."""
    created = keyfile.show(key_path).versions[0].created
    text = key_path.read_text()
    key_path.write_text(text.replace(f"{created:%Y}-", f"{created.year - 1}-"))
    finding = by_code(provider.keyhinge_check())["key-versions"]
    assert finding.data["age"] in (365 * 86400, 366 * 86400)
    assert "days" in finding.message or "day(s) old" in finding.message


def test_not_activated(provider: LocalProvider, key_path: Path) -> None:
    """A version that waits is pointed out."""
    newest = keyfile.rotate(key_path).versions[1].label
    finding = by_code(provider.keyhinge_check())["key-not-activated"]
    assert (finding.level, finding.data["newest"]) == ("info", newest)
    assert "keyhinge local activate" in finding.message
    keyfile.activate(key_path)
    assert "key-not-activated" not in by_code(provider.keyhinge_check())


def test_group_read(configure: Configure, key_path: Path) -> None:
    """A group that can read the keys is pointed out."""
    key_path.chmod(0o640)
    found = by_code(configure(keyFile=key_path, allowGroupRead=True).keyhinge_check())
    assert found["key-file-group-read"].level == "info"


def test_in_configuration(configure: Configure, key_path: Path) -> None:
    """Without a file there is nothing to say about one."""
    found = by_code(configure(key=Secret(key_path.read_text())).keyhinge_check())
    assert list(found) == ["key-in-configuration", "key-versions", "backup"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (Path.unlink, "key-file-missing"),
        (lambda path: path.write_text("x"), "key-file-malformed"),
        (lambda path: path.chmod(0o644), "key-file-denied"),
    ],
)
def test_bad(
    provider: LocalProvider, key_path: Path, spoil: Callable[[Path], Any], code: str
) -> None:
    """What is wrong is an error in the report, and never an exception."""
    spoil(key_path)
    report = provider.keyhinge_check()
    assert not report.ok
    (finding,) = report.findings
    assert (finding.level, finding.code) == ("error", code)
    assert str(key_path) in finding.message
