"""The `envelope` provider: settings in, hooks, and the hot path.

On the hot path a call looks a data key up, compares its age with the clock and uses it: no lock,
no key service, and nothing made anew but the nonce.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from os import urandom
from typing import TYPE_CHECKING

from keyhinge import (
    Capabilities,
    CheckReport,
    Context,
    Decrypt,
    Encrypt,
    EncryptedValue,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Provider,
    Sealed,
    Section,
    SectionClient,
    hookimpl,
    start_anew_after_fork,
)
from keyhinge_local.envelope._cache import Keeping, KeyCache
from keyhinge_local.envelope._counters import Counters
from keyhinge_local.envelope._format import NONCE_SIZE, Wrapped, commitment_in
from keyhinge_local.envelope._opening import Opening
from keyhinge_local.envelope._partition import Partitioning
from keyhinge_local.envelope._renewal import Renewal
from keyhinge_local.envelope._rewrapping import Rewrapping
from keyhinge_local.envelope._sealing import Sealing
from keyhinge_local.envelope._settings import EnvelopeSettings
from keyhinge_local.envelope._wrapping import LONGEST_KEY_ID, TOO_LARGE, Wrapping

if TYPE_CHECKING:
    from keyhinge_local.envelope._data_key import OpenedKey

MAX_PLAINTEXT = 64 * 1024 * 1024
# Some 0.1 ms of work; callers in an event loop send what is larger to a thread.
_MAX_INLINE = 256 * 1024


class EnvelopeProvider(Provider):
    """AES-256-GCM under data keys that another section wraps.

    Args:
        client: The sections that wrap and unwrap.
        settings: Limits and partitions.
        clock: Monotonic seconds, for tests.
    """

    capabilities = Capabilities(
        encrypts=True,
        binds_context=True,
        key_versions=True,
        blocking=True,
        max_plaintext=MAX_PLAINTEXT,
    )

    def __init__(
        self,
        client: SectionClient,
        settings: EnvelopeSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._settings = settings
        self.counters = Counters()
        self._hit = self.counters.hits.tick
        self._clock = clock
        self._renewal = Renewal()
        partitioning = Partitioning(settings.partition_by)
        self._partition = partitioning.of
        keeping = Keeping(settings.max_keys, settings.max_age_seconds, self._renewal, clock)
        wrapping = self._wrapping = Wrapping(client, self.counters, clock)
        opened: KeyCache[Wrapped, OpenedKey] = KeyCache(wrapping.open, keeping)
        self._opening = Opening(opened, partitioning, clock, self.counters)
        self._sealing = Sealing(
            wrapping,
            opened,
            partitioning,
            keeping=keeping,
            counters=self.counters,
            max_messages=settings.max_messages,
        )
        self._rewrapping = Rewrapping(wrapping, self._opening, opened, keeping)
        self._caches = (self._sealing.cache, opened, self._rewrapping.cache)
        start_anew_after_fork(self)

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt under this process's data key."""
        partition = self._partition(context)
        key = self._sealing.at_hand(partition) or self._sealing.key_for(partition)
        return key.seal(plaintext, context, partition.bitmap, urandom(NONCE_SIZE))

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt with the data key that the value carries."""
        key = self._opening.at_hand(value.ciphertext, context, self._clock())
        if key is None:
            return self._opening.key_for(value, context).open(value, context)
        self._hit()
        return key.open(value, context)

    @hookimpl
    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        """Encrypt a batch; the data keys that it lacks take two calls together."""
        return self._sealing.seal_many(items)

    @hookimpl
    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch; the data keys that aren't at hand take one call together."""
        return self._opening.open_many(items)

    @hookimpl
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        """Bring the data keys of a batch under the newest version of the wrapping key.

        The values stay encrypted under the same data keys: this revokes none of those.
        """
        return self._rewrapping.rewrap_many(items)

    @hookimpl
    def keyhinge_encrypt_nowait(self, plaintext: bytes, context: Context) -> Sealed | None:
        """Encrypt at once; None where the key service must be asked or the value is large."""
        if len(plaintext) > _MAX_INLINE:
            return None
        partition = self._partition(context)
        key = self._sealing.at_hand(partition)
        if key is None:
            return None
        return key.seal(plaintext, context, partition.bitmap, urandom(NONCE_SIZE))

    @hookimpl
    def keyhinge_decrypt_nowait(self, value: EncryptedValue, context: Context) -> bytes | None:
        """Decrypt at once; None where the key service must be asked or the value is large."""
        if len(value.ciphertext) > _MAX_INLINE:
            return None
        key = self._opening.at_hand(value.ciphertext, context, self._clock())
        if key is None:
            return None
        self._hit()
        return key.open(value, context)

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the wrapping key and version; data keys under an older one encrypt no more."""
        current = self._client.current_key()
        label = KeyRef(f"{self._client.name}/{current.key_id}", current.version)
        if len(label.key_id) > LONGEST_KEY_ID:
            raise KeyUnavailableError(TOO_LARGE)
        self._sealing.cache.drop_where(lambda key: key.is_outdated(label))
        self._rewrapping.cache.drop_where(lambda known: known.wrapped.label != label)
        return label

    @hookimpl
    def keyhinge_data_key(self, value: EncryptedValue) -> str:
        """Tell a data key by its commitment, which stays when it is wrapped anew."""
        return commitment_in(value.ciphertext).hex()

    @hookimpl
    def keyhinge_check(self) -> CheckReport:
        """Tell what is wrapped by whom, and what was counted."""
        from keyhinge_local.envelope._check import check

        return check(self._client, self._settings, self.counters, len(self._opening.cache.entries))

    @hookimpl
    def keyhinge_counters(self) -> Mapping[str, int]:
        """Tell hits and misses of data keys, and what the key service was asked."""
        return self.counters.as_dict()

    @hookimpl
    def keyhinge_close(self) -> None:
        """Drop the data keys."""
        for cache in self._caches:
            cache.close()
        self._renewal.close()
        self._wrapping.close()

    def after_fork(self) -> None:
        """Drop the data keys in a forked child: they are its parent's."""
        self._renewal.start_anew()
        for cache in self._caches:
            cache.start_anew()


@hookimpl
def keyhinge_configure(settings: EnvelopeSettings, section: Section) -> EnvelopeProvider:
    """Make the provider; calls nobody."""
    client = section.over(settings.over, also=settings.also_unwrap, wraps_keys=True)
    return EnvelopeProvider(client, settings)
