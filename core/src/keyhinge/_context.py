"""The context: what is authenticated with a value, but never stored with it.

Cryptographers say associated data, AWS says encryption context. Its rules and its encoding are
written down in the reference under "Formats".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from keyhinge._errors import InvalidContextError

__all__ = [
    "NO_CONTEXT",
    "Context",
    "FrozenContext",
    "canonical",
    "check_context",
    "encode_context",
]

Context = Mapping[str, str]

MAX_ENTRIES = 16
MAX_VALUE_BYTES = 1024
MAX_TOTAL_BYTES = 4096

_MAGIC = b"khctx1"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_RESERVED = "keyhinge"
# Applications repeat few contexts often (one row read again and again) or many once; a small
# cache serves the first and costs the second little.
_CACHE_ENTRIES = 4096
known_contexts: dict[tuple[tuple[str, str], ...], FrozenContext] = {}
"""Contexts that were checked lately, by their items; the hot path looks here first."""


class FrozenContext(dict[str, str]):
    """A context that was checked: read-only, with its canonical encoding in `encoded`."""

    __slots__ = ("encoded",)

    encoded: bytes

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        msg = "a checked context can't be changed"
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _freeze, (dict(self),)

    def __copy__(self) -> FrozenContext:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenContext:
        return self


def check_context(context: Context) -> FrozenContext:
    """Check a caller's context against the rules and freeze it.

    Args:
        context: 0 to 16 entries. Keys are letters, digits, `_`, `.`, `-`, at most 64, unique
            without regard to case, and don't start with `keyhinge`. Values have 1 to 1,024
            bytes of UTF-8 without NUL; 4,096 bytes in all.

    Returns:
        An equal, read-only mapping with its encoding ready.

    Raises:
        InvalidContextError: A rule is broken; the message says which, never the value.
    """
    try:
        known = known_contexts.get(tuple(context.items()))
    except (AttributeError, TypeError):
        known = None  # not a mapping, or not of strings: told apart below
    return _check_new(context) if known is None else known


def _check_new(context: object) -> FrozenContext:
    if context is NO_CONTEXT:
        return NO_CONTEXT
    if not isinstance(context, Mapping):
        kind = type(context).__name__
        msg = f"context must be a mapping of str to str, not {kind}; {{}} is allowed"
        raise InvalidContextError(msg)
    snapshot = dict(context)
    for key in snapshot:
        if isinstance(key, str) and _is_reserved(key):
            msg = "context keys that start with 'keyhinge' are the library's own; choose another"
            raise InvalidContextError(msg)
    frozen = _freeze(snapshot)
    if len(known_contexts) >= _CACHE_ENTRIES:
        known_contexts.clear()
    known_contexts[tuple(frozen.items())] = frozen
    return frozen


def encode_context(context: Context) -> bytes:
    """Encode a context canonically: equal contexts give equal bytes, different ones never do.

    ``"khctx1" ‖ u8 n ‖ n × (u8 length, key, u16 length, value)``, sorted by the keys' bytes.

    Args:
        context: A context. One that reached a provider is encoded already.

    Raises:
        InvalidContextError: A rule of `check_context` is broken.
    """
    if type(context) is FrozenContext:
        return context.encoded
    return _freeze(context).encoded


def canonical(key_id: str, version: str, context: Context) -> bytes:
    """Encode key id, version and context into one byte string that nothing else encodes to.

    Made for providers whose cipher takes associated data, so that nobody invents an encoding.
    ``u16 length, key id ‖ u8 length, version ‖ encode_context(context)``.

    Args:
        key_id: At most 512 printable ASCII characters without spaces.
        version: At most 64 characters.
        context: The context.
    """
    raw_id, raw_version = key_id.encode("ascii"), version.encode("ascii")
    return b"".join(
        (
            len(raw_id).to_bytes(2, "big"),
            raw_id,
            len(raw_version).to_bytes(1, "big"),
            raw_version,
            encode_context(context),
        )
    )


def own_context(context: Context) -> FrozenContext:
    """Freeze a context of the library's own, which may use the reserved keys."""
    return context if type(context) is FrozenContext else _freeze(context)


def _is_reserved(key: str) -> bool:
    return key[:8].lower() == _RESERVED


def _freeze(context: Context) -> FrozenContext:
    context = dict(context)  # what is checked is what is kept
    if len(context) > MAX_ENTRIES:
        msg = f"context has {len(context)} entries; at most {MAX_ENTRIES} are allowed"
        raise InvalidContextError(msg)
    entries: list[tuple[bytes, bytes]] = []
    for key, value in context.items():
        entries.append((_encode_key(key), _encode_value(key, value)))
    if len({key.lower() for key, _ in entries}) != len(entries):
        msg = "two context keys differ only in case; services that ignore case would mix them up"
        raise InvalidContextError(msg)
    if sum(len(key) + len(value) for key, value in entries) > MAX_TOTAL_BYTES:
        msg = f"context is larger than {MAX_TOTAL_BYTES} bytes in all; use ids, not contents"
        raise InvalidContextError(msg)
    parts = [_MAGIC, len(entries).to_bytes(1, "big")]
    for raw_key, raw_value in sorted(entries):
        parts += (len(raw_key).to_bytes(1, "big"), raw_key)
        parts += (len(raw_value).to_bytes(2, "big"), raw_value)
    frozen = FrozenContext(context)
    frozen.encoded = b"".join(parts)
    return frozen


def _encode_key(key: object) -> bytes:
    if type(key) is not str or not _KEY.fullmatch(key):
        msg = (
            "context keys are a letter, then at most 63 letters, digits, '_', '.' or '-'; "
            "one of the keys isn't"
        )
        raise InvalidContextError(msg)
    return key.encode("ascii")


def _encode_value(key: str, value: object) -> bytes:
    if type(value) is not str:
        msg = f"context value of {key!r} must be str, not {type(value).__name__}"
        raise InvalidContextError(msg)
    raw = value.encode("utf-8", "surrogatepass")
    if not 1 <= len(raw) <= MAX_VALUE_BYTES:
        msg = f"context value of {key!r} has {len(raw)} bytes; 1 to {MAX_VALUE_BYTES} are allowed"
        raise InvalidContextError(msg)
    # ASCII has as many bytes as characters, and no surrogates to look for one by one.
    plain = len(raw) == len(value)
    if "\0" in value or (not plain and any("\ud800" <= char <= "\udfff" for char in value)):
        msg = f"context value of {key!r} holds a NUL or half of a surrogate pair"
        raise InvalidContextError(msg)
    return raw


NO_CONTEXT: FrozenContext = _freeze({"keyhinge": "none"})
"""Says that a value has no context at all, which `{}` isn't: an empty context is authenticated too.

Made for values that another program wrote without one. A provider whose service knows such values
looks for this very object and leaves the context out; any other binds it like every context. No
caller's own mapping is ever taken for it.
"""
