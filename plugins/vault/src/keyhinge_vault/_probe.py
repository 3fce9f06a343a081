"""Finding out about a Transit key by asking the server, and by trying."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from keyhinge_vault._answer import Answer
from keyhinge_vault._errors import ServiceError, classify
from keyhinge_vault._names import api_path
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._wire import Mode, decode, parse, text_of

__all__ = ["AEAD_TYPES", "Probe", "refuse_ignored"]

AEAD_TYPES = frozenset({"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"})
"""Types that authenticate associated data.

Source: Vault's and OpenBao's documentation of the Transit API, "Create key".
"""
_TEXT = b64encode(b"keyhinge probe").decode("ascii")
# Two contexts of the library's own kind: no caller's value opens under them.
_CONTEXTS = tuple(
    b64encode(b"khctx1\x01\x08keyhinge\x00\x07probe/" + which).decode("ascii")
    for which in (b"1", b"2")
)
_BODY = bytes(60)
_HIGHEST_TRIED = 1 << 20
_CAPABILITIES = api_path("sys", "capabilities-self")


class Named(Protocol):
    """What a probe needs of a key: its paths, and what is known of the right to make it."""

    @property
    def encrypt(self) -> str:
        """Where to encrypt."""

    @property
    def decrypt(self) -> str:
        """Where to decrypt."""

    @property
    def read(self) -> str:
        """Where to read the key."""

    @property
    def may_create(self) -> bool | None:
        """Whether encrypting could make it."""


class Probe:
    """Asks about one key, within one call's bound in time.

    Args:
        session: Asks the server.
        patience: The bound.
        key: The key.
    """

    def __init__(self, session: Session, patience: Patience, key: Named) -> None:
        self._session = session
        self._patience = patience
        self._key = key

    def look(self, version: int) -> Mode:
        """Find the mode; by reading the key, or where that isn't allowed by a bogus value.

        Args:
            version: A version that the key may have.

        Raises:
            ServiceError: There is no such key, it is of no use, or the server can't be asked.
        """
        try:
            data = self._ask("GET", self._key.read, right="read").data
        except ServiceError as error:
            if error.kind != "denied":
                # Reading has an answer of its own for what the other requests call "no-key".
                raise error.copy("no-key" if error.kind == "missing" else "") from None
        else:
            if data.get("convergent_encryption") is True:
                raise ServiceError("convergent")
            found = data.get("type")
            if not isinstance(found, str) or found not in AEAD_TYPES:
                raise ServiceError("key-type" if data else "answer")
            return "context" if data.get("derived") is True else "associated_data"
        return self._look_blindly(version)

    def prove(self, mode: Mode) -> None:
        """Try whether a value opens under another context than its own.

        Where the token may only encrypt, or only decrypt, that can't be tried: what it reads
        wasn't sealed by it, and what it writes is tried by whoever reads it.

        Raises:
            ServiceError: It does, or equal values look alike, or the server can't be asked.
        """
        one, other = _CONTEXTS
        made = self._try(self._key.encrypt, [{"plaintext": _TEXT, mode: one}] * 2)
        if made is None:
            return
        texts = [item.get("ciphertext") for item in made]
        if not all(parse(text) for text in texts):
            raise ServiceError("answer")
        if texts[0] == texts[1]:
            raise ServiceError("convergent")
        items = [{"ciphertext": texts[0], mode: context} for context in (one, other)]
        opened = self._try(self._key.decrypt, items, failing=1)
        if opened is None:
            return
        if decode(opened[0].get("plaintext")) != decode(_TEXT):
            raise ServiceError("answer")
        if opened[1].get("plaintext") or not opened[1].get("error"):
            raise ServiceError("context-ignored")
        kind = classify(400, [opened[1]["error"]])
        if kind != "ciphertext":
            raise ServiceError(kind, status=400)

    def may_create(self) -> bool:
        """Ask whether the token could make the key by encrypting; True where nobody tells."""
        path = self._key.encrypt
        try:
            data = self._ask("POST", _CAPABILITIES, {"paths": [path]}).data
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            return True
        found = data.get(path, data.get("capabilities"))
        if not isinstance(found, list) or not all(isinstance(right, str) for right in found):
            return True
        return not {"create", "root", "sudo"}.isdisjoint(found)

    # Where the key may not be read

    def _look_blindly(self, version: int) -> Mode:
        """Ask for a bogus value to be opened: the refusal tells, and nothing is ever made."""
        low, high = 1, _HIGHEST_TRIED
        while low <= high:
            version = min(max(version, low), high)
            kind = self._bogus(version)
            if kind == "needs-context":
                return "context"
            if kind == "ciphertext":
                return "associated_data"
            if kind == "too-old":
                low, version = version + 1, version * 2
            else:
                high, version = version - 1, (low + version) // 2
        raise ServiceError("no-version")

    def _bogus(self, version: int) -> str:
        body = {"ciphertext": text_of(str(version), _BODY)}
        try:
            self._ask("POST", self._key.decrypt, body)
        except ServiceError as error:
            if error.kind in {"needs-context", "ciphertext", "too-old", "no-version"}:
                return error.kind
            if error.kind != "denied" or self._key.may_create is not False:
                raise error.with_traceback(None) from None
        else:
            raise ServiceError("answer")  # nobody can open that
        return self._sealed_blindly()

    def _sealed_blindly(self) -> str:
        """Tell the mode where the token may only encrypt, and can't make the key by that."""
        body = {"plaintext": _TEXT, "associated_data": _CONTEXTS[0]}
        try:
            refuse_ignored(self._ask("POST", self._key.encrypt, body))
        except ServiceError as error:
            if error.kind != "needs-context":
                raise error.with_traceback(None) from None
            return error.kind
        return "ciphertext"

    # Asking

    def _try(
        self, path: str, items: list[dict[str, Any]], *, failing: int | None = None
    ) -> list[dict[str, Any]] | None:
        """Send a small batch; give its results, or None where the policy forbids it."""
        body = {"batch_input": items, "partial_failure_response_code": 200}
        try:
            answer = self._ask("POST", path, body, accept={400})
        except ServiceError as error:
            if error.kind == "denied":
                return None
            raise error.with_traceback(None) from None
        refuse_ignored(answer)
        results = answer.data.get("batch_results")
        if not isinstance(results, list) and answer.status == 400:
            raise _failed(answer.errors, path)
        if not isinstance(results, list) or len(results) != len(items):
            raise ServiceError("answer")
        for index, result in enumerate(results):
            if not isinstance(result, dict):
                raise ServiceError("answer")
            if result.get("error") and index != failing:
                raise _failed([result["error"]], path)
        return results

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        right: str = "update",
        accept: Collection[int] = (),
    ) -> Answer:
        """Send a request; an error names it, since it isn't the one that the caller wanted."""
        try:
            return self._session.request(
                method, path, json=body, patience=self._patience, accept=accept
            )
        except ServiceError as error:
            error.request = error.request or f"{right} on {path}"
            raise error.with_traceback(None) from None


def _failed(messages: list[Any], path: str) -> ServiceError:
    """Say what a refused probe means. Its values are our own, so no caller's is to blame."""
    kind = classify(400, messages)
    error = ServiceError("probe" if kind == "ciphertext" else kind, status=400)
    error.request = f"update on {path}"
    return error


def refuse_ignored(answer: Answer) -> None:
    """Refuse an answer that says that the server ignored a part of the request.

    Raises:
        ServiceError: It did.
    """
    for warning in answer.warnings:
        # `partial_failure_response_code` is newer than some servers, and does no harm there.
        text = warning.replace("partial_failure_response_code", "").lower()
        if "ignored" in text and ("context" in text or "associated_data" in text):
            raise ServiceError("context-ignored")
