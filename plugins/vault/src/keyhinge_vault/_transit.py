"""Encrypting and decrypting through Transit: one value, or a batch of one key's values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from keyhinge import (
    NO_CONTEXT,
    Context,
    Decrypt,
    Encrypt,
    InvalidCiphertextError,
    InvalidContextError,
    OperationError,
    Sealed,
)
from keyhinge_vault._batch import Batches
from keyhinge_vault._errors import ServiceError, operation_error
from keyhinge_vault._keys import Key, Keys, refuse_ignored
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._wire import Mode, binding, decode, is_version, parse, text_of

__all__ = ["Transit"]

# What tells that a key isn't what it was found to be: it is found out anew, once.
_CHANGED = frozenset({"needs-context"})


class Transit:
    """What a section does with its keys; raises and returns public errors only.

    Args:
        session: Asks the server.
        keys: What is known of the keys.
        namespace: For messages.
    """

    def __init__(self, session: Session, keys: Keys, namespace: str) -> None:
        self._session = session
        self._keys = keys
        self._namespace = namespace
        self._batches = {verb: Batches(session) for verb in ("encrypt", "decrypt", "rewrap")}

    # One value

    def seal(self, key: Key, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt one value.

        Raises:
            OperationError: It can't be.
        """
        problem = sealed = None
        patience = self._session.patience()
        try:
            sealed = self._seal(key, plaintext, context, patience)
        except ServiceError as error:
            problem = self._error(error, key.encrypt, "encrypt")
        finally:
            del plaintext
        if sealed is not None:
            return sealed
        assert problem is not None  # noqa: S101 - one of the two is there
        raise problem

    def _seal(self, key: Key, plaintext: bytes, context: Context, patience: Patience) -> Sealed:
        try:
            for _ in range(3):
                mode = self._mode(key, context, patience)
                self._keys.make_sure(key, patience)
                body = {"plaintext": b64encode(plaintext).decode("ascii"), **binding(mode, context)}
                try:
                    answer = self._session.request(
                        "POST", key.encrypt, json=body, patience=patience
                    )
                except ServiceError as error:
                    if error.kind not in _CHANGED:
                        raise error.with_traceback(None) from None
                    key.forget()
                    continue
                refuse_ignored(answer)
                found = parse(answer.data.get("ciphertext"))
                if found is None:
                    raise ServiceError("answer")
                # Lower than before: the key was made anew, and may not bind contexts any more.
                if self._keys.saw(key, found[0]):
                    return Sealed(found[1], key.name, found[0])
            raise ServiceError("answer")
        finally:
            # The traceback of an error keeps this frame.
            plaintext, body = b"", {}

    def open(self, key: Key, version: str, ciphertext: bytes, context: Context) -> bytes:
        """Decrypt one value.

        Raises:
            OperationError: It can't be.
        """
        if not is_version(version):
            raise InvalidCiphertextError
        problem = plaintext = None
        try:
            plaintext = self._open(key, version, ciphertext, context, self._session.patience())
        except ServiceError as error:
            problem = self._error(error, key.decrypt, "decrypt")
        if plaintext is not None:
            return plaintext
        assert problem is not None  # noqa: S101 - one of the two is there
        raise problem

    def _open(
        self, key: Key, version: str, ciphertext: bytes, context: Context, patience: Patience
    ) -> bytes:
        text = text_of(version, ciphertext)
        for last in (False, True):
            mode = self._mode(key, context, patience, version)
            body = {"ciphertext": text, **binding(mode, context)}
            try:
                answer = self._session.request("POST", key.decrypt, json=body, patience=patience)
            except ServiceError as error:
                if error.kind not in _CHANGED or last:
                    raise error.with_traceback(None) from None
                key.forget()
                continue
            refuse_ignored(answer)
            plaintext = decode(answer.data.get("plaintext"))
            if plaintext is not None:
                return plaintext
            break
        raise ServiceError("answer")

    # Batches

    def seal_many(
        self, key: Key, items: Sequence[Encrypt], patience: Patience | None = None
    ) -> list[Sealed | OperationError]:
        """Encrypt a batch; a result or an error for each item."""

        def fields(item: Encrypt, mode: Mode) -> dict[str, str]:
            plaintext = b64encode(item.plaintext).decode("ascii")
            return {"plaintext": plaintext, **binding(mode, item.context)}

        def read(result: dict[str, Any]) -> Sealed | None:
            found = parse(result.get("ciphertext"))
            return None if found is None else Sealed(found[1], key.name, found[0])

        patience = patience or self._session.patience()
        failed = self._prepared(key, items, patience, key.encrypt, "encrypt", sure=True)
        if failed is not None:
            return failed
        results = self._batch("encrypt", key, items, fields, read, patience)
        versions = {result.version for result in results if isinstance(result, Sealed)}
        seen = [self._keys.saw(key, version) for version in sorted(versions, key=int)]
        if not all(seen):
            # The key was made anew meanwhile: its mode is found out again, and all of it redone.
            failed = self._prepared(key, items, patience, key.encrypt, "encrypt", sure=True)
            if failed is not None:
                return failed
            results = self._batch("encrypt", key, items, fields, read, patience)
        return results

    def open_many(
        self, key: Key, items: Sequence[Decrypt], patience: Patience | None = None
    ) -> list[bytes | OperationError]:
        """Decrypt a batch of one key's values; a result or an error for each item."""

        def fields(item: Decrypt, mode: Mode) -> dict[str, str]:
            text = text_of(item.value.version, item.value.ciphertext)
            return {"ciphertext": text, **binding(mode, item.context)}

        def read(result: dict[str, Any]) -> bytes | None:
            return decode(result.get("plaintext"))

        patience = patience or self._session.patience()
        good = [item for item in items if is_version(item.value.version)]
        version = good[0].value.version if good else "1"
        failed = self._prepared(key, good, patience, key.decrypt, "decrypt", version=version)
        opened: list[bytes | OperationError]
        opened = failed or self._batch("decrypt", key, good, fields, read, patience)
        answers = iter(opened)
        return [
            next(answers) if is_version(item.value.version) else InvalidCiphertextError()
            for item in items
        ]

    def rewrap_many(self, key: Key, items: Sequence[Decrypt]) -> list[Sealed | OperationError]:
        """Bring one key's values to its newest version; on the server where it can."""
        patience = self._session.patience()
        failed = self._prepared(key, items, patience, key.rewrap, "rewrap")
        if failed is not None:
            return failed
        # Transit's rewrap takes no associated data, so only these can stay inside the server.
        inside = [key.mode == "context" or item.context is NO_CONTEXT for item in items]
        there = self._rewrap([i for i, x in zip(items, inside, strict=True) if x], key, patience)
        here = self._redo([i for i, x in zip(items, inside, strict=True) if not x], key, patience)
        of_there, of_here = iter(there), iter(here)
        return [next(of_there) if x else next(of_here) for x in inside]

    def _rewrap(
        self, items: Sequence[Decrypt], key: Key, patience: Patience
    ) -> list[Sealed | OperationError]:
        def fields(item: Decrypt, mode: Mode) -> dict[str, str]:
            text = text_of(item.value.version, item.value.ciphertext)
            return {"ciphertext": text, **binding(mode, item.context)}

        def read(result: dict[str, Any]) -> Sealed | None:
            found = parse(result.get("ciphertext"))
            return None if found is None else Sealed(found[1], key.name, found[0])

        good = [item for item in items if is_version(item.value.version)]
        answers = iter(self._batch("rewrap", key, good, fields, read, patience))
        return [
            next(answers) if is_version(item.value.version) else InvalidCiphertextError()
            for item in items
        ]

    def _redo(
        self, items: Sequence[Decrypt], key: Key, patience: Patience
    ) -> list[Sealed | OperationError]:
        opened = self.open_many(key, items, patience) if items else []
        again = [
            Encrypt(plaintext, item.context)
            for plaintext, item in zip(opened, items, strict=True)
            if not isinstance(plaintext, OperationError)
        ]
        sealed = iter(self.seal_many(key, again, patience) if again else [])
        return [x if isinstance(x, OperationError) else next(sealed) for x in opened]

    def _batch(  # noqa: PLR0917
        self,
        verb: str,
        key: Key,
        items: Sequence[Any],
        fields: Any,
        read: Any,
        patience: Patience,
    ) -> list[Any]:
        """Send a batch; items that can't be sent, and those that fail, become public errors."""
        mode = key.mode
        assert mode is not None  # noqa: S101 - `_prepared` found it out
        path = getattr(key, verb)
        refused: dict[int, OperationError] = {}
        bodies: list[dict[str, str]] = []
        for index, item in enumerate(items):
            if mode == "context" and item.context is NO_CONTEXT:
                refused[index] = InvalidContextError(_NEEDS_CONTEXT)
            else:
                bodies.append(fields(item, mode))
        answers = iter(self._batches[verb].send(path, bodies, read, patience))
        made = [refused.get(i) or next(answers) for i in range(len(items))]
        known: dict[str, OperationError] = {}
        return [
            self._item_error(result, path, verb, known)
            if isinstance(result, ServiceError)
            else result
            for result in made
        ]

    def _item_error(
        self, error: ServiceError, path: str, verb: str, known: dict[str, OperationError]
    ) -> OperationError:
        # One object for each kind of failure: an outage makes thousands of equal ones.
        if error.kind not in known:
            known[error.kind] = self._error(error, path, verb)
        return known[error.kind]

    def _prepared(
        self,
        key: Key,
        items: Sequence[Any],
        patience: Patience,
        path: str,
        verb: str,
        *,
        version: str = "1",
        sure: bool = False,
    ) -> list[Any] | None:
        """Find the key out before a batch; if that fails, give the error for each item."""
        if not items:
            return []
        try:
            self._keys.mode(key, patience, version)
            if sure:
                self._keys.make_sure(key, patience)
        except ServiceError as error:
            problem = self._error(error, path, verb)
        else:
            return None
        return [problem] * len(items)

    def _mode(self, key: Key, context: Context, patience: Patience, version: str = "1") -> Mode:
        mode = self._keys.mode(key, patience, version)
        if mode == "context" and context is NO_CONTEXT:
            raise InvalidContextError(_NEEDS_CONTEXT)
        return mode

    def _error(self, error: ServiceError, path: str, operation: str) -> OperationError:
        request = f"update on {path}"
        return operation_error(
            error, request=request, namespace=self._namespace, operation=operation
        )


_NEEDS_CONTEXT = "a derived Transit key has no values without a context"
