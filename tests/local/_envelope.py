"""`envelope` over key services in memory, which count what they are asked and fail when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keyhinge import EncryptedValue, KeyManager, Provider, hookimpl
from keyhinge.testing import FakeService
from keyhinge.testing._fake import FakeModule, FakeProvider, FakeSettings
from keyhinge_local import envelope
from keyhinge_local.envelope import EnvelopeProvider, EnvelopeSettings

CONTEXT = {"account": "acct_1", "secret": "sec_1"}
WRAP_CONTEXT = {"keyhinge": "envelope/1"}


class Timed:
    """What the entry point names, with a clock of the test's own."""

    keyhinge_api = 1
    keyhinge_settings = EnvelopeSettings

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    @hookimpl
    def keyhinge_configure(self, settings, section):
        """Make the provider."""
        client = section.over(settings.over, also=settings.also_unwrap, wraps_keys=True)
        return EnvelopeProvider(client, settings, self._clock)


class Variant:
    """A key service in memory whose hooks or capabilities are others."""

    keyhinge_api = 1
    keyhinge_settings = FakeSettings

    def __init__(self, services: Mapping[str, FakeService], **members: Any) -> None:
        self._services = services
        self._class = type("Variant", (FakeProvider,), members)

    @hookimpl
    def keyhinge_configure(self, settings, section):
        """Make the provider."""
        return self._class(self._services[settings.service])


class Gate:
    """Holds a key service's answers to one kind of call back until the test lets them go."""

    def __init__(self, kms: Any, call: str) -> None:
        self._ask, self._call = kms.ask, call
        self.opened, self.entered = threading.Event(), threading.Semaphore(0)
        self.after: Callable[[], object] = lambda: None
        kms.ask = self

    def __call__(self, call: str) -> None:
        self._ask(call)
        if call == self._call:
            self.entered.release()
            assert self.opened.wait(20)
            self.after()


class Parts(NamedTuple):
    """The parts of a ciphertext; the wrapped key's length follows from it."""

    marker: bytes
    bitmap: bytes
    commitment: bytes
    wrapped: bytes
    nonce: bytes
    body: bytes

    def join(self) -> bytes:
        """Put them together."""
        size = len(self.wrapped).to_bytes(2, "big")
        head = self.marker + self.bitmap + self.commitment
        return head + size + self.wrapped + self.nonce + self.body


def parts_of(value: EncryptedValue) -> Parts:
    """Take a value's ciphertext apart."""
    raw = value.ciphertext
    end = 37 + int.from_bytes(raw[35:37], "big")
    return Parts(raw[:1], raw[1:3], raw[3:35], raw[37:end], raw[end : end + 12], raw[end + 12 :])


def with_parts(value: EncryptedValue, parts: Parts) -> EncryptedValue:
    """Give a value with other parts, and the labels that they say."""
    inner = EncryptedValue.from_bytes(parts.wrapped)
    key_id = f"{inner.section}/{inner.key_id}"
    return EncryptedValue(value.section, key_id, inner.version, parts.join())


def commitment_of(value: EncryptedValue) -> bytes:
    """Which data key a value is under, whatever that is wrapped in."""
    return value.ciphertext[3:35]


def open_envelope(
    services: Mapping[str, FakeService],
    *,
    clock: Callable[[], float] | None = None,
    kms: object | None = None,
    sections: Mapping[str, Any] | None = None,
    **settings: Any,
) -> KeyManager:
    """Open `envelope` over the first of some services, with further sections beside them."""
    blocks: dict[str, Any] = {"envelope": {"over": next(iter(services)), **settings}}
    blocks |= {name: {"type": "fake", "service": name} for name in services} | dict(sections or {})
    providers = {
        "fake": kms or FakeModule(services),
        "envelope": Timed(clock) if clock else envelope,
    }
    config = {"keyManagement": {"provider": "envelope", **blocks}}
    return KeyManager.open(config, providers=providers, environ={})


def provider_of(keys: KeyManager) -> EnvelopeProvider:
    """The provider of the section that encrypts."""
    found: Any = keys._section(None).encrypt
    assert isinstance(found.__self__, Provider)
    return found.__self__  # type: ignore[return-value]


def settle() -> None:
    """Wait until what is done in the background is done."""
    for thread in threading.enumerate():
        if thread.name == "keyhinge-envelope":
            thread.join(20)
            assert not thread.is_alive()
