"""The TLS context, and noticing that its files changed."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from keyhinge_vault._server import Server

__all__ = ["Stamp", "make_context", "stamp_of"]

Stamp = tuple[tuple[int, int, int, int] | None, ...]


def stamp_of(server: Server) -> Stamp:
    """Describe the TLS files as they are now; another description means other files."""
    return tuple(map(_stamp, _files(server)))


def _uses_tls(server: Server) -> bool:
    return server.is_tls or len(server.redirects) > 1


def _files(server: Server) -> list[Path]:
    files = (server.ca, server.certificate, server.key)
    return [path for path in files if path is not None] if _uses_tls(server) else []


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - hot path
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def make_context(server: Server) -> ssl.SSLContext:
    """Make a context of the files as they are now.

    Raises:
        OSError: A file is missing, unreadable or not what it should be (`ssl.SSLError` is one).
        ValueError: A path can't be one.
    """
    # Not `create_default_context`: from Python 3.13 on it refuses CAs that older ones take.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_COMPRESSION
    # Like the servers' own tools: any certificate of the file is an anchor, an intermediate too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if server.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif _uses_tls(server):
        _trust(context, server.ca)
    if server.certificate is not None and _uses_tls(server):
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(server.certificate, server.key, password=lambda: "")
    return context


def _trust(context: ssl.SSLContext, ca: Path | None) -> None:
    if ca is not None:
        folder = ca.is_dir()
        context.load_verify_locations(cafile=None if folder else ca, capath=ca if folder else None)
        return
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath or context.get_ca_certs()):
        import certifi  # what requests brings along, where the system has no store

        context.load_verify_locations(cafile=certifi.where())
