"""What `check` says about credentials: where they come from, and when they end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from keyhinge import Finding, OperationError
from keyhinge_aws._client import Clients
from keyhinge_aws._errors import translate
from keyhinge_aws._quiet import quiet

SOURCES = {
    "explicit": "accessKey and secretKey",
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "AWS's credentials file",
    "config-file": "AWS's configuration file",
    "custom-process": "a process that the profile names",
    "assume-role": "a role",
    "assume-role-with-web-identity": "a web identity (as of a Kubernetes service account)",
    "sso": "single sign-on",
    "login": "a login of the command line",
    "container-role": "the container's role",
    "iam-role": "the instance's role",
}
_RENEWED = (
    "assume-role",
    "assume-role-with-web-identity",
    "container-role",
    "iam-role",
    "custom-process",
)
"""What gets new credentials by itself, without somebody who logs in."""
_EXPIRATION = "AWS_CREDENTIAL_EXPIRATION"


def credential_findings(clients: Clients) -> Iterator[Finding]:
    """Look the credentials up, and say what is known of them; never the secret parts."""
    failure = None
    try:
        with quiet():
            credentials = clients.credentials()
            frozen = credentials.get_frozen_credentials()
    except Exception as error:  # noqa: BLE001 - told apart there
        failure = translate(error, "looking for credentials")
    if isinstance(failure, OperationError):
        yield Finding("error", "credentials", str(failure), {"retryable": failure.retryable})
        return
    method = str(getattr(credentials, "method", "")) or "unknown"
    source = SOURCES.get(method, method)
    shown, temporary = masked(frozen.access_key), bool(frozen.token)
    data = {"source": method, "access_key": shown, "temporary": temporary}
    if clients.settings.role_arn is not None:
        ends = getattr(credentials, "expires", 0.0)
        data["role"] = clients.settings.role_arn
        data["ttl"] = max(0, round(ends - datetime.now(timezone.utc).timestamp()))
        source += f" ({clients.settings.role_arn})"
    message = f"credentials from {source}, access key {shown}"
    yield Finding("ok", "credentials", message, data)  # type: ignore[arg-type]
    if temporary:
        yield _end(clients, method)
    elif clients.settings.access_key is not None and clients.settings.access_key.path is None:
        message = (
            "the access key stands in the configuration for good: a role, or files that something "
            "renews, leave less to steal"
        )
        yield Finding("info", "credentials-long-lived", message)


def masked(access_key: str | None) -> str:
    """Show as much of an access key's id as is needed to tell it from others."""
    text = access_key or ""
    return f"{text[:4]}…{text[-4:]}" if len(text) >= 16 else "…"


def _end(clients: Clients, method: str) -> Finding:
    """Say when temporary credentials end, or what renews them."""
    if method in _RENEWED:
        return Finding("ok", "credentials-renewal", "the credentials are renewed by themselves")
    token = clients.settings.session_token
    if token is not None and token.path is not None:
        message = (
            "the session token ends; its file is read again when it changes, so something must "
            "write it anew in time"
        )
        return Finding("info", "credentials-renewal", message)
    ends = _time(clients.environ.get(_EXPIRATION, "")) if method == "env" else None
    if ends is not None:
        message = f"the session token of the environment ends at {ends}, and nothing renews it"
        data = {"expires": ends, "breaks": "the session token of the environment ends"}
        return Finding("warning", "credentials-renewal", message, data)
    message = (
        "the credentials have a session token, which ends at a time that only its maker knows, "
        "and nothing here renews it"
    )
    return Finding("warning", "credentials-renewal", message)


def _time(text: str) -> str | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    return found.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
