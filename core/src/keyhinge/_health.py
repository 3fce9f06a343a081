"""Checks: does a section work, and what does its provider say about it?"""

from __future__ import annotations

import time
from datetime import datetime, timezone

import attrs

from keyhinge._context import own_context
from keyhinge._errors import InvalidCiphertextError, OperationError
from keyhinge._hookspecs import ALL_PURPOSES, CheckReport, Decrypt, Finding, Purpose
from keyhinge._section import OpenSection
from keyhinge._section_batch import rewrap_many
from keyhinge._value import EncryptedValue

__all__ = ["Health", "check_section", "probe", "round_trip"]

_OTHER_CONTEXT = own_context({"keyhinge": "probe/other"})


@attrs.frozen
class Health:
    """Whether the primary section works; for readiness probes.

    Attributes:
        ok: Whether a value could be encrypted and decrypted.
        encrypts: Whether the primary section encrypts at all.
        section: The primary section's name.
        checked_at: When it was tried (UTC).
        retryable: Whether what is wrong may pass by itself.
        message: What is wrong; empty where nothing is.
    """

    ok: bool
    encrypts: bool
    section: str
    checked_at: datetime
    retryable: bool = False
    message: str = ""


def probe(section: OpenSection) -> Health:
    """Encrypt and decrypt one small value."""
    error = None
    try:
        round_trip(section)
    except OperationError as failure:
        error = failure
    return Health(
        ok=error is None,
        encrypts=section.capabilities.encrypts,
        section=section.name,
        checked_at=datetime.now(timezone.utc),
        retryable=error is not None and error.retryable,
        message="" if error is None else str(error),
    )


def check_section(section: OpenSection, purpose: Purpose = "app") -> CheckReport:
    """Try a section out and ask its provider; findings, never exceptions.

    Raises:
        ValueError: There is no such purpose.
    """
    if purpose not in ALL_PURPOSES:
        msg = f"purpose must be one of {', '.join(ALL_PURPOSES)}"
        raise ValueError(msg)
    findings = [Finding("info", "provider", f"provider of {section.distribution}")]
    if not section.capabilities.encrypts:
        message = (
            "not encrypted: this section stores values as they are, and whoever can read the "
            "database can read them. keyManagement.options.requireEncryption refuses it as primary"
        )
        findings.append(Finding("warning", "not-encrypted", message))
    if purpose != "read":
        findings += _tried(section)
    if purpose == "migrate" and section.capabilities.key_versions:
        findings += _rewrapped(section)
    try:
        findings += [_for(purpose, found) for found in section.provider_check().findings]
    except OperationError as failure:
        findings.append(_failed("provider-check", failure))
    return CheckReport(findings)


def _tried(section: OpenSection) -> list[Finding]:
    started = time.perf_counter()
    try:
        value = round_trip(section)
        took = time.perf_counter() - started
        findings = [
            Finding(
                "ok",
                "round-trip",
                f"encrypted and decrypted a value in {took * 1000:.1f} ms",
                {"seconds": round(took, 6)},
            )
        ]
        if section.capabilities.binds_context:
            findings.append(_context_finding(section))
        key = section.current_key()
    except OperationError as failure:
        return [_failed("round-trip", failure)]
    if key.key_id or value.key_id:
        version = f", version {key.version}" if key.version else ", version not told"
        data = {"key_id": key.key_id, "version": key.version}
        findings.append(Finding("ok", "key", f"encrypts under key {key.key_id}{version}", data))
    return findings


def _rewrapped(section: OpenSection) -> list[Finding]:
    context = section.probe_context
    try:
        value = section.seal(section.probe_text, context)
        (rewrapped,) = rewrap_many(section, [Decrypt(value, context)])
        if isinstance(rewrapped, OperationError):
            return [_failed("rewrap", rewrapped)]
        if section.open(rewrapped, context) != section.probe_text:
            raise section.blame.rubbish("rewrap", "a rewrapped value isn't what it was")
    except OperationError as failure:
        return [_failed("rewrap", failure)]
    return [Finding("ok", "rewrap", "rewrapped a value")]


def _for(purpose: Purpose, finding: Finding) -> Finding:
    if purpose in finding.purposes or finding.level in {"ok", "info"}:
        return finding
    return attrs.evolve(finding, level="info")


def round_trip(section: OpenSection) -> EncryptedValue:
    """Encrypt and decrypt one small value, and compare."""
    value = section.seal(section.probe_text, section.probe_context)
    if section.open(value, section.probe_context) != section.probe_text:
        raise section.blame.rubbish("decrypt", "what it decrypted isn't what it had encrypted")
    return value


def _context_finding(section: OpenSection) -> Finding:
    value = section.seal(section.probe_text, section.probe_context)
    try:
        section.open(value, _OTHER_CONTEXT)
    except InvalidCiphertextError:
        return Finding("ok", "context", "a value opens only under its own context")
    return Finding("error", "context", "a value opened under another context than its own")


def _failed(code: str, failure: OperationError) -> Finding:
    kind = type(failure).__name__
    return Finding("error", code, str(failure), {"error": kind, "retryable": failure.retryable})
