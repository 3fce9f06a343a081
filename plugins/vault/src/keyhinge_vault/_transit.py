"""Encrypting and decrypting one value through Transit."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from keyhinge import (
    NO_CONTEXT,
    Context,
    InvalidCiphertextError,
    InvalidContextError,
    KeyhingeError,
    Sealed,
)
from keyhinge_vault._answer import Answer
from keyhinge_vault._errors import ServiceError, operation_error
from keyhinge_vault._key import Key
from keyhinge_vault._keys import Keys
from keyhinge_vault._probe import refuse_ignored
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._wire import Mode, binding, decode, is_version, parse, text_of

__all__ = ["CHANGED", "NEEDS_CONTEXT", "Transit", "bare"]

CHANGED = frozenset({"needs-context", "key-changed"})
"""Failures that tell that a key isn't what it was found to be: it is found out anew, once."""
NEEDS_CONTEXT = "a derived Transit key has no values without a context"

T = TypeVar("T")


class Transit:
    """What a section does with its keys, one value at a time; raises public errors only.

    Args:
        session: Asks the server.
        keys: What is known of the keys.
    """

    def __init__(self, session: Session, keys: Keys) -> None:
        self._session = session
        self._keys = keys

    def seal(self, key: Key, plaintext: bytes, context: Context) -> Sealed:
        """Encrypt one value.

        Raises:
            OperationError: It can't be.
        """
        problem: KeyhingeError
        try:
            return self._seal(key, plaintext, context, self._session.patience())
        except ServiceError as error:
            problem = self._error(error, key.encrypt, "encrypt")
        except KeyhingeError as error:
            problem = error.with_traceback(None)
        finally:
            del plaintext
        try:
            raise problem
        finally:
            del problem

    def open(self, key: Key, version: str, ciphertext: bytes, context: Context) -> bytes:
        """Decrypt one value.

        Raises:
            OperationError: It can't be.
        """
        problem: KeyhingeError
        try:
            return self._open(key, version, ciphertext, context, self._session.patience())
        except ServiceError as error:
            problem = self._error(error, key.decrypt, "decrypt")
        except KeyhingeError as error:
            problem = error.with_traceback(None)
        try:
            raise problem
        finally:
            del problem

    def _seal(self, key: Key, plaintext: bytes, context: Context, patience: Patience) -> Sealed:
        text = b64encode(plaintext).decode("ascii")
        for last in (False, True):
            attempt = partial(self._seal_once, key, text, context, patience)
            try:
                answer = patience.call(attempt)
            except ServiceError as error:
                if last or error.kind not in CHANGED:
                    raise self._keys.failed(key, error, patience, sealing=True) from None
                key.forget()
                continue
            refuse_ignored(answer)
            found = parse(answer.data.get("ciphertext"))
            if found is None:
                break
            # Lower than before: the key was made anew, and may not bind contexts any more. All
            # of it is found out again, and after that the version is what it is.
            if key.saw(found[0]) or last:
                return Sealed(found[1], key.name, found[0])
        raise ServiceError("answer")

    def _seal_once(
        self, key: Key, text: str, context: Context, patience: Patience, seconds: float | None
    ) -> Answer:
        # Inside of what is tried again: after an outage the key may be gone, and would be made.
        mode = self._mode(key, context, patience, sealing=True)
        return self._session.request(
            "POST",
            key.encrypt,
            json={"plaintext": text, **binding(mode, context)},
            patience=patience,
            again=False,
            timeout=seconds,
        )

    def _open(
        self, key: Key, version: str, ciphertext: bytes, context: Context, patience: Patience
    ) -> bytes:
        if not is_version(version):
            raise InvalidCiphertextError
        text = text_of(version, ciphertext)
        for last in (False, True):
            mode = self._mode(key, context, patience, version=version)
            body = {"ciphertext": text, **binding(mode, context)}
            try:
                answer = self._session.request("POST", key.decrypt, json=body, patience=patience)
            except ServiceError as error:
                if last or error.kind not in CHANGED:
                    raise self._keys.failed(key, error, patience) from None
                key.forget()
                continue
            refuse_ignored(answer)
            plaintext = decode(answer.data.get("plaintext"))
            if plaintext is not None:
                return plaintext
            break
        raise ServiceError("answer")

    def _mode(
        self,
        key: Key,
        context: Context,
        patience: Patience,
        *,
        sealing: bool = False,
        version: str = "1",
    ) -> Mode:
        mode = self._keys.mode(key, patience, sealing=sealing, version=version)
        if mode == "context" and context is NO_CONTEXT:
            raise InvalidContextError(NEEDS_CONTEXT)
        return mode

    def _error(self, error: ServiceError, path: str, operation: str) -> KeyhingeError:
        namespace = self._session.connection.server.namespace
        request = f"update on {path}"
        return operation_error(error, request=request, namespace=namespace, operation=operation)


def bare(work: Callable[[], T]) -> T:
    """Do something; what it raises keeps none of its frames, which hold plaintexts."""
    problem: KeyhingeError
    try:
        return work()
    except KeyhingeError as error:
        problem = error.with_traceback(None)
    finally:
        del work
    try:
        raise problem
    finally:
        del problem
