"""Making and changing key files: what `keyhinge local init|rotate|activate|show` does.

Each function may be called while applications use the file and while other processes call the
same functions: writers wait for each other at the lock file, and readers see the old file or the
new one, never half of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyhinge_local import _access, _files, _keyset
from keyhinge_local._errors import KeyFileError
from keyhinge_local._keyset import KeySet
from keyhinge_local._parse import parse

__all__ = ["KeyFileError", "KeySetInfo", "VersionInfo", "activate", "init", "rotate", "show"]


@dataclass(frozen=True)
class VersionInfo:
    """What may be shown of a version.

    Attributes:
        number: 1, 2, 3 …
        label: The version as it stands in encrypted values: number and fingerprint.
        fingerprint: 8 hex digits that tell one key from another.
        created: When it was made (UTC).
        active: Whether it is the one that encrypts.
    """

    number: int
    label: str
    fingerprint: str
    created: datetime
    active: bool


@dataclass(frozen=True)
class KeySetInfo:
    """What may be shown of a key set: everything but the keys.

    Attributes:
        path: The key file.
        key_id: The key set's random id, as it stands in encrypted values.
        active: The label of the version that encrypts.
        versions: All versions, ascending.
    """

    path: Path
    key_id: str
    active: str
    versions: tuple[VersionInfo, ...]


def init(path: str | os.PathLike[str]) -> KeySetInfo:
    """Make a new key file with one version, which encrypts. Its mode is 0600.

    Back it up at once, apart from the database: without it, nothing that it encrypted can be
    opened again.

    Args:
        path: The file; its folder must exist.

    Raises:
        KeyFileError: "exists" where there is anything already; "denied", "missing" or "io".
    """
    path = Path(path)
    if not path.parent.is_dir():
        what = f"the folder {path.parent} doesn't exist: make it first"
        raise KeyFileError("missing", str(path), what)
    if os.path.lexists(path):  # looked at once more, without a gap, when the file is made
        raise _files.exists_already(path)
    key_set = KeySet.generate(_keyset.utc_now())
    with _files.locked(path):
        _files.create(path, key_set.dump().encode("ascii"))
    return describe(path, key_set)


def rotate(
    path: str | os.PathLike[str], activate: bool = False, allow_group_read: bool = False
) -> KeySetInfo:
    """Add a version, which only decrypts until it is activated.

    Where several hosts have copies of the file: rotate once, copy the file to all of them, then
    activate. Otherwise one host would encrypt with what another can't open yet.

    Args:
        path: The key file.
        activate: Make the new version encrypt at once: for one host only.
        allow_group_read: As the section's `allowGroupRead`.

    Raises:
        KeyFileError: The file can't be read or written; then it is as it was.
    """

    def change(key_set: KeySet) -> KeySet:
        newest = key_set.versions[-1].number
        if len(key_set.versions) >= _keyset.MAX_VERSIONS or newest >= _keyset.MAX_NUMBER:
            what = (
                "the key file has as many versions as there can be: make a new key file in a "
                "section of its own and migrate to it"
            )
            raise KeyFileError("refused", str(path), what)
        rotated = key_set.rotated(_keyset.utc_now())
        return rotated.activated(rotated.versions[-1].number) if activate else rotated

    return _change(Path(path), change, allow_group_read=allow_group_read)


def activate(
    path: str | os.PathLike[str], version: int | None = None, allow_group_read: bool = False
) -> KeySetInfo:
    """Make a version the one that encrypts; doing it again changes nothing.

    Args:
        path: The key file.
        version: The version's number; None for the newest.
        allow_group_read: As the section's `allowGroupRead`.

    Raises:
        KeyFileError: "refused" where there is no such version; otherwise the file can't be read
            or written, and is as it was.
    """

    def change(key_set: KeySet) -> KeySet:
        numbers = [known.number for known in key_set.versions]
        number = numbers[-1] if version is None else version
        if number not in numbers:
            what = f"the key file has no version {number}; it has {', '.join(map(str, numbers))}"
            raise KeyFileError("refused", str(path), what)
        return key_set if number == key_set.active else key_set.activated(number)

    return _change(Path(path), change, allow_group_read=allow_group_read)


def show(path: str | os.PathLike[str], allow_group_read: bool = False) -> KeySetInfo:
    """Tell what is in a key file, but not the keys.

    Args:
        path: The key file.
        allow_group_read: As the section's `allowGroupRead`.

    Raises:
        KeyFileError: The file can't be read.
    """
    key_set, _ = load(Path(path), allow_group_read=allow_group_read)
    return describe(Path(path), key_set)


def load(path: Path, *, allow_group_read: bool) -> tuple[KeySet, os.stat_result]:
    """Read a key file: its keys, and the status of the file they were read from.

    Raises:
        KeyFileError: It can't be read, others can, or it isn't a key file.
    """
    content, status = _access.read(path, _keyset.MAX_BYTES, allow_group_read=allow_group_read)
    if len(content) > _keyset.MAX_BYTES:
        raise _keyset.too_large(str(path))
    # latin-1 takes every byte; the parser refuses what isn't ASCII.
    return parse(content.decode("latin-1"), str(path)), status


def describe(path: Path, key_set: KeySet) -> KeySetInfo:
    """Tell what may be shown of a key set."""
    versions = tuple(
        VersionInfo(
            number=version.number,
            label=version.label,
            fingerprint=version.fingerprint,
            created=version.created,
            active=version.number == key_set.active,
        )
        for version in key_set.versions
    )
    active = next(version.label for version in versions if version.active)
    return KeySetInfo(path, key_set.key_id, active, versions)


def _change(
    path: Path, change: Callable[[KeySet], KeySet], *, allow_group_read: bool
) -> KeySetInfo:
    # First without the lock: what is refused anyway must not leave a lock file behind.
    _, status = load(path, allow_group_read=allow_group_read)
    if status.st_uid != os.geteuid():
        what = f"the key file belongs to uid {status.st_uid}: run this as that user"
        raise KeyFileError("denied", str(path), what)
    # A link stays a link: what it points to is replaced.
    target = Path(os.path.realpath(path))
    with _files.locked(target):
        old, status = load(target, allow_group_read=allow_group_read)
        new = change(old)
        if new is not old:
            _files.replace(target, new.dump().encode("ascii"), status)
    return describe(path, new)
