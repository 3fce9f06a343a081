"""The hook specifications: what a provider implements, and the values that go in and out.

A provider's package has one entry point in the group `keyhinge.providers`. Its target is a module
(or an instance) with `keyhinge_api`, `keyhinge_settings` and the `keyhinge_configure` hook; that
returns a `Provider`, whose methods are the other hooks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

import attrs
import pluggy

from keyhinge._context import Context
from keyhinge._errors import OperationError
from keyhinge._value import EncryptedValue

__all__ = [
    "API_VERSION",
    "Capabilities",
    "CheckReport",
    "Decrypt",
    "Encrypt",
    "Finding",
    "KeyRef",
    "Operation",
    "Provider",
    "Purpose",
    "Result",
    "Sealed",
    "Section",
    "SectionClient",
    "hookimpl",
    "hookspec",
]

API_VERSION = 1
"""The hook API's number; a provider says in `keyhinge_api` which one it was written for."""

hookspec = pluggy.HookspecMarker("keyhinge")
hookimpl = pluggy.HookimplMarker("keyhinge")
"""Marks a method or function as the implementation of the hook of the same name."""


class Sealed(NamedTuple):
    """What encrypting gives; core adds the section's name.

    Attributes:
        ciphertext: At least one byte.
        key_id: The key as the service names it, at most 512 printable ASCII characters without
            spaces (0x21 to 0x7E). Core refuses any other with a `ProviderContractError`, so the
            settings class should refuse a key's name that can't be one.
        version: The key's version, at most 64 of `A-Za-z0-9._-`; empty where it isn't told.
    """

    ciphertext: bytes
    key_id: str = ""
    version: str = ""


@attrs.frozen
class KeyRef:
    """A key, and its version where the service tells it; as in `Sealed`."""

    key_id: str
    version: str = ""


@attrs.define(eq=False)
class Encrypt:
    """An item of a batch to encrypt."""

    plaintext: bytes = attrs.field(repr=False)
    context: Context


@attrs.define(eq=False)
class Decrypt:
    """An item of a batch to decrypt or rewrap."""

    value: EncryptedValue
    context: Context


@attrs.frozen
class Capabilities:
    """What a provider can do. Core and the conformance kit hold it to this.

    Attributes:
        encrypts: Whether values are encrypted at all. With True, key id and version are used or
            authenticated, never hints.
        binds_context: Whether the context is authenticated with the value.
        key_versions: Whether values become stale within a section, since its key gets new
            versions or another key takes its place. Without it `keyhinge rewrap` refuses.
        blocking: Whether encrypt and decrypt may wait for I/O.
        min_plaintext: The smallest plaintext in bytes.
        max_plaintext: The largest plaintext in bytes; None for no limit but the format's.
    """

    encrypts: bool
    binds_context: bool
    key_versions: bool = False
    blocking: bool = True
    min_plaintext: int = 0
    max_plaintext: int | None = None


Purpose = Literal["app", "read", "migrate"]
"""What somebody who checks a section wants to do with it: encrypt and decrypt as an application
does, only decrypt, or migrate and rewrap."""

ALL_PURPOSES: tuple[Purpose, ...] = ("app", "read", "migrate")


@attrs.frozen
class Finding:
    """One line of a check.

    What ends at a known time, and doesn't renew itself, has `expires` (a time) and `breaks` (a
    clause, as in "the TLS client certificate ends") in its data: the command line makes its
    sentence on what will break next of them.

    Attributes:
        level: "ok", "info", "warning" or "error".
        code: A stable name for programs, as in `token-expiry`.
        message: For people; nothing secret.
        data: Figures for programs: times in ISO 8601 (UTC), durations in seconds. A finding that
            comes from an error has `data={"retryable": error.retryable}`: where all errors are
            retryable, `keyhinge check` ends with 75 ("try again") and not with 1.
        purposes: For whom an error or a warning is one: a right that is only needed for writing
            is no concern of somebody who only reads.
    """

    level: Literal["ok", "info", "warning", "error"]
    code: str
    message: str
    data: Mapping[str, str | int | float | bool | None] = attrs.field(factory=dict)
    purposes: tuple[Purpose, ...] = ALL_PURPOSES


