"""What KeyManager costs by itself: a provider that does nothing, a context of two entries.

Its own cost is the time beyond a bound method that is called with the same arguments, as a ratio
to that call, and to AES-GCM over 1 KiB with a ready key and a fresh nonce where `cryptography` is
installed. All is measured in one run, in turns, and the best of each is kept: other programs can
only make it slower. Of this, looking up the context is about a half.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable

from keyhinge import (
    Capabilities,
    Context,
    EncryptedValue,
    KeyManager,
    Provider,
    Sealed,
    Section,
    hookimpl,
    settings,
)
from keyhinge._context import check_context

ROUNDS = 40
CALLS = 5_000
PLAINTEXT = os.urandom(1024)
SEALED = Sealed(os.urandom(1024 + 28), "key-1", "1")
CONTEXT = {"account": "acct_1", "secret": "sec_1"}
# Where the targets of 1.5 and 0.6 µs were set, a bound call took 0.15 and AES-GCM 2.75 and 2.4 µs.
TARGETS = {"encrypt": (1.5 / 0.15, 1.5 / 2.75), "decrypt": (0.6 / 0.15, 0.6 / 2.4)}


@settings
class NullSettings:
    """No settings."""


class NullProvider(Provider):
    """Gives the same answers to all."""

    capabilities = Capabilities(encrypts=True, binds_context=True)

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Give a ciphertext."""
        return SEALED

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Give a plaintext."""
        return PLAINTEXT


class NullModule:
    """What an entry point would name."""

    keyhinge_api = 1
    keyhinge_settings = NullSettings

    @hookimpl
    def keyhinge_configure(self, settings: NullSettings, section: Section) -> NullProvider:
        """Make the provider."""
        return NullProvider()


def cases(keys: KeyManager) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    provider = NullProvider()
    value = keys.encrypt(PLAINTEXT, context=CONTEXT)
    found: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,  # what calling the others takes by itself
        "bound method, encrypt": lambda: provider.keyhinge_encrypt(PLAINTEXT, CONTEXT),
        "bound method, decrypt": lambda: provider.keyhinge_decrypt(value, CONTEXT),
        "KeyManager, encrypt": lambda: keys.encrypt(PLAINTEXT, context=CONTEXT),
        "KeyManager, decrypt": lambda: keys.decrypt(value, context=CONTEXT),
        "context alone": lambda: check_context(CONTEXT),
    }
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        return found
    cipher = AESGCM(AESGCM.generate_key(256))
    nonce = os.urandom(12)
    ciphertext = cipher.encrypt(nonce, PLAINTEXT, b"")
    found["AES-GCM, encrypt"] = lambda: cipher.encrypt(os.urandom(12), PLAINTEXT, b"")
    found["AES-GCM, decrypt"] = lambda: cipher.decrypt(nonce, ciphertext, b"")
    return found


def measure(found: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the best time of each case in microseconds, measured in turns."""
    best = dict.fromkeys(found, float("inf"))
    for _ in range(ROUNDS):
        for name, call in found.items():
            best[name] = min(best[name], timeit.timeit(call, number=CALLS) / CALLS * 1e6)
    return best


def main() -> None:
    """Measure, and print one line for each case."""
    config = {"keyManagement": {"provider": "null", "null": {}}}
    with KeyManager.open(config, providers={"null": NullModule()}, environ={}) as keys:
        best = measure(cases(keys))
    nothing = best.pop("nothing")
    net = {name: microseconds - nothing for name, microseconds in best.items()}
    for name, microseconds in net.items():
        print(f"{name:24}{microseconds:8.3f} µs")
    print(f"\n{'own cost':24}{'µs':>8}{'× bound':>10}{'target':>8}{'× AES-GCM':>12}{'target':>8}")
    for name, (of_bound, of_cipher) in TARGETS.items():
        bound, cipher = net[f"bound method, {name}"], net.get(f"AES-GCM, {name}")
        own = net[f"KeyManager, {name}"] - bound
        line = f"{name:24}{own:8.3f}{own / bound:10.1f}{'≤ ' + format(of_bound, '.0f'):>8}"
        if cipher is not None:
            line += f"{own / cipher:12.2f}{'≤ ' + format(of_cipher, '.2f'):>8}"
        print(line)


if __name__ == "__main__":
    main()
