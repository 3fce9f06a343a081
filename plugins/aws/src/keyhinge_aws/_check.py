"""What `check` finds out about an `aws` section: where, as whom, which keys, what is allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from keyhinge import CheckReport, Finding, OperationError
from keyhinge_aws._answers import PROBE_CONTEXT, Answer
from keyhinge_aws._check_credentials import credential_findings
from keyhinge_aws._check_key import key_findings
from keyhinge_aws._client import is_plain
from keyhinge_aws._errors import is_denied, is_whole
from keyhinge_aws._kms import Kms
from keyhinge_aws._target import Target

# AWS refuses requests whose time is more than five minutes off.
MAX_SKEW = 300
WARN_SKEW = 60
_PROBE = b"keyhinge probe"
_POLICY = (
    "allow it in the key's policy or in an IAM policy of this identity. A policy that asks for "
    'entries of the encryption context refuses this probe, too: it has {"keyhinge": "probe/1"}'
)
_CLOUDTRAIL = (
    "CloudTrail records each call with its encryption context in plain text (never the value "
    "itself): contexts hold ids, and nothing that is secret or personal"
)


def check(kms: Kms) -> CheckReport:
    """Look at everything that can be asked; core tries the key in use out itself."""
    return CheckReport(tuple(_findings(kms)))


def _findings(kms: Kms) -> Iterator[Finding]:
    home = kms.home()
    if isinstance(home, OperationError):
        yield Finding("error", "credentials", str(home), {"retryable": home.retryable})
        return
    yield from _place(kms, home)
    credentials = list(credential_findings(kms.clients))
    yield from credentials
    if any(finding.level == "error" for finding in credentials):
        return
    first = kms.call("DescribeKey", home, {"KeyId": kms.primary.text})
    if isinstance(first, OperationError) and is_whole(first):
        yield Finding("error", "service", str(first), {"retryable": first.retryable})
        return  # each further call would only wait for the same
    for index, key in enumerate(kms.keys):
        yield from key_findings(kms, key, key.region or home, encrypts=index == 0)
    yield from _permissions(kms, home)
    yield Finding("info", "context-visible", _CLOUDTRAIL)


def _place(kms: Kms, home: str) -> Iterator[Finding]:
    settings, endpoint = kms.clients.settings, kms.clients.endpoint
    where = endpoint or ("AWS's own FIPS endpoint" if settings.use_fips else "AWS's own endpoint")
    data = {"region": home, "endpoint": endpoint, "fips": settings.use_fips}
    yield Finding("ok", "endpoint", f"region {home}, {where}", data)
    if is_plain(endpoint):
        message = "the endpoint is plain http: plaintexts cross the network unencrypted; use https"
        yield Finding("warning", "endpoint-plain", message)
    if kms.primary.region and settings.region and kms.primary.region != settings.region:
        message = f"`region` isn't used: the ARN in keyID has a region itself, {home}"
        yield Finding("warning", "region-unused", message)


def _permissions(kms: Kms, home: str) -> Iterator[Finding]:
    """Try each action once, for what a policy may have forgotten."""
    parameters = {"KeyId": kms.primary.text, "EncryptionContext": PROBE_CONTEXT}
    answer = kms.call("Encrypt", home, {**parameters, "Plaintext": _PROBE})
    if isinstance(answer, OperationError):
        yield _refused("encrypt", answer, ("app", "migrate"))
        message = "without the right to encrypt, only a stored value shows whether this identity "
        yield Finding("info", "decrypt-untried", message + "can decrypt: `keyhinge verify`")
        return
    yield Finding("ok", "permission-encrypt", "kms:Encrypt is allowed")
    yield from _clock(answer)
    ciphertext = answer.get("CiphertextBlob")
    opened = kms.call("Decrypt", home, {**parameters, "CiphertextBlob": ciphertext})
    if isinstance(opened, OperationError):
        yield _refused("decrypt", opened, ("app", "read", "migrate"))
    else:
        yield Finding("ok", "permission-decrypt", "kms:Decrypt is allowed")
    again = kms.call("ReEncrypt", home, _again(kms.primary, ciphertext))
    if isinstance(again, OperationError):
        yield _refused("rewrap", again, ("migrate",))
    else:
        message = "kms:ReEncryptFrom and kms:ReEncryptTo are allowed"
        yield Finding("ok", "permission-rewrap", message)


def _again(key: Target, ciphertext: object) -> dict[str, Any]:
    return {
        "CiphertextBlob": ciphertext,
        "SourceKeyId": key.text,
        "SourceEncryptionContext": PROBE_CONTEXT,
        "DestinationKeyId": key.text,
        "DestinationEncryptionContext": PROBE_CONTEXT,
    }


_ACTIONS = {
    "encrypt": "kms:Encrypt",
    "decrypt": "kms:Decrypt",
    "rewrap": "kms:ReEncryptFrom and kms:ReEncryptTo",
}


def _refused(what: str, error: OperationError, purposes: Any) -> Finding:
    if is_denied(error):
        message = f"{_ACTIONS[what]} isn't allowed: {_POLICY}"
        return Finding("error", f"permission-{what}", message, purposes=purposes)
    data = {"retryable": error.retryable}
    return Finding("error", what, str(error), data, purposes=purposes)


def _clock(answer: Answer) -> Iterator[Finding]:
    """Compare this machine's clock with the service's."""
    metadata = answer.get("ResponseMetadata")
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    date = headers.get("date") if isinstance(headers, dict) else None
    try:
        theirs = parsedate_to_datetime(str(date)).timestamp()
    except (TypeError, ValueError):
        return  # an emulator that doesn't say
    skew = round(time.time() - theirs)
    level = "ok" if abs(skew) < WARN_SKEW else "warning"
    message = f"this machine's clock is {abs(skew)} s {'ahead' if skew > 0 else 'behind'}"
    if level != "ok":
        message += f"; AWS refuses requests from {MAX_SKEW} s on: let NTP set it"
    yield Finding(level, "clock", message, {"skew": skew})  # type: ignore[arg-type]
