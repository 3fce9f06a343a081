"""What `check` finds out about the policy and the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keyhinge import Finding, Purpose
from keyhinge_vault._errors import KINDS, ServiceError
from keyhinge_vault._key import Key
from keyhinge_vault._names import api_path

if TYPE_CHECKING:
    from keyhinge_vault._provider import VaultProvider

__all__ = ["check_keys", "check_policy"]

_EVERYTHING = frozenset({"root"})
_ALL: tuple[Purpose, ...] = ("app", "read", "migrate")


def check_policy(provider: VaultProvider) -> Iterator[Finding]:
    """Ask what the token may do on each path that is needed."""
    key = provider.key
    needed: list[tuple[str, str, tuple[Purpose, ...]]] = [
        (key.encrypt, "update", ("app", "migrate")),
        (key.decrypt, "update", _ALL),
    ]
    if key.mode == "context":
        needed.append((key.rewrap, "update", ("migrate",)))
    for name in provider.settings.decrypt_key_ids:
        old = provider.keys.get(name)
        if old is not None:
            needed.append((old.decrypt, "update", _ALL))
    paths = [path for path, _, _ in needed]
    try:
        told = provider.session.request(
            "POST", api_path("sys", "capabilities-self"), json={"paths": paths}
        ).data
    except ServiceError as error:
        message = f"what the policy allows can't be told: {KINDS[error.kind].reason}"
        yield Finding("info", "policy", message)
        return
    for path, capability, purposes in needed:
        found = told.get(path)
        held = {str(each) for each in found} if isinstance(found, list) else set()
        data: dict[str, Any] = {
            "path": path,
            "capability": capability,
            "allowed": capability in held,
        }
        if capability in held or held & _EVERYTHING:
            more = ", and may make the key (`create`), which isn't needed" * ("create" in held)
            message = f"the policy allows {capability} on {path}{more}"
            yield Finding("ok", "policy", message, {**data, "allowed": True})
        else:
            message = f"the policy lacks {capability} on {path}"
            yield Finding("error", "policy", message, data, purposes)


def check_keys(provider: VaultProvider) -> Iterator[Finding]:
    """Read each key's settings, where the policy allows it."""
    for name in dict.fromkeys((provider.settings.key_id, *provider.settings.decrypt_key_ids)):
        key = provider.keys.get(name)
        if key is not None:
            yield from _key(provider, key)


def _key(provider: VaultProvider, key: Key) -> Iterator[Finding]:
    try:
        told = provider.session.request("GET", key.read).data
    except ServiceError as error:
        if error.kind == "missing":
            message = f"the key {key.name} doesn't exist at {key.read}"
            yield Finding("error", "transit-key", message, {"key_id": key.name})
        else:
            reason = KINDS[error.kind].reason
            message = f"the key {key.name} can't be read ({reason}): its type isn't known"
            yield Finding("info", "transit-key", message, {"key_id": key.name})
        return
    latest, oldest = told.get("latest_version"), told.get("min_decryption_version")
    mode = "context (derived)" if told.get("derived") is True else "associated_data"
    data: dict[str, Any] = {
        "key_id": key.name,
        "type": _text(told.get("type")),
        "latest_version": latest if isinstance(latest, int) else None,
        "min_decryption_version": oldest if isinstance(oldest, int) else None,
        "binds": mode,
    }
    message = (
        f"key {key.name}: {data['type']}, version {data['latest_version']} encrypts, versions from "
        f"{data['min_decryption_version']} on decrypt; the context is bound as {mode}"
    )
    yield Finding("ok", "transit-key", message, data)
    for setting, text in (
        ("deletion_allowed", "may be deleted, and every value with it"),
        ("exportable", "can be exported, so it may be somewhere else too"),
        ("allow_plaintext_backup", "can be backed up in plaintext"),
    ):
        if told.get(setting) is True:
            message = f"the key {key.name} {text} ({setting})"
            yield Finding(
                "info", f"transit-{setting.replace('_', '-')}", message, {"key_id": key.name}
            )


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None
