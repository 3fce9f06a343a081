"""Reading the text of a key set: strict, bounded, and silent about what it reads."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timezone
from typing import Any, NoReturn

from keyhinge_local import _keyset
from keyhinge_local._errors import KEY_ID, KeyFileError
from keyhinge_local._keyset import KeySet, KeyVersion

_FIELDS = ("format", "id", "active", "versions")
_VERSION_FIELDS = ("version", "created", "fingerprint", "key")
_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z")
_REPLACED = "the file was damaged or edited; put a backup of it in its place"


class _MalformedError(Exception):
    """What is wrong; a phrase of ours, so that nothing of the text can slip into a message."""


def parse(text: str, where: str) -> KeySet:
    """Read a key set.

    Args:
        text: What `KeySet.dump` made; layout and the order of fields are free.
        where: What the text is called in messages: the file's path, or the setting's.

    Raises:
        KeyFileError: It isn't a key set, `kind` "malformed". The message never quotes the text.
    """
    if len(text) > _keyset.MAX_BYTES:
        raise _keyset.too_large(where)
    reason = ""
    try:
        return _key_set(_load(text))
    except _MalformedError as error:
        reason = str(error)
    # Outside the handler: what json and base64 raise holds the whole text.
    raise KeyFileError("malformed", where, f"not a valid key file: {reason}")


def _load(text: str) -> Any:
    if not text.strip():
        raise _MalformedError("it is empty")
    if not text.isascii():
        raise _MalformedError(f"it has characters other than ASCII; {_REPLACED}")
    at = None
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_small_int,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as error:
        at = error.lineno, error.colno
    except RecursionError:
        pass
    if at is None:
        raise _MalformedError("it is nested too deeply")
    raise _MalformedError(f"no JSON at line {at[0]}, column {at[1]}; {_REPLACED}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _MalformedError("a field stands in it twice")
    return fields


def _small_int(digits: str) -> int:
    if len(digits) > 6 or digits.startswith("-"):
        raise _MalformedError(f"a number isn't between 0 and {_keyset.MAX_NUMBER}")
    return int(digits)


def _no_number(_literal: str) -> NoReturn:
    raise _MalformedError("a number isn't a whole one")


def _fields(value: Any, names: tuple[str, ...], what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise _MalformedError(f"{what} isn't an object")
    missing = [name for name in names if name not in value]
    if missing:
        raise _MalformedError(f"{what} lacks {', '.join(missing)}")
    if len(value) != len(names):
        raise _MalformedError(f"{what} has more fields than {', '.join(names)}")
    return value


def _key_set(document: Any) -> KeySet:
    if type(document) is dict and document.get("format", _keyset.FORMAT) != _keyset.FORMAT:
        raise _MalformedError(
            f'its format isn\'t "{_keyset.FORMAT}"; a later keyhinge-local may have written it'
        )
    document = _fields(document, _FIELDS, "the key set")
    key_id, active, entries = document["id"], document["active"], document["versions"]
    if type(key_id) is not str or not KEY_ID.fullmatch(key_id):
        raise _MalformedError("id isn't 1 to 64 letters, digits or hyphens")
    if type(entries) is not list or not 1 <= len(entries) <= _keyset.MAX_VERSIONS:
        raise _MalformedError(f"versions isn't a list of 1 to {_keyset.MAX_VERSIONS}")
    versions = [_version(entry, at) for at, entry in enumerate(entries, start=1)]
    numbers = [version.number for version in versions]
    if numbers != sorted(set(numbers)):
        raise _MalformedError("the versions' numbers aren't ascending")
    if len({version.key for version in versions}) != len(versions):
        raise _MalformedError("two versions have the same key")
    if type(active) is not int or active not in numbers:
        raise _MalformedError("active isn't the number of one of the versions")
    return KeySet(key_id, versions, active)


def _version(entry: Any, at: int) -> KeyVersion:
    what = f"entry {at} of versions"
    fields = _fields(entry, _VERSION_FIELDS, what)
    number = fields["version"]
    if type(number) is not int or number < 1:
        raise _MalformedError(f"{what}: version isn't a number from 1 up")
    key = _key(fields["key"], what)
    version = KeyVersion(number, key, _created(fields["created"], what))
    if fields["fingerprint"] != version.fingerprint:
        raise _MalformedError(f"{what}: key and fingerprint don't belong together; {_REPLACED}")
    return version


def _key(text: Any, what: str) -> bytes:
    key = b""
    if type(text) is str:
        try:
            key = base64.b64decode(text, validate=True)
        except ValueError:  # binascii.Error is one; an escaped character that isn't ASCII another
            key = b""
    # Decoders accept stray pad bits: encode again and compare.
    if len(key) != _keyset.KEY_SIZE or base64.b64encode(key).decode("ascii") != text:
        raise _MalformedError(f"{what}: key isn't the base64 of {_keyset.KEY_SIZE} bytes")
    return key


def _created(text: Any, what: str) -> datetime:
    created = None
    if type(text) is str and _TIME.fullmatch(text):
        try:
            created = datetime.strptime(text, _keyset.TIME_FORMAT).replace(tzinfo=timezone.utc)
        except ValueError:
            created = None
    if created is None:
        raise _MalformedError(f"{what}: created isn't a UTC time like 2026-01-31T12:00:00Z")
    return created
