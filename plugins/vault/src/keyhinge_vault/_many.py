"""Encrypting, decrypting and rewrapping many values of one key through Transit."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keyhinge import (
    NO_CONTEXT,
    Decrypt,
    Encrypt,
    InvalidCiphertextError,
    InvalidContextError,
    OperationError,
    Sealed,
)
from keyhinge_vault._batch import Batches
from keyhinge_vault._errors import ServiceError, operation_error
from keyhinge_vault._key import Key
from keyhinge_vault._keys import Keys
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._transit import CHANGED, NEEDS_CONTEXT
from keyhinge_vault._wire import Mode, binding, decode, is_version, parse, text_of

__all__ = ["Many"]


class _Work(NamedTuple):
    """A kind of batch: its verb, what an item sends, and what its answer is made into."""

    verb: str
    text: Callable[[Any], dict[str, str]]
    read: Callable[[Key, dict[str, Any]], Any]


def _plaintext(item: Encrypt) -> dict[str, str]:
    return {"plaintext": b64encode(item.plaintext).decode("ascii")}


def _ciphertext(item: Decrypt) -> dict[str, str]:
    return {"ciphertext": text_of(item.value.version, item.value.ciphertext)}


def _sealed(key: Key, result: dict[str, Any]) -> Sealed | None:
    found = parse(result.get("ciphertext"))
    return None if found is None else Sealed(found[1], key.name, found[0])


def _opened(_key: Key, result: dict[str, Any]) -> bytes | None:
    return decode(result.get("plaintext"))


_ENCRYPT = _Work("encrypt", _plaintext, _sealed)
_DECRYPT = _Work("decrypt", _ciphertext, _opened)
_REWRAP = _Work("rewrap", _ciphertext, _sealed)


class Many:
    """What a section does with its keys, many values at a time.

    Each method gives a result or a public error for each item, in their order. The caller's
    `patience` is the bound in time for all of them together.

    Args:
        session: Asks the server.
        keys: What is known of the keys.
    """

    def __init__(self, session: Session, keys: Keys) -> None:
        self._session = session
        self._keys = keys
        self._batches = {
            "encrypt": Batches(session),
            "decrypt": Batches(session),
            "rewrap": Batches(session, partial=False),
        }

    def seal(
        self, key: Key, items: Sequence[Encrypt], patience: Patience
    ) -> list[Sealed | OperationError]:
        """Encrypt."""
        return self._run(_ENCRYPT, key, items, patience)

    def open(
        self, key: Key, items: Sequence[Decrypt], patience: Patience
    ) -> list[bytes | OperationError]:
        """Decrypt one key's values."""
        return self._run(_DECRYPT, key, items, patience)

    def rewrap(
        self, key: Key, items: Sequence[Decrypt], patience: Patience, *, to: Key
    ) -> list[Sealed | OperationError]:
        """Bring one key's values to the newest version of `to`; on the server where it can."""
        try:
            mode = self._keys.mode(key, patience, version=_version(items))
        except ServiceError as error:
            failure = error.copy()
            return [self._error(failure, key, "rewrap") for _ in items]
        # Transit's rewrap takes no associated data, and knows only one key.
        inside = [key is to and (mode == "context" or item.context is NO_CONTEXT) for item in items]
        there = [item for item, stays in zip(items, inside, strict=True) if stays]
        here = [item for item, stays in zip(items, inside, strict=True) if not stays]
        of_there = iter(self._run(_REWRAP, key, there, patience))
        of_here = iter(self._redo(key, here, patience, to))
        return [next(of_there if stays else of_here) for stays in inside]

    def _redo(
        self, key: Key, items: Sequence[Decrypt], patience: Patience, to: Key
    ) -> list[Sealed | OperationError]:
        """Decrypt and encrypt."""
        opened = self.open(key, items, patience)
        again = [
            Encrypt(plaintext, item.context)
            for plaintext, item in zip(opened, items, strict=True)
            if not isinstance(plaintext, OperationError)
        ]
        sealed = iter(self.seal(to, again, patience))
        return [x if isinstance(x, OperationError) else next(sealed) for x in opened]

    def _run(self, work: _Work, key: Key, items: Sequence[Any], patience: Patience) -> list[Any]:
        results: list[Any] = [None] * len(items)
        todo: Sequence[int] = range(len(items))
        for last in (False, True):
            if not todo:
                break
            answers = self._once(work, key, [items[index] for index in todo], patience)
            for index, answer in zip(todo, answers, strict=True):
                results[index] = answer
            todo = [] if last else self._changed(work, key, results)
        return [
            self._error(result, key, work.verb) if isinstance(result, ServiceError) else result
            for result in results
        ]

    def _once(self, work: _Work, key: Key, items: Sequence[Any], patience: Patience) -> list[Any]:
        """Send a batch in the mode that is believed; items that can't be sent fail at once."""
        try:
            mode = self._keys.mode(key, patience, sealing=work is _ENCRYPT, version=_version(items))
        except ServiceError as error:
            return [error.copy()] * len(items)
        bodies = [_body(work, item, mode) for item in items]
        good = [body for body in bodies if isinstance(body, dict)]

        def look() -> None:
            # Before each request that encrypts: a key that is deleted under way would be made anew
            # by the next one. It costs nothing while what is known of the key is fresh.
            if work is _ENCRYPT and self._keys.mode(key, patience, sealing=True) != mode:
                raise ServiceError("key-changed")

        path = getattr(key, work.verb)
        answers = self._batches[work.verb].send(
            path, good, lambda result: work.read(key, result), patience, look
        )
        if answers and isinstance(answers[-1], ServiceError):
            # Only the last one: where a request failed as a whole, the rest did as well.
            failure = self._keys.failed(key, answers[-1], patience, sealing=work is _ENCRYPT)
            if failure.kind != answers[-1].kind:
                denied = answers[-1].kind
                answers = [failure if _is(answer, denied) else answer for answer in answers]
        these = iter(answers)
        return [next(these) if isinstance(body, dict) else body for body in bodies]

    def _changed(self, work: _Work, key: Key, results: list[Any]) -> list[int]:
        """Give what has to be done again, since the key isn't what it was found to be."""
        again = [
            index
            for index, result in enumerate(results)
            if isinstance(result, ServiceError) and result.kind in CHANGED
        ]
        if again:
            key.forget()
        if work is _ENCRYPT:
            sealed = [(i, x) for i, x in enumerate(results) if isinstance(x, Sealed)]
            # Each is noted, in their order; one that is lower than before means a key made anew.
            # Where the key changed under way, the ones before were sealed by one that is gone.
            if again or not all([key.saw(result.version) for _, result in sealed]):  # noqa: C419
                again += [index for index, _ in sealed]
        return sorted(again)

    def _error(self, error: ServiceError, key: Key, verb: str) -> OperationError:
        namespace = self._session.connection.server.namespace
        request = f"update on {getattr(key, verb)}"
        return operation_error(error, request=request, namespace=namespace, operation=verb)


def _is(answer: object, kind: str) -> bool:
    return isinstance(answer, ServiceError) and answer.kind == kind


def _body(work: _Work, item: Encrypt | Decrypt, mode: Mode) -> dict[str, str] | OperationError:
    if isinstance(item, Decrypt) and not is_version(item.value.version):
        return InvalidCiphertextError()
    if mode == "context" and item.context is NO_CONTEXT:
        return InvalidContextError(NEEDS_CONTEXT)
    try:
        return {**work.text(item), **binding(mode, item.context)}
    except InvalidContextError as error:
        return error.with_traceback(None)


def _version(items: Sequence[Any]) -> str:
    """Give a version that the key may have: the first that a value names."""
    for item in items:
        if isinstance(item, Decrypt) and is_version(item.value.version):
            return item.value.version
    return "1"
