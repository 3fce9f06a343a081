"""The `local` provider: settings in, hooks, and how a value finds its key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from keyhinge import (
    Capabilities,
    CheckReport,
    Context,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Provider,
    Sealed,
    Section,
    hookimpl,
)
from keyhinge_local._errors import KEY_ID
from keyhinge_local._keyring import FileSource, Keyring, Loaded, TextSource
from keyhinge_local._settings import LocalSettings

_LABEL = re.compile(r"[1-9][0-9]{0,5}\.[0-9a-f]{8}")
MAX_PLAINTEXT = 64 * 1024 * 1024
# Some 0.1 ms of work; callers in an event loop send what is larger to a thread.
_MAX_INLINE = 256 * 1024


class LocalProvider(Provider):
    """XAES-256-GCM under the keys of one key file.

    Args:
        keyring: Loads the key set when it is first needed.
    """

    # The first use and the look at the file once a second are I/O; the nowait hooks do the rest.
    capabilities = Capabilities(
        encrypts=True,
        binds_context=True,
        key_versions=True,
        blocking=True,
        max_plaintext=MAX_PLAINTEXT,
    )

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    @hookimpl
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt under the active version."""
        return self._keyring.current().active.seal(plaintext, context)

    @hookimpl
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt under exactly the key id and version that the value names."""
        loaded = self._keyring.current()
        sealer = loaded.sealer(value.key_id, value.version)
        if sealer is None:
            return _open(self._keyring.newer(loaded), value, context)
        return sealer.open(value.ciphertext, context)

    @hookimpl
    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        """Encrypt a batch under the active version."""
        seal = self._keyring.current().active.seal
        results: list[Sealed | OperationError] = []
        for item in items:
            try:
                results.append(seal(item.plaintext, item.context))
            except OperationError as error:
                results.append(error)
        return results

    @hookimpl
    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch, each item under the key that it names."""
        loaded = self._for_all(items)
        results: list[bytes | OperationError] = []
        for item in items:
            try:
                results.append(_open(loaded, item.value, item.context))
            except OperationError as error:
                results.append(error)
        return results

    @hookimpl
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        """Decrypt a batch and encrypt it under the active version."""
        loaded = self._for_all(items)
        seal = loaded.active.seal
        results: list[Sealed | OperationError] = []
        for item in items:
            try:
                results.append(seal(_open(loaded, item.value, item.context), item.context))
            except OperationError as error:
                results.append(error)
        return results

    @hookimpl
    def keyhinge_encrypt_nowait(self, plaintext: bytes, context: Context) -> Sealed | None:
        """Encrypt at once; None where the file must be looked at or the value is large."""
        loaded = self._keyring.at_hand()
        if loaded is None or len(plaintext) > _MAX_INLINE:
            return None
        return loaded.active.seal(plaintext, context)

    @hookimpl
    def keyhinge_decrypt_nowait(self, value: EncryptedValue, context: Context) -> bytes | None:
        """Decrypt at once; None where the file must be looked at or the value is large."""
        loaded = self._keyring.at_hand()
        if loaded is None or len(value.ciphertext) > _MAX_INLINE:
            return None
        sealer = loaded.sealer(value.key_id, value.version)
        return sealer.open(value.ciphertext, context) if sealer is not None else None

    @hookimpl
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the key set's id and the active version's label."""
        active = self._keyring.current().active
        return KeyRef(active.key_id, active.label)

    @hookimpl
    def keyhinge_check(self) -> CheckReport:
        """Look at the key file, its versions and their age."""
        from keyhinge_local._check import check

        return check(self._keyring)

    @hookimpl
    def keyhinge_close(self) -> None:
        """Drop the keys."""
        self._keyring.close()

    def _for_all(self, items: Sequence[Decrypt]) -> Loaded:
        """Give the key set; one that has just been looked at if an item names an unknown key."""
        loaded = self._keyring.current()
        keys = {(item.value.key_id, item.value.version) for item in items}
        if None in [loaded.sealer(key_id, label) for key_id, label in keys]:
            return self._keyring.newer(loaded)
        return loaded


def _open(loaded: Loaded, value: EncryptedValue, context: Context) -> bytes:
    sealer = loaded.sealer(value.key_id, value.version)
    if sealer is None:
        if not KEY_ID.fullmatch(value.key_id) or not _LABEL.fullmatch(value.version):
            raise InvalidCiphertextError  # no key file has or had such a key: it was changed
        raise KeyUnavailableError(_unknown(loaded, value))
    return sealer.open(value.ciphertext, context)


def _unknown(loaded: Loaded, value: EncryptedValue) -> str:
    if value.key_id != loaded.key_id:
        return (
            f"the value was encrypted with the key set {value.key_id!r}, and this section's "
            f"is {loaded.key_id!r}: it needs the key file, or its backup, that has that id"
        )
    number, _, _ = value.version.partition(".")
    known = [version.label for version in loaded.key_set.versions]
    same = [label for label in known if label.partition(".")[0] == number]
    if same:
        return (
            f"the value was encrypted with version {value.version!r}, and version {number} in "
            f"this key file is another key ({same[0]!r}): copies of the file were rotated apart, "
            "and the other copy is needed"
        )
    return (
        f"the value was encrypted with version {value.version!r}, which this key file doesn't "
        f"have (it has {', '.join(known[-5:])}): an older copy of the file is in use here"
    )


@hookimpl
def keyhinge_configure(settings: LocalSettings, section: Section) -> LocalProvider:
    """Make the provider; reads nothing."""
    if settings.key_file is not None:
        path = Path(section.base_dir, settings.key_file)
        return LocalProvider(Keyring(FileSource(path, allow_group_read=settings.allow_group_read)))
    assert settings.key is not None  # noqa: S101 - the settings hold that it is one of the two
    return LocalProvider(Keyring(TextSource(settings.key, f"{section.path}.key")))
