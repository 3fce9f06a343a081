"""URLs and hosts of the configuration: what they may look like, and comparing them."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "Origin",
    "endpoint_problem",
    "is_loopback",
    "origin_of",
    "origin_problem",
    "parse_origin",
    "proxy_problem",
]

_PORTS = {"http": 80, "https": 443}
# A name, an IPv4 address, or an IPv6 address without its brackets.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.~-]+)*/?")
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")


class Origin(NamedTuple):
    """A host, and its port or None for any port."""

    host: str
    port: int | None


def endpoint_problem(url: str) -> str | None:
    """Say why this can't be the server's URL; None if it can. Values aren't shown."""
    split = _split(url)
    if split is None or split.scheme not in _PORTS:
        return "must be a URL, as in https://vault.example.com:8200"
    if split.username is not None or split.password is not None:
        return "must not hold a user or a password"
    if split.query or split.fragment or "?" in url or "#" in url:
        return "must not have anything behind its path"
    if not _PATH.fullmatch(split.path) or _DOTS.search(split.path):
        return "has a path that no server's URL has"
    if split.path.rstrip("/").endswith("/v1"):
        return "must leave out the `/v1` at its end, which is added to every request"
    return None


def proxy_problem(url: str) -> str | None:
    """Say why this can't be a proxy's URL; None if it can, or is empty. Values aren't shown."""
    if not url:
        return None
    split = _split(url)
    if split is None or split.scheme != "http" or split.path not in {"", "/"} or split.query:
        return "must be the URL of an HTTP proxy, as in http://proxy.example.com:3128"
    return None


def origin_problem(text: str) -> str | None:
    """Say why this can't be a host or host:port; None if it can."""
    try:
        parse_origin(text)
    except ValueError:
        return "must hold hosts, as in vault-1.example.com or vault-1.example.com:8200"
    return None


def parse_origin(text: str) -> Origin:
    """Read `host` or `host:port`; an IPv6 address stands in brackets.

    Raises:
        ValueError: It is neither.
    """
    split = _split(f"//{text}")
    if split is None or split.netloc != text or "@" in text:
        msg = "not a host"
        raise ValueError(msg)
    return Origin(_host(split), split.port)


def origin_of(url: str) -> Origin:
    """Give host and port of a URL that is in order.

    Raises:
        ValueError: It isn't.
    """
    split = _split(url)
    if split is None or split.scheme not in _PORTS:
        msg = "not a URL"
        raise ValueError(msg)
    return Origin(_host(split), split.port or _PORTS[split.scheme])


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host never leaves the machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(split: SplitResult) -> str:
    return (split.hostname or "").rstrip(".")


def _split(url: str) -> SplitResult | None:
    # urlsplit drops tabs and newlines silently, so they are refused before.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        split = urlsplit(url)
        if not split.hostname or not _HOST.fullmatch(split.hostname) or split.port == 0:
            return None
    except ValueError:
        return None
    return split
