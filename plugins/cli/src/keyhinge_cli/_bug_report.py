"""What somebody who mends a provider wants to know of the machine that it fails on."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

__all__ = ["environment", "installed_needs", "package_folder"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def environment() -> dict[str, Any]:
    """Tell which Keyhinge and which Python this is, and where."""
    from keyhinge import API_VERSION

    return {
        "keyhinge": version_of("keyhinge"),
        "keyhinge_cli": version_of("keyhinge-cli"),
        "api": API_VERSION,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "prefix": sys.prefix,
        "needs": installed_needs("keyhinge"),
    }


def installed_needs(distribution: str) -> dict[str, str | None]:
    """Give what a package depends on, with the version that is installed; None for none.

    Optional dependencies are left out where they aren't installed.
    """
    try:
        lines = metadata.requires(distribution) or []
    except Exception:  # noqa: BLE001 - damaged metadata of a package is no reason to fail
        return {}
    return dict(_needs(lines))


def _needs(lines: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for line in lines:
        requirement, _, marker = line.partition(";")
        if match := _NAME.match(requirement.strip()):
            version = version_of(match[0])
            if version is not None or not marker:
                yield match[0], version


def version_of(distribution: str) -> str | None:
    """Give the installed version of a package, or None."""
    try:
        return metadata.version(distribution)
    except Exception:  # noqa: BLE001 - as above
        return None


def package_folder(distribution: str) -> str | None:
    """Give the folder that a package is installed in, or None."""
    try:
        return str(metadata.distribution(distribution).locate_file(""))
    except Exception:  # noqa: BLE001 - as above
        return None
