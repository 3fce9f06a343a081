"""An opened section: one configured provider, behind checks of all that goes in and comes out."""

from __future__ import annotations

import logging
import os
import re
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from keyhinge._blame import Blame
from keyhinge._context import FrozenContext, own_context
from keyhinge._contract import is_inherited
from keyhinge._errors import (
    InvalidContextError,
    InvalidPlaintextError,
    OperationError,
)
from keyhinge._hookspecs import (
    OPTIONAL_HOOKS,
    Capabilities,
    CheckReport,
    Encrypt,
    KeyRef,
    Provider,
    Sealed,
)
from keyhinge._value import (
    MAX_CIPHERTEXT_BYTES,
    EncryptedValue,
    ciphertext_problem,
    label_problem,
    make_value,
)

__all__ = ["OpenSection"]

log = logging.getLogger("keyhinge")

LONGEST_DATA_KEY = 128
_DATA_KEY = re.compile(f"[ -~]{{1,{LONGEST_DATA_KEY}}}")
LARGEST_PLAINTEXT = 64 * 1024 * 1024
PROBE = own_context({"keyhinge": "probe/1"})
"""The context of probes: of the library's own kind, so that no caller's value opens under it."""
PROBE_TEXT = b"keyhinge probe"


class OpenSection:
    """A section that was configured and can be used.

    It owns its provider: when the last reference goes, also that of a call in flight, the
    provider is closed. That is why nothing that a provider holds may refer back to it.

    Args:
        name: The section's name.
        distribution: The package of its provider, for messages.
        provider: What `keyhinge_configure` returned, checked.
    """

    __slots__ = (
        "__weakref__",
        "_close",
        "_key_id",
        "_version",
        "blame",
        "capabilities",
        "decrypt",
        "distribution",
        "encrypt",
        "hooks",
        "max_plaintext",
        "min_plaintext",
        "name",
        "probe_context",
        "probe_text",
        "refuses_context",
    )

    def __init__(self, name: str, distribution: str, provider: Provider) -> None:
        self.name = name
        self.distribution = distribution
        self.blame = Blame(name, distribution)
        self.capabilities: Capabilities = provider.capabilities
        # Resolved once: a call through pluggy costs more than encrypting 1 KiB.
        self.encrypt = provider.keyhinge_encrypt
        self.decrypt = provider.keyhinge_decrypt
        self.hooks: dict[str, Callable[..., Any]] = {
            hook: getattr(provider, hook)
            for hook in OPTIONAL_HOOKS
            if not is_inherited(provider, hook)
        }
        caps = self.capabilities
        self.min_plaintext = caps.min_plaintext
        limit = caps.max_plaintext
        self.max_plaintext = LARGEST_PLAINTEXT if limit is None else min(limit, LARGEST_PLAINTEXT)
        self.refuses_context = caps.encrypts and not caps.binds_context
        # What trying the section out encrypts: something that it takes.
        self.probe_context = own_context({}) if self.refuses_context else PROBE
        self.probe_text = PROBE_TEXT.ljust(caps.min_plaintext, b".")[: self.max_plaintext]
        self._key_id = self._version = ""
        close = self.hooks.get("keyhinge_close")
        self._close = weakref.finalize(self, _close, name, close, os.getpid())

    def close(self) -> None:
        """Close the provider now, whoever still uses it."""
        self._close()

    def abandon(self) -> None:
        """Never close the provider: closing it was tried, and doesn't come back."""
        self._close.detach()

    def seal(self, plaintext: bytes, context: FrozenContext) -> EncryptedValue:
        """Encrypt one value."""
        sealed: Any
        ciphertext: Any
        try:
            if type(plaintext) is not bytes or not (
                self.min_plaintext <= len(plaintext) <= self.max_plaintext
            ):
                raise self.bad_plaintext(plaintext)
            if self.refuses_context and context:
                raise self.unbound_context("encrypt")
            sealed = self.encrypt(plaintext, context)
            # What `label` does, written out for the usual case: a call costs as much as it does.
            if type(sealed) is Sealed:
                ciphertext, key_id, version = sealed
                if (
                    key_id == self._key_id
                    and version == self._version
                    and type(ciphertext) is bytes
                    and 0 < len(ciphertext) <= MAX_CIPHERTEXT_BYTES
                ):
                    return make_value(self.name, key_id, version, ciphertext)
            return self.label(sealed)
        except Exception as failure:  # noqa: BLE001 - a stranger's code; told apart there
            error = self.blame.error(failure, "encrypt")
        sealed = ciphertext = None
        try:
            raise error
        finally:
            # The traceback refers to this frame: no plaintext may stay in it, and no circle that
            # keeps the section from being closed when its last user is gone.
            del error, plaintext

    def open(self, value: EncryptedValue, context: FrozenContext) -> bytes:
        """Decrypt one value, which names this section or an alias of it."""
        answer: object
        try:
            if self.refuses_context and context:
                raise self.unbound_context("decrypt")
            answer = self.decrypt(value, context)
            return answer if type(answer) is bytes else self.checked(answer)
        except Exception as failure:  # noqa: BLE001 - a stranger's code; told apart there
            error = self.blame.error(failure, "decrypt")
        answer = None  # whatever it is that isn't bytes
        try:
            raise error
        finally:
            del error

    def seal_nowait(self, plaintext: bytes, context: FrozenContext) -> EncryptedValue | None:
        """Encrypt one value if that needs no I/O; None if it does."""
        hook = self.hooks.get("keyhinge_encrypt_nowait")
        if hook is None:
            return None
        try:
            refusal = self.refusal(Encrypt(plaintext, context))
            if refusal is not None:
                raise refusal
            sealed = hook(plaintext, context)
            return None if sealed is None else self.label(sealed)
        except Exception as failure:  # noqa: BLE001 - a stranger's code; told apart there
            error = self.blame.error(failure, "encrypt")
        try:
            raise error
        finally:
            refusal = None
            del error, plaintext

    def open_nowait(self, value: EncryptedValue, context: FrozenContext) -> bytes | None:
        """Decrypt one value if that needs no I/O; None if it does."""
        hook = self.hooks.get("keyhinge_decrypt_nowait")
        if hook is None:
            return None
        try:
            if self.refuses_context and context:
                raise self.unbound_context("decrypt")
            plaintext = hook(value, context)
            return None if plaintext is None else self.checked(plaintext)
        except Exception as failure:  # noqa: BLE001 - a stranger's code; told apart there
            error = self.blame.error(failure, "decrypt")
        plaintext = None
        try:
            raise error
        finally:
            del error

    def label(self, sealed: Sealed, operation: str = "encrypt") -> EncryptedValue:
        """Make a value of what the provider returned, if it is what it should be."""
        if type(sealed) is not Sealed:
            raise self.blame.rubbish(operation, f"it gave {type(sealed).__name__}, not Sealed")
        ciphertext, key_id, version = sealed
        problem = None
        # Providers have few keys: what was checked for the last value needn't be again.
        if key_id != self._key_id or version != self._version:
            problem = label_problem(key_id, version)
            if problem is None:
                self._key_id, self._version = key_id, version
        if type(ciphertext) is not bytes or not 0 < len(ciphertext) <= MAX_CIPHERTEXT_BYTES:
            problem = ciphertext_problem(ciphertext)
        if problem:
            what = f"what it gave isn't an encrypted value (rule R7): {problem}"
            raise self.blame.rubbish(operation, what)
        return make_value(self.name, key_id, version, ciphertext)

    def current_key(self) -> KeyRef:
        """Tell the key and version that encrypt now; by encrypting a probe if need be."""
        hook = self.hooks.get("keyhinge_current_key")
        if hook is None:
            value = self.seal(self.probe_text, self.probe_context)
            return KeyRef(value.key_id, value.version)
        found: object = self.call(hook, "current_key")
        if not isinstance(found, KeyRef):
            what = f"it gave {type(found).__name__}, not KeyRef"
            raise self.blame.rubbish("current_key", what)
        if problem := label_problem(found.key_id, found.version):
            what = f"what it gave isn't a valid KeyRef (rule R7): {problem}"
            raise self.blame.rubbish("current_key", what)
        return found

    def data_key(self, value: EncryptedValue) -> str:
        """Ask which data key a value is under; "" where the provider makes none."""
        hook = self.hooks.get("keyhinge_data_key")
        if hook is None:
            return ""
        found: object = self.call(hook, "data_key", value)
        if type(found) is str and re.fullmatch(_DATA_KEY, found):
            return found
        what = f"it didn't give a name of at most {LONGEST_DATA_KEY} printable ASCII characters"
        raise self.blame.rubbish("data_key", what)

    def provider_check(self) -> CheckReport:
        """Ask the provider for its own findings; none where it has no such hook."""
        hook = self.hooks.get("keyhinge_check")
        if hook is None:
            return CheckReport()
        report = self.call(hook, "check")
        if type(report) is not CheckReport:
            raise self.blame.rubbish("check", f"it gave {type(report).__name__}, not CheckReport")
        return report

    def counters(self) -> Mapping[str, int]:
        """Ask the provider what it has counted; nothing where it counts nothing."""
        hook = self.hooks.get("keyhinge_counters")
        if hook is None:
            return {}
        found = self.call(hook, "counters")
        if not isinstance(found, Mapping) or not all(
            type(name) is str and type(number) is int for name, number in found.items()
        ):
            raise self.blame.rubbish("counters", "it didn't give whole numbers by their names")
        return dict(found)

    def call(self, hook: Callable[..., Any], operation: str, *args: Any) -> Any:
        """Call a hook; whatever it raises becomes one of our errors."""
        try:
            return hook(*args)
        except Exception as failure:  # noqa: BLE001 - a stranger's code; told apart there
            error = self.blame.error(failure, operation)
        try:
            raise error
        finally:
            del error

    def bad_plaintext(self, plaintext: object) -> InvalidPlaintextError:
        """Make the error for a plaintext that isn't bytes of the right size."""
        if type(plaintext) is bytes:
            message = (
                f"the plaintext has {len(plaintext)} bytes; this section takes "
                f"{self.min_plaintext} to {self.max_plaintext}"
            )
        else:
            message = f"the plaintext must be bytes, not {type(plaintext).__name__}"
        return InvalidPlaintextError(message, section=self.name, operation="encrypt")

    def unbound_context(self, operation: str) -> InvalidContextError:
        """Make the error for a context that the provider can't authenticate."""
        message = "this provider can't bind a context to a value; only {} is possible"
        return InvalidContextError(message, section=self.name, operation=operation)

    def checked(self, answer: object) -> bytes:
        """Give what decrypting gave, if it is what it should be."""
        if type(answer) is bytes:
            return answer
        raise self.blame.rubbish("decrypt", f"it gave {type(answer).__name__}, not bytes")

    def refusal(self, item: Encrypt) -> OperationError | None:
        """Say why an item can't be encrypted here; None where nothing is wrong with it."""
        plaintext = item.plaintext
        if type(plaintext) is not bytes or not (
            self.min_plaintext <= len(plaintext) <= self.max_plaintext
        ):
            return self.bad_plaintext(plaintext)
        return self.unbound_context("encrypt") if self.refuses_context and item.context else None


def _close(name: str, close: Callable[[], None] | None, pid: int) -> None:
    # A forked child has a copy of its parent's provider: only the parent may close it.
    if close is None or os.getpid() != pid:
        return
    try:
        close()
    except Exception as failure:  # noqa: BLE001 - closing goes on with the others
        log.error(  # noqa: TRY400 - a traceback might show secrets
            "section %s: closing its provider failed: %s",
            name,
            type(failure).__name__,
            extra={"event": "keyhinge.close_failed", "section": name},
        )
