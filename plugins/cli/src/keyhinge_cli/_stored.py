"""What `check` finds in the database: does one value of each kind open?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from keyhinge_cli._plugins import is_installed, plugin
from keyhinge_cli._session import open_stored

if TYPE_CHECKING:
    from collections.abc import Collection

    from keyhinge import Finding, KeyManager
    from keyhinge_cli._options import Invocation
    from keyhinge_store import Sample, SampleReport

__all__ = ["STORE", "stored_findings"]

# What is found about the database itself; no section can have this name.
STORE = "store"

# There isn't anything to look at yet, and `check` makes nothing.
_ABSENT = frozenset({"DatabaseMissingError", "TableMissingError"})


def stored_findings(
    invocation: Invocation, keys: KeyManager, sections: Collection[str] | None
) -> list[tuple[str, Finding]]:
    """Open one stored value for each section, key and version, if a database is known.

    Args:
        invocation: Names the database, or leaves it to the environment and the file.
        keys: The configuration.
        sections: Only values of these; None for all, also of those that aren't configured.

    Returns:
        Findings with their sections; nothing where no database is named.
    """
    from keyhinge import KeyhingeError

    try:
        if not _is_named(invocation, keys):
            return []
        with open_stored(invocation, keys) as store:
            report = plugin("store").samples(store, keys, sections=sections)
    except KeyhingeError as error:
        return [(STORE, _failed(error))]
    found = [(sample.section, _finding(sample)) for sample in report.samples]
    return [*found, *((STORE, finding) for finding in _remarks(report))]


def _is_named(invocation: Invocation, keys: KeyManager) -> bool:
    if invocation.database or os.environ.get("KEYHINGE_DATABASE"):
        return True
    if not is_installed("store"):
        return False
    return plugin("store").store_settings(keys.configuration).url is not None


def _failed(error: Exception) -> Finding:
    from keyhinge import Finding

    kind = type(error).__name__
    if kind in _ABSENT:
        return Finding("info", "database", str(error), {"error": kind})
    retryable = getattr(error, "retryable", False) is True
    return Finding("error", "database", str(error), {"error": kind, "retryable": retryable})


def _finding(sample: Sample) -> Finding:
    from keyhinge import Finding

    data: dict[str, Any] = {
        "section": sample.section,
        "key_id": sample.key_id,
        "version": sample.version,
        "table": sample.table,
        "values": sample.values,
    }
    these = "the only value" if sample.values == 1 else f"one of {sample.values:,} values"
    these += f" under key {sample.key_id}" if sample.key_id else " without a key"
    if sample.version:
        these += f", version {sample.version}"
    if sample.error is None:
        return Finding("ok", "stored-value", f"opened {these}", data)
    data |= {
        "key": dict(sample.key),
        "configured": sample.configured,
        "error": type(sample.error).__name__,
        "retryable": getattr(sample.error, "retryable", False) is True,
    }
    row = ", ".join(f"{column} {part!r}" for column, part in sample.key.items())
    message = f"{these} doesn't open ({row}): {sample.error}"
    return Finding("error", "stored-value", message, data)


def _remarks(report: SampleReport) -> list[Finding]:
    from keyhinge import Finding

    data: dict[str, Any] = {
        "tables": list(report.tables),
        "values": report.values,
        "complete": report.complete,
    }
    names = f"the table {' or '.join(map(repr, report.tables))}"
    if not report.complete:
        message = (
            f"not every kind of value was tried: {names} has too many rows or "
            "keys; `keyhinge verify` opens all"
        )
        return [Finding("info", "stored-value", message, data)]
    if not report.samples:
        message = f"{names} has no value to open"
        if report.values:
            message += f" of these sections, and {report.values:,} of others"
        return [Finding("info", "stored-value", message, data)]
    return []