def _all_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    # Not plain `tuple`: a type checker can't tell what that takes.
    return tuple(findings)


@attrs.frozen
class CheckReport:
    """What a check found, in the order in which it was looked at."""

    findings: tuple[Finding, ...] = attrs.field(converter=_all_of, default=())

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)


class SectionClient(Protocol):
    """Another section, for a provider that composes: see `Section.over`."""

    @property
    def name(self) -> str:
        """The section that encrypts."""

    @property
    def capabilities(self) -> Capabilities:
        """What that section can do."""

    def encrypt(self, plaintext: bytes, context: Context) -> EncryptedValue:
        """Encrypt with the named section; the context may use the reserved keys."""

    def decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt with the section that the value names, if it is one of those fixed."""

    def encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[EncryptedValue | OperationError]:
        """Encrypt a batch with the named section: a value or an error for each item."""

    def decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch, each item with the section that its value names."""

    def rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[EncryptedValue | OperationError]:
        """Bring values to the named section's newest key version."""

    def current_key(self) -> KeyRef:
        """Tell the key that encrypts now."""


class Section(Protocol):
    """The section that is being configured."""

    @property
    def name(self) -> str:
        """The section's name in the file."""

    @property
    def path(self) -> str:
        """Where its settings stand, as in `keyManagement.vault`; for messages."""

    @property
    def base_dir(self) -> Path:
        """The folder at which relative paths start."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables; read these, never `os.environ`."""

    def over(
        self, name: str, *, also: Sequence[str] = (), wraps_keys: bool = False
    ) -> SectionClient:
        """Use another section, to build on it.

        Only during `keyhinge_configure`. Core refuses cycles when the configuration is opened.

        Give such values the key id `SECTION/KEYID`, of the section below and its key, and the
        version below. Whoever retires a section goes by it, and where a key id doesn't say so,
        every value counts as needing all the sections that are named here.

        Args:
            name: The section that encrypts and decrypts.
            also: Further sections whose values may be decrypted.
            wraps_keys: Whether keys are to be encrypted there. Core then refuses, when the
                configuration is opened, sections that don't encrypt, that don't authenticate the
                context, or that build on another section themselves.
        """


class Provider(ABC):
    """One configured instance of a provider. Its hooks are called from any thread.

    Subclass it and mark each hook that you implement with `@hookimpl`, with exactly these names
    and arguments. Errors are those of `OperationError`'s family, raised outside of the `except`
    block, so that the client library's exception isn't chained.
    """

    capabilities: Capabilities

    @abstractmethod
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt one value and authenticate the context with it. Required."""

    @abstractmethod
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt one value. Required.

        Key id and version are compared with what is configured, and never sent.
        """

    # The optional hooks raise instead of being abstract, so that mypy checks an author's version
    # against them; pluggy takes no notice of methods without the marker.

    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        """Encrypt a batch: one result or error for each item, in their order."""
        _optional()

    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch: one plaintext or error for each item, in their order."""
        _optional()

    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        """Bring a batch to the newest key version, without showing the plaintexts if it can."""
        _optional()

    def keyhinge_encrypt_nowait(self, plaintext: bytes, context: Context) -> Sealed | None:
        """Encrypt if that needs no I/O, for callers in an event loop; None if it does."""
        _optional()

    def keyhinge_decrypt_nowait(self, value: EncryptedValue, context: Context) -> bytes | None:
        """Decrypt if that needs no I/O, for callers in an event loop; None if it does."""
        _optional()

    def keyhinge_current_key(self) -> KeyRef:
        """Tell the key and version that encrypt now."""
        _optional()

    def keyhinge_data_key(self, value: EncryptedValue) -> str:
        """Tell which data key a value is under, for providers that make data keys. No I/O.

        Two values have the same answer if, and only if, one key encrypted both; rewrapping keeps
        it. At most 128 printable ASCII characters. Read it from the value, without opening that.
        A provider that is configured anew makes data keys of its own, so that a table can be
        encrypted under new ones.
        """
        _optional()

    def keyhinge_check(self) -> CheckReport:
        """Look at everything that an operator wants to know. Findings, never exceptions."""
        _optional()

    def keyhinge_counters(self) -> Mapping[str, int]:
        """Tell numbers that only grow, such as a cache's hits; for observers. No I/O."""
        _optional()

    def keyhinge_close(self) -> None:
        """Let go of clients, threads and keys. May be called more than once."""
        _optional()

    def __reduce__(self) -> NoReturn:
        msg = f"{type(self).__name__} holds keys or connections: it can't be pickled or copied"
        raise TypeError(msg)


