"""What `check` finds out about a `vault` or `openbao` section: findings, never exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from keyhinge import CheckReport, Finding
from keyhinge_vault._check_keys import check_keys, check_policy
from keyhinge_vault._endpoint import is_loopback
from keyhinge_vault._errors import ServiceError, operation_error
from keyhinge_vault._names import api_path

if TYPE_CHECKING:
    from keyhinge_vault._provider import VaultProvider

__all__ = ["check"]

# The statuses by which `sys/health` tells the server's state.
# Source: Vault's API documentation, "/sys/health".
_STATES = frozenset({429, 472, 473, 501, 503})
_SKEW_SECONDS = 60
_SOON = timedelta(days=14)
_LONGEST_TTL = 100 * 365 * 86400
"""Seconds; what is longer doesn't end."""


def check(provider: VaultProvider) -> CheckReport:
    """Look at server, login, policy, keys, certificates and clock."""
    findings: list[Finding] = list(_server(provider))
    if _failed(findings):
        return CheckReport(findings)  # whatever else is asked fails in the same way
    findings += _login(provider)
    if not _failed(findings):
        findings += check_policy(provider)
        findings += check_keys(provider)
    findings += _certificates(provider)
    return CheckReport(findings)


def _failed(findings: list[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def _server(provider: VaultProvider) -> Iterator[Finding]:
    connection = provider.session.connection
    server = connection.server
    if not server.is_tls and not is_loopback(server.origin.host):
        message = "endpoint is plain http: whoever is between can read tokens and plaintexts"
        yield Finding("warning", "plain-http", message)
    if server.is_tls and server.insecure:
        message = "insecureSkipVerify is on: any server is believed"
        yield Finding("warning", "unverified-tls", message)
    try:
        answer = connection.request("GET", api_path("sys", "health"), namespace="", accept=_STATES)
    except ServiceError as error:
        yield failed("server", error, "read on sys/health")
        return
    yield from _clock(answer.date)
    version = answer.body.get("version")
    if answer.body.get("sealed") is True or answer.status in {501, 503}:
        message = "the server is sealed, or not initialized"
        yield Finding("error", "server", message, {"retryable": True})
        return
    standby = " (a standby node, which forwards)" if answer.body.get("standby") is True else ""
    data = {"version": version if isinstance(version, str) else None, "endpoint": server.endpoint}
    yield Finding("ok", "server", f"version {version} at {server.endpoint}{standby}", data)


def _clock(date: str) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(date)
    except (TypeError, ValueError, OverflowError):
        return
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=timezone.utc)
    skew = round((theirs - datetime.now(timezone.utc)).total_seconds())
    if abs(skew) <= _SKEW_SECONDS:
        yield Finding("ok", "clock", f"clocks differ by {abs(skew)} s", {"skew": skew})
        return
    message = f"the server's clock is {abs(skew)} s {'ahead' if skew > 0 else 'behind'}: JWTs and "
    message += "certificates may be refused"
    yield Finding("warning", "clock", message, {"skew": skew})


def _login(provider: VaultProvider) -> Iterator[Finding]:
    session = provider.session
    method = session.credentials.method
    try:
        lease, told = session.look()
    except ServiceError as error:
        yield failed("login", error, "the login")
        return
    if lease.token is None:
        yield Finding("info", "login", "authMethod none: an agent or proxy has to add the token")
        return
    if told is None:
        message = f"authMethod {method}; the token may not look itself up, so its time isn't known"
        yield Finding("info", "login", message, {"method": method})
        return
    yield _token(method, told, session.credentials.logs_in)


def _token(method: str, told: dict[str, Any], logs_in: bool) -> Finding:
    found = told.get("ttl")
    ttl = found if type(found) is int and 0 < found < _LONGEST_TTL else 0
    renewable = told.get("renewable") is True
    data: dict[str, Any] = {"method": method, "ttl": ttl or None, "renewable": renewable}
    policies = told.get("policies")
    if isinstance(policies, list):
        data["policies"] = ", ".join(map(str, policies))
    if not ttl:
        return Finding("ok", "login", f"authMethod {method}; the token doesn't end", data)
    if renewable or logs_in:
        how = "is renewed by itself" if renewable else "is replaced by another login before it ends"
        return Finding("ok", "login", f"authMethod {method}; the token has {ttl} s and {how}", data)
    end = datetime.now(timezone.utc) + timedelta(seconds=ttl)
    data |= {"expires": stamp(end), "breaks": "the token ends, and nothing here can renew it"}
    message = f"authMethod {method}; the token ends {stamp(end)} and can't be renewed"
    return Finding("warning", "login", message, data)


def _certificates(provider: VaultProvider) -> Iterator[Finding]:
    report = provider.session.connection.tls_report()
    names = {
        "server": ("tls-server", "the server's TLS certificate"),
        "client": ("tls-client", "the TLS client certificate"),
        "ca": ("tls-ca", "the last certificate of tlsCAPath"),
    }
    now = datetime.now(timezone.utc)
    for field, (code, what) in names.items():
        end: datetime | None = getattr(report, field)
        if end is None:
            continue
        data: dict[str, Any] = {"expires": stamp(end), "breaks": f"{what} ends"}
        if end <= now:
            yield Finding("error", code, f"{what} has ended {stamp(end)}", data)
        else:
            level: Literal["ok", "warning"] = "warning" if end - now < _SOON else "ok"
            yield Finding(level, code, f"{what} ends {stamp(end)}", data)


def failed(code: str, error: ServiceError, request: str) -> Finding:
    """Make a finding of a failure."""
    problem = operation_error(error, request=request)
    data: dict[str, Any] = {"error": type(problem).__name__, "retryable": problem.retryable}
    return Finding("error", code, str(problem), data)


def stamp(moment: datetime) -> str:
    """Write a moment as findings have it."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
