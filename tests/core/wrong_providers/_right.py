"""A provider that is right, for the wrong ones to differ from in one thing each."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Any

import attrs

from keyhinge import (
    Capabilities,
    CheckReport,
    Finding,
    InvalidCiphertextError,
    InvalidSettings,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Provider,
    Sealed,
    Secret,
    canonical,
    hookimpl,
    secret,
    setting,
    settings,
)
from keyhinge.testing import ProviderConformance

NONCE, TAG = 16, 32


@settings
class Settings:
    """Settings of the right one and of all wrong ones."""

    token: Secret = secret(help="The key, and what nobody may see.")
    key_id: str = setting(alias="keyID", default="k1")

    def __attrs_post_init__(self):
        if " " in self.key_id:
            raise InvalidSettings({"keyID": "has a space"})


class Right(Provider):
    """SHAKE-256 for the stream, HMAC-SHA256 for the tag, with all optional hooks."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)
    version = "1"

    def __init__(self, settings, section):
        self.token = settings.token
        self.key_id = settings.key_id
        self.section = section.name

    # What wrong ones replace

    def key(self):
        return self.token.reveal().encode()

    def nonce(self):
        return os.urandom(NONCE)

    def bound(self, context):
        return canonical(self.key_id, self.version, context)

    def stream(self, nonce, data):
        pad = hashlib.shake_256(self.key() + nonce).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, pad, strict=True))

    def tag(self, data, context):
        return hmac.digest(self.key(), self.bound(context) + data, "sha256")

    def seal(self, plaintext, context):
        nonce = self.nonce()
        body = nonce + self.stream(nonce, plaintext)
        return Sealed(self.tag(body, context) + body, self.key_id, self.version)

    def open(self, value, context):
        if value.key_id != self.key_id:
            raise KeyUnavailableError("it isn't this section's key")
        tag, body = value.ciphertext[:TAG], value.ciphertext[TAG:]
        good = hmac.compare_digest(tag, self.tag(body, context))
        if value.version != self.version or not good:
            raise InvalidCiphertextError
        return self.stream(body[:NONCE], body[NONCE:])

    # The hooks

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        return self.seal(plaintext, context)

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        return self.open(value, context)

    @hookimpl
    def keyhinge_encrypt_many(self, items):
        return each(items, lambda item: self.seal(item.plaintext, item.context))

    @hookimpl
    def keyhinge_decrypt_many(self, items):
        return each(items, lambda item: self.open(item.value, item.context))

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        return each(
            items, lambda item: self.seal(self.open(item.value, item.context), item.context)
        )

    @hookimpl
    def keyhinge_encrypt_nowait(self, plaintext, context):
        return self.seal(plaintext, context)

    @hookimpl
    def keyhinge_decrypt_nowait(self, value, context):
        return self.open(value, context)

    @hookimpl
    def keyhinge_current_key(self):
        return KeyRef(self.key_id, self.version)

    @hookimpl
    def keyhinge_check(self):
        return CheckReport([Finding("ok", "here", "it is here")])

    @hookimpl
    def keyhinge_close(self):
        pass


def each(items, one):
    """Give a result or an error for each item."""
    results: list[Any] = []
    for item in items:
        try:
            results.append(one(item))
        except OperationError as error:
            results.append(error)
    return results


class Module:
    """What an entry point would name."""

    keyhinge_api = 1
    keyhinge_settings: type = Settings

    def __init__(self, kind: Callable[..., Any]) -> None:
        self.kind = kind

    @hookimpl
    def keyhinge_configure(self, settings, section):
        return self.kind(settings, section)


@attrs.frozen
class Wrong:
    """A fault, the rule that it breaks, and the case that must find it."""

    name: str
    rule: str
    case: str
    conformance: type[ProviderConformance]


WRONG: list[Wrong] = []


def wrong(rule: str, case: str, *, module: Any = None, **members: Any) -> Callable[[Any], Any]:
    """Note a wrong provider, with the members that its conformance class has beside the usual."""

    def note(kind: Any) -> Any:
        target = module or (kind if hasattr(kind, "keyhinge_configure") else Module(kind))
        WRONG.append(Wrong(kind.__name__, rule, case, conformance(target, **members)))
        return kind

    return note


def conformance(target: Any, **members: Any) -> type[ProviderConformance]:
    """Make the conformance class of a provider of this folder."""

    class Conformance(ProviderConformance):
        provider = target

        def settings(self):
            return {"token": "t0ken-of-one-section", "keyID": "k1"}

        def other_settings(self):
            return {"token": "t0ken-of-another-one", "keyID": "k2"}

        def wrong_settings(self):
            return [{**self.settings(), "keyID": "k1 of two words"}]

    for name, member in members.items():
        setattr(Conformance, name, member)
    return Conformance
