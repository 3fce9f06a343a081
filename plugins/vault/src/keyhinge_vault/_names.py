"""Names that become part of a request's path or of a header: their grammar, and quoting.

A name that is in order can't leave its place in the path. Whatever makes a path goes through
`api_path`, and `check_path` looks at the finished path once more before it is sent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

__all__ = [
    "api_path",
    "check_path",
    "key_name_problem",
    "mount_problem",
    "namespace_problem",
    "username_problem",
]

# What Vault and OpenBao route: a word character at both ends, dots and hyphens between them.
# Source: GenericNameRegex and GenericNameWithAtRegex in the servers' sdk/framework/path.go
_KEY_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
_USERNAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.@-]*[A-Za-z0-9_])?", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9_.@+=~-]+", re.ASCII)
_LONGEST = 512
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f%/\\]")
_QUOTED = re.compile(r"(?:[A-Za-z0-9_.@+=~-]|%[0-9A-F]{2})+", re.ASCII)
_SAFE = "@+=~"


def key_name_problem(name: str) -> str | None:
    """Say why this can't be the name of a Transit key; None if it can."""
    if _KEY_NAME.fullmatch(name) and len(name) <= _LONGEST:
        return None
    return (
        "isn't a name that a Transit key can have: letters, digits, `_`, and between them `.` "
        "and `-` (it is the key's name alone; where Transit is mounted stands in `mount`)"
    )


def username_problem(name: str) -> str | None:
    """Say why this can't be a user's name; None if it can."""
    if _USERNAME.fullmatch(name) and len(name) <= _LONGEST:
        return None
    return "isn't a name that a user can have: letters, digits, `_`, and between them `.`, `-`, `@`"


def mount_problem(mount: str) -> str | None:
    """Say why nothing can be mounted at this path; None if something can."""
    if _is_path(mount):
        return None
    return "isn't a path at which something can be mounted, as in `transit` or `teams/a/transit`"


def namespace_problem(namespace: str) -> str | None:
    """Say why this can't be a namespace; None if it can."""
    if _is_path(namespace):
        return None
    return "isn't a namespace, as in `team` or `company/team`"


def _is_path(path: str) -> bool:
    return len(path) <= _LONGEST and all(
        _SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in path.split("/")
    )


def api_path(mount: str, *segments: str) -> str:
    """Put a path together, each segment quoted for itself.

    Args:
        mount: Where something is mounted, as in `transit`, `auth/kubernetes` or `sys`; it may
            have several segments.
        segments: The rest; none of them can become two segments, or go up.

    Returns:
        The path below `/v1/`.

    Raises:
        ValueError: One of them can't be a part of a path. The message doesn't show it.
    """
    if not _is_path(mount):
        msg = "not a mount path"
        raise ValueError(msg)
    for segment in segments:
        if not segment or segment in {".", ".."} or _FORBIDDEN.search(segment):
            msg = "not a segment of a path"
            raise ValueError(msg)
    return "/".join((mount, *(quote(segment, safe=_SAFE) for segment in segments)))


@lru_cache(maxsize=256)
def check_path(path: str) -> str:
    """Give the path back if it is one that `api_path` could have made.

    Raises:
        ValueError: It isn't. The message doesn't show it.
    """
    for segment in path.split("/"):
        plain = unquote(segment)
        if not _QUOTED.fullmatch(segment) or plain in {".", ".."} or _FORBIDDEN.search(plain):
            msg = "not a path of the API"
            raise ValueError(msg)
    return path
