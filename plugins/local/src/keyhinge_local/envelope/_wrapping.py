"""Making, opening and rewrapping data keys, with the sections that wrap them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from os import urandom
from typing import TYPE_CHECKING, TypeVar

from keyhinge import (
    ClosedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    SectionClient,
)
from keyhinge_local.envelope._counters import Counters
from keyhinge_local.envelope._format import (
    KEY_SIZE,
    LARGEST_WRAPPED,
    Wrapped,
    derive,
    label_of,
    prefix_of,
)
from keyhinge_local.envelope._partition import Partition

if TYPE_CHECKING:
    from keyhinge_local.envelope._data_key import DataKey, OpenedKey

__all__ = ["LONGEST_KEY_ID", "TOO_LARGE", "Wrapping"]

R = TypeVar("R")
LONGEST_KEY_ID = 512
TOO_LARGE = "what the wrapping section makes is too large, or its key id too long, for envelope"


class Wrapping:
    """Turns requests for data keys into calls to the key service, as few as it allows.

    Each method takes several requests and gives, for each, what was asked for or an error.

    Args:
        client: The sections that wrap and unwrap.
        counters: Counts what is sent there.
        clock: Monotonic seconds.

    Attributes:
        now: The clock.
    """

    def __init__(
        self, client: SectionClient, counters: Counters, clock: Callable[[], float]
    ) -> None:
        self._open_client: SectionClient | None = client
        self._counters = counters
        self.now = clock

    def close(self) -> None:
        """Let go of the sections below: they close when their last user does."""
        self._open_client = None

    @property
    def _client(self) -> SectionClient:
        if self._open_client is None:
            raise ClosedError("the section is closed")
        return self._open_client

    def make(self, requests: Mapping[bytes, Partition]) -> dict[bytes, DataKey | OperationError]:
        """Make data keys, and have their wrapped forms opened once.

        A wrapping that doesn't open must not be found out at the next restart.
        """
        now = self.now()
        roots = [urandom(KEY_SIZE) for _ in requests]
        partitions = list(requests.values())
        made = [
            answer if isinstance(answer, OperationError) else _new(answer, root, partition)
            for answer, root, partition in zip(
                self._wrap(roots, partitions), roots, partitions, strict=True
            )
        ]
        proofs = iter(self._keys([each for each in made if isinstance(each, Wrapped)]))
        keys = [
            each if isinstance(each, OperationError) else _data_key(each, next(proofs), now)
            for each in made
        ]
        return dict(zip(requests, keys, strict=True))

    def open(self, requests: Mapping[bytes, Wrapped]) -> dict[bytes, OpenedKey | OperationError]:
        """Open wrapped keys, and compare their commitments."""
        from keyhinge_local.envelope._data_key import OpenedKey

        now = self.now()
        wrapped = list(requests.values())
        keys = self._keys(wrapped)
        opened = [
            key if isinstance(key, OperationError) else OpenedKey(each, key, now)
            for each, key in zip(wrapped, keys, strict=True)
        ]
        return dict(zip(requests, opened, strict=True))

    def rewrap(self, wrapped: Sequence[Wrapped]) -> list[Wrapped | OperationError]:
        """Have root keys encrypted under the newest version of the wrapping key.

        What comes of it is not proven yet.
        """
        for _ in wrapped:
            self._counters.wraps.tick()
        answers = self._client.rewrap_many(
            [Decrypt(each.value, each.partition.context) for each in wrapped]
        )
        return [
            answer
            if isinstance(answer, OperationError)
            else _wrapped(answer, each.commitment, each.partition)
            for each, answer in zip(wrapped, answers, strict=True)
        ]

    def _wrap(
        self, roots: Sequence[bytes], partitions: Sequence[Partition]
    ) -> Sequence[EncryptedValue | OperationError]:
        for _ in roots:
            self._counters.wraps.tick()
        if len(roots) > 1:
            return self._client.encrypt_many(
                [Encrypt(r, p.context) for r, p in zip(roots, partitions, strict=True)]
            )
        return [
            _caught(lambda r=r, p=p: self._client.encrypt(r, p.context))  # type: ignore[misc]
            for r, p in zip(roots, partitions, strict=True)
        ]

    def _keys(self, wrapped: Sequence[Wrapped]) -> list[bytes | OperationError]:
        """Give the AES key of each wrapped key whose commitment is the right one."""
        return [
            root if isinstance(root, OperationError) else _committed(root, each)
            for root, each in zip(self._unwrap(wrapped), wrapped, strict=True)
        ]

    def _unwrap(self, wrapped: Sequence[Wrapped]) -> Sequence[bytes | OperationError]:
        for _ in wrapped:
            self._counters.unwraps.tick()
        if len(wrapped) > 1:
            return self._client.decrypt_many(
                [Decrypt(each.value, each.partition.context) for each in wrapped]
            )
        return [
            _caught(lambda each=each: self._client.decrypt(each.value, each.partition.context))  # type: ignore[misc]
            for each in wrapped
        ]


def _caught(call: Callable[[], R]) -> R | OperationError:
    try:
        return call()
    except OperationError as failure:
        return failure.with_traceback(None)


def _new(value: EncryptedValue, root: bytes, partition: Partition) -> Wrapped | OperationError:
    _, commitment = derive(root, partition.encoded)
    return _wrapped(value, commitment, partition)


def _wrapped(
    value: EncryptedValue, commitment: bytes, partition: Partition
) -> Wrapped | OperationError:
    raw = value.to_bytes()
    if len(raw) > LARGEST_WRAPPED or len(label_of(value).key_id) > LONGEST_KEY_ID:
        return KeyUnavailableError(TOO_LARGE)
    return Wrapped(prefix_of(partition.bitmap, commitment, raw), value, partition)


def _committed(root: bytes, wrapped: Wrapped) -> bytes | OperationError:
    key, commitment = derive(root, wrapped.partition.encoded)
    if len(root) == KEY_SIZE and hmac.compare_digest(commitment, wrapped.commitment):
        return key
    return InvalidCiphertextError()


def _data_key(
    wrapped: Wrapped, key: bytes | OperationError, now: float
) -> DataKey | OperationError:
    if isinstance(key, InvalidCiphertextError):
        msg = (
            f"a new data key, wrapped by the section {wrapped.value.section!r}, doesn't open there "
            "again; nothing is encrypted with it"
        )
        return KeyUnavailableError(msg)
    if isinstance(key, OperationError):
        return key
    from keyhinge_local.envelope._data_key import DataKey

    return DataKey(wrapped, key, now)