def _optional() -> NoReturn:
    msg = "this hook isn't implemented; core only calls hooks with the @hookimpl marker"
    raise TypeError(msg)


@attrs.frozen
class Operation:
    """What an observer sees of a call before it runs.

    Attributes:
        name: "encrypt", "decrypt", "rewrap", "encrypt_many", …
        section: The section; None for a batch whose values name several.
        contexts: One context for each item.
        sizes: One size in bytes for each item: of the plaintext, or of the ciphertext to open.
    """

    name: str
    section: str | None
    contexts: tuple[Context, ...]
    sizes: tuple[int, ...]


@attrs.frozen
class Result:
    """What an observer sees of a call after it ran.

    Attributes:
        keys: For each item the key that its result is under, or else the key that the value to
            open names; None where there is neither.
        errors: One error for each item that failed, None for the others.
        duration: Seconds.
        counters: What the section has counted since it was opened in this process, as `envelope`
            counts its cache's hits; empty where its provider counts nothing, and for a batch whose
            values name several sections.
    """

    keys: tuple[KeyRef | None, ...]
    errors: tuple[OperationError | None, ...]
    duration: float
    counters: Mapping[str, int] = attrs.field(factory=dict)


class ModuleSpecs:
    """The hook of a provider's module."""

    @hookspec(firstresult=True)
    def keyhinge_configure(self, settings: Any, section: Section) -> Provider:
        """Make a provider from settings that are checked already.

        Pure: connects nowhere, reads no file, can be repeated (it is, in a forked child). Don't
        import the client library here either; the first operation does.

        Args:
            settings: An instance of `keyhinge_settings`.
            section: The section's name and surroundings.
        """
        raise AssertionError


class ObserverSpecs:
    """The hook of an observer: audit, metrics, tracing."""

    @hookspec(firstresult=True)
    def keyhinge_operation(self, operation: Operation) -> Result:
        """Wrap one public call. Implement it with `@hookimpl(wrapper=True)`.

        Args:
            operation: What is about to happen; never plaintext, never ciphertext.
        """
        raise AssertionError


REQUIRED_HOOKS = ("keyhinge_encrypt", "keyhinge_decrypt")
OPTIONAL_HOOKS = (
    "keyhinge_encrypt_many",
    "keyhinge_decrypt_many",
    "keyhinge_rewrap_many",
    "keyhinge_encrypt_nowait",
    "keyhinge_decrypt_nowait",
    "keyhinge_current_key",
    "keyhinge_data_key",
    "keyhinge_check",
    "keyhinge_counters",
    "keyhinge_close",
)


def _provider_specs() -> type:
    """Make pluggy's specification class from `Provider`, so that there is one text of each."""
    mark = hookspec(firstresult=True)
    hooks = {name: _copy(getattr(Provider, name)) for name in REQUIRED_HOOKS + OPTIONAL_HOOKS}
    return type("ProviderSpecs", (), {name: mark(hook) for name, hook in hooks.items()})


def _copy(function: Any) -> Any:
    # The marker writes an attribute onto the function; Provider's own stay as they are.
    copy = FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__qualname__ = function.__qualname__  # pluggy 1.5 tells by its dot that it has a self
    copy.__doc__ = function.__doc__
    return copy


ProviderSpecs = _provider_specs()
