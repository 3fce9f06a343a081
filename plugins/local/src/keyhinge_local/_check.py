"""What `check` finds out about a `local` section."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from keyhinge import CheckReport, Finding, KeyhingeError
from keyhinge_local import _keyset
from keyhinge_local._errors import KeyFileError
from keyhinge_local._keyring import FileSource, Keyring
from keyhinge_local._keyset import KeySet

_BACKUP = (
    "keep a backup of this key set apart from the database's backups, for as long as they are "
    "kept: without it, no value can be opened"
)
_Data = dict[str, str | int | float | bool | None]


def check(keyring: Keyring) -> CheckReport:
    """Look at the source as it is now; core tries the keys in use out itself."""
    return CheckReport(tuple(_findings(keyring)))


def _findings(keyring: Keyring) -> Iterator[Finding]:
    source = keyring.source
    try:
        key_set, _ = source.load()
    except KeyhingeError as error:
        code = error.kind if isinstance(error, KeyFileError) else "unreadable"
        yield Finding("error", f"key-file-{code}", str(error))
        return
    if isinstance(source, FileSource):
        yield from _file(source)
    else:
        yield Finding(
            "info",
            "key-in-configuration",
            "the keys stand in the configuration: a new version is known after a restart or reload",
        )
    yield from _versions(key_set)
    yield Finding("info", "backup", _BACKUP)


def _file(source: FileSource) -> Iterator[Finding]:
    status = None
    with suppress(OSError):
        status = source.path.stat()
    if status is None:
        yield Finding("error", "key-file-missing", f"{source.path} went away just now")
        return
    mode = stat.S_IMODE(status.st_mode)
    message = (
        f"{source.path}: owner uid {status.st_uid}, group {status.st_gid}, mode {mode:04o}; "
        f"this process: uid {os.geteuid()}"
    )
    data: _Data = {"uid": status.st_uid, "gid": status.st_gid, "mode": f"{mode:04o}"}
    yield Finding("ok", "key-file", message, data)
    if mode & stat.S_IRGRP:
        message = f"{source.path}: group {status.st_gid} can read the keys (allowGroupRead)"
        yield Finding("info", "key-file-group-read", message)


def _versions(key_set: KeySet) -> Iterator[Finding]:
    active = next(known for known in key_set.versions if known.number == key_set.active)
    newest = key_set.versions[-1]
    days = max(0, (_keyset.utc_now() - active.created).days)
    data: _Data = {
        "key_id": key_set.key_id,
        "active": active.label,
        "created": active.created.strftime(_keyset.TIME_FORMAT),
        "age": days * 86400,
        "versions": len(key_set.versions),
    }
    message = (
        f"key set {key_set.key_id}, {len(key_set.versions)} version(s); {active.label} encrypts, "
        f"made {active.created:%Y-%m-%d}, {days} day(s) old"
    )
    yield Finding("ok", "key-versions", message, data)
    if newest is not active:
        message = (
            f"version {newest.label} is newer and only decrypts: `keyhinge local activate` makes "
            "it encrypt, once every host has this file"
        )
        yield Finding("info", "key-not-activated", message, {"newest": newest.label})
