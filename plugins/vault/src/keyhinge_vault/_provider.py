"""The provider of `vault` and `openbao`: settings in, hooks, and which key a value may use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

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
)
from keyhinge import hookimpl as hook
from keyhinge_vault._auth import Credentials
from keyhinge_vault._errors import ServiceError, operation_error
from keyhinge_vault._http import Connection
from keyhinge_vault._key import Key
from keyhinge_vault._keys import Keys
from keyhinge_vault._many import Many
from keyhinge_vault._names import key_name_problem
from keyhinge_vault._server import Server
from keyhinge_vault._session import Session
from keyhinge_vault._settings import VaultSettings
from keyhinge_vault._transit import Transit, bare

__all__ = ["MAX_PLAINTEXT", "VaultProvider", "configure"]

MAX_PLAINTEXT = 16 << 20
"""Bytes. In base64, and with the rest of the request, that stays below the 32 MiB that both servers
take by default. (Newer versions of Vault take no string above 1 MiB by default, which makes that
768 KiB of plaintext, and say so: `max_json_string_value_length` of the listener.)"""

T = TypeVar("T")
_PROBE_CONTEXT = {"keyhinge": "probe/1"}


class VaultProvider(Provider):
    """Encrypts with Transit keys of one server.

    Args:
        settings: The section's settings.
        session: Asks the server.
    """

    capabilities = Capabilities(
        encrypts=True, binds_context=True, key_versions=True, max_plaintext=MAX_PLAINTEXT
    )

    def __init__(self, settings: VaultSettings, session: Session) -> None:
        self.settings = settings
        self.session = session
        names = tuple(dict.fromkeys((settings.key_id, *settings.decrypt_key_ids)))
        self.keys = Keys(session, names, settings.mount.strip("/"))
        primary = self.keys.get(settings.key_id)
        assert primary is not None  # noqa: S101 - it was put there just now
        self.key: Key = primary
        self.transit = Transit(session, self.keys)
        self.many = Many(session, self.keys)

    @hook
    def keyhinge_encrypt(self, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt under the newest version of `keyID`."""
        try:
            return self.transit.seal(self.key, plaintext, context)
        finally:
            del plaintext

    @hook
    def keyhinge_decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt under the key that the value names, if it is one of the configured ones."""
        key = self.keys.get(value.key_id)
        if key is None:
            raise self._unknown(value)
        return self.transit.open(key, value.version, value.ciphertext, context)

    @hook
    def keyhinge_encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[Sealed | OperationError]:
        """Encrypt a batch under `keyID`."""
        patience = self.session.patience()
        try:
            return bare(partial(self.many.seal, self.key, items, patience))
        finally:
            del items

    @hook
    def keyhinge_decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch, key by key."""
        patience = self.session.patience()

        def run(key: Key, own: Sequence[Decrypt]) -> list[bytes | OperationError]:
            return self.many.open(key, own, patience)

        return bare(partial(self._by_key, items, run))

    @hook
    def keyhinge_rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[Sealed | OperationError]:
        """Bring a batch to the newest version of `keyID`, on the server where it can."""
        patience = self.session.patience()

        def run(key: Key, own: Sequence[Decrypt]) -> list[Sealed | OperationError]:
            return self.many.rewrap(key, own, patience, to=self.key)

        return bare(partial(self._by_key, items, run))

    @hook
    def keyhinge_current_key(self) -> KeyRef:
        """Tell the newest version; by encrypting a probe where the key may not be read."""
        problem: OperationError | None = None
        try:
            data = self.session.request("GET", self.key.read).data
        except ServiceError as error:
            if error.kind != "denied":
                problem = self._error(error, f"read on {self.key.read}")
        else:
            latest = data.get("latest_version")
            if type(latest) is int and latest > 0:
                return KeyRef(self.key.name, str(latest))
        if problem is not None:
            raise problem
        sealed = self.transit.seal(self.key, b"keyhinge probe", _PROBE_CONTEXT)
        return KeyRef(sealed.key_id, sealed.version)

    @hook
    def keyhinge_check(self) -> CheckReport:
        """Look at the login, the policy, the keys, the certificates and the clock."""
        from keyhinge_vault._check import check

        return check(self)

    @hook
    def keyhinge_close(self) -> None:
        """Give back the token that this process logged in for, and close connections."""
        self.session.close()

    def _by_key(
        self,
        items: Sequence[Decrypt],
        run: Callable[[Key, Sequence[Decrypt]], list[T | OperationError]],
    ) -> list[T | OperationError]:
        """Run a batch for each key that its values name; those of other keys fail."""
        results: list[Any] = [None] * len(items)
        places: dict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            places[item.value.key_id].append(index)
        for name, indexes in places.items():
            key = self.keys.get(name)
            if key is None:
                for index in indexes:
                    results[index] = self._unknown(items[index].value)
                continue
            answers = run(key, [items[index] for index in indexes])
            for index, answer in zip(indexes, answers, strict=True):
                results[index] = answer
        return results

    def _unknown(self, value: EncryptedValue) -> OperationError:
        if key_name_problem(value.key_id) is not None:
            return InvalidCiphertextError()  # no key has such a name: it was changed
        return KeyUnavailableError(
            f"the value was encrypted with the Transit key {value.key_id!r}, which isn't one of "
            f"this section's. If it is one of yours, add it to `decryptKeyIDs`"
        )

    def _error(self, error: ServiceError, request: str) -> OperationError:
        namespace = self.session.connection.server.namespace
        return operation_error(error, request=request, namespace=namespace)

    def __repr__(self) -> str:
        return f"<VaultProvider of section {self.session.connection.server.section}>"


def configure(settings: VaultSettings, section: Section) -> VaultProvider:
    """Make the provider; connects nowhere, reads no file."""
    server = Server.of(settings, section)
    session = Session(Connection(server), Credentials(settings, server))
    return VaultProvider(settings, session)
