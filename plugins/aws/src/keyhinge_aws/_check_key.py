"""What `check` says about a key: state, use, rotation, replicas, and where an alias points."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from keyhinge import Finding, OperationError
from keyhinge_aws._answers import PROBE_CONTEXT, Answer
from keyhinge_aws._errors import is_denied
from keyhinge_aws._kms import Kms
from keyhinge_aws._target import Target

_Data = dict[str, str | int | float | bool | None]
_DESCRIBED = {
    "state": "KeyState",
    "spec": "KeySpec",
    "usage": "KeyUsage",
    "manager": "KeyManager",
    "origin": "Origin",
    "multi_region": "MultiRegion",
    "version": "CurrentKeyMaterialId",
}
_STATES = {
    "Disabled": "enable it",
    "PendingDeletion": "cancel the deletion, unless no value and no backup is under it any more",
    "PendingImport": "import its key material",
    "PendingReplicaDeletion": "cancel the deletion",
    "Unavailable": "look at its custom key store",
    "Creating": "wait until it is ready",
    "Updating": "wait until it is ready",
}


def key_findings(kms: Kms, key: Target, region: str, *, encrypts: bool) -> Iterator[Finding]:
    """Describe a key where that is allowed; a key that only decrypts is tried with rubbish, too.

    Args:
        kms: KMS with the section's keys.
        key: The key as it is configured.
        region: Its region.
        encrypts: Whether it is the one that encrypts.
    """
    metadata = kms.describe(key, region)
    if isinstance(metadata, OperationError):
        if is_denied(metadata):
            message = f"kms:DescribeKey isn't allowed on {key.text}: its state isn't known"
            yield Finding("info", "key-untold", message, {"key": key.text})
        else:
            data: _Data = {"key": key.text, "retryable": metadata.retryable}
            yield Finding("error", "key", f"{key.text}: {metadata}", data)
            return
    else:
        yield from _state(key, metadata)
        yield from _use(metadata)
        yield from _material(metadata)
        yield from _replicas(metadata)
        if encrypts:
            yield from _rotation(kms, metadata, region)
            yield from _alias(kms, metadata)
    if not encrypts:
        yield from _decrypts(kms, key, region)


def _state(key: Target, metadata: Answer) -> Iterator[Finding]:
    arn, state = str(metadata["Arn"]), str(metadata.get("KeyState", "unknown"))
    data: _Data = {"key": key.text, "arn": arn}
    for name, field in _DESCRIBED.items():
        value = metadata.get(field)
        if isinstance(value, str | bool):
            data[name] = value
    if state in _STATES:
        message = f"{arn} is {state}: {_STATES[state]}"
        deletion = _utc(metadata.get("DeletionDate"))
        if deletion is not None:
            message = f"{arn} is deleted at {deletion}, and every value under it is lost then: "
            message += _STATES["PendingDeletion"]
            data |= {"expires": deletion, "breaks": f"the key {arn} is deleted for good"}
        yield Finding("error", "key-state", message, data)
        return
    told = ", ".join(str(data[name]) for name in ("spec", "manager", "origin") if name in data)
    yield Finding("ok", "key", f"{arn}: {state} ({told})", data)


def _use(metadata: Answer) -> Iterator[Finding]:
    spec, usage = metadata.get("KeySpec"), metadata.get("KeyUsage")
    if (spec or "SYMMETRIC_DEFAULT", usage or "ENCRYPT_DECRYPT") != (
        "SYMMETRIC_DEFAULT",
        "ENCRYPT_DECRYPT",
    ):
        message = "the key must be SYMMETRIC_DEFAULT with the usage ENCRYPT_DECRYPT: other keys "
        yield Finding("error", "key-usage", message + "can't bind a context")
    if metadata.get("KeyManager") == "AWS":
        message = "the key belongs to an AWS service, which alone may use it; make one of your own"
        yield Finding("error", "key-manager", message)


def _material(metadata: Answer) -> Iterator[Finding]:
    ends = _utc(metadata.get("ValidTo"))
    if ends is not None:
        message = f"the imported key material expires at {ends}: import it again before that"
        data: _Data = {"expires": ends, "breaks": "the key's imported material expires"}
        yield Finding("warning", "key-material", message, data)
    elif metadata.get("Origin") == "EXTERNAL":
        message = "the key material was imported: keep a copy of it, for AWS keeps none for you"
        yield Finding("info", "key-material", message)


def _replicas(metadata: Answer) -> Iterator[Finding]:
    found = metadata.get("MultiRegionConfiguration")
    if not isinstance(found, dict):
        return
    entries = [found.get("PrimaryKey"), *(found.get("ReplicaKeys") or ())]
    regions = [str(entry.get("Region")) for entry in entries if isinstance(entry, dict)]
    message = (
        f"a multi-Region key, in {', '.join(regions)}: values made in one of these regions are "
        "decrypted in this section's own"
    )
    yield Finding("info", "key-regions", message, {"regions": ",".join(regions)})


def _rotation(kms: Kms, metadata: Answer, region: str) -> Iterator[Finding]:
    if metadata.get("Origin") != "AWS_KMS":
        return
    answer = kms.call("GetKeyRotationStatus", region, {"KeyId": metadata["Arn"]})
    if isinstance(answer, OperationError):
        if is_denied(answer):
            message = "kms:GetKeyRotationStatus isn't allowed: rotation isn't known"
            yield Finding("info", "rotation-untold", message)
        return
    on = answer.get("KeyRotationEnabled") is True
    data: _Data = {"enabled": on, "next": _utc(answer.get("NextRotationDate"))}
    message = "KMS rotates the key by itself; its ARN stays, and old values can be opened"
    yield Finding("info", "rotation", message if on else "KMS doesn't rotate the key", data)


def _alias(kms: Kms, metadata: Answer) -> Iterator[Finding]:
    if not kms.primary.is_alias:
        return
    arn = str(metadata["Arn"])
    data: _Data = {"alias": kms.primary.text, "arn": arn}
    if any(key.text == arn for key in kms.keys):
        message = f"{kms.primary.text} points to {arn}, which decryptKeyIDs has"
        yield Finding("ok", "alias-target", message, data)
        return
    message = (
        f"{kms.primary.text} points to {arn}. Once it is pointed elsewhere, the values made until "
        "then can't be opened, unless `decryptKeyIDs` has this ARN by then: add it now"
    )
    yield Finding("warning", "alias-target", message, data)


def _decrypts(kms: Kms, key: Target, region: str) -> Iterator[Finding]:
    """Ask for something that nobody can decrypt: a missing permission shows all the same."""
    parameters = {"KeyId": key.text, "CiphertextBlob": b"\0" * 64}
    answer = kms.call("Decrypt", region, {**parameters, "EncryptionContext": PROBE_CONTEXT})
    if isinstance(answer, OperationError) and is_denied(answer):
        message = f"kms:Decrypt isn't allowed on {key.text}, which decryptKeyIDs has"
        yield Finding("error", "permission-decrypt", message, {"key": key.text})


def _utc(value: object) -> str | None:
    if not isinstance(value, datetime):
        return None
    return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
