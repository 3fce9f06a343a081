"""What is known of each Transit key, found out before it is first used.

Three things must be known: that the key is there (encrypting could make it), how it binds a
context, and that it really does. The last one is tried: a value sealed under one context must not
open under another. What one key was found to be is never believed of another.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from keyhinge_vault._answer import Answer
from keyhinge_vault._errors import ServiceError, classify
from keyhinge_vault._names import api_path
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._single import SingleFlight
from keyhinge_vault._wire import Mode, decode, parse, text_of

__all__ = ["Key", "Keys"]

# A derived key that is deleted and made anew without `derived` ignores every context, and says
# nothing. So what was proven of a derived key is believed for so long, and no longer.
PROVEN_SECONDS = 300.0
# Where the token may make keys, a deleted one would come back with the next encryption: before
# one it is looked for, but not more often than this.
EXISTS_SECONDS = 5.0

_PROBE = b64encode(b"keyhinge probe").decode("ascii")
_CONTEXTS = tuple(
    b64encode(b"khctx1\x01\x08keyhinge\x00\x07probe/" + which).decode("ascii")
    for which in (b"1", b"2")
)
_BODY = bytes(60)
_TYPES = frozenset({"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"})
"""Types that authenticate associated data.

Source: Vault's and OpenBao's documentation of the Transit API, "Create key".
"""
_LATEST_TRIED = 1 << 20


class Key:
    """One key: its paths, and what was found out about it.

    Attributes:
        name: Its name.
        mode: How it binds a context; None until that is known.
        highest: The highest version that was seen.
        may_create: Whether encrypting could make it; None where nobody could tell.
    """

    def __init__(self, name: str, mount: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.mode: Mode | None = None
        self.highest = 0
        self.may_create: bool | None = None
        self.encrypt = api_path(mount, "encrypt", name)
        self.decrypt = api_path(mount, "decrypt", name)
        self.rewrap = api_path(mount, "rewrap", name)
        self.read = api_path(mount, "keys", name)
        self._clock = clock
        self._proven_until = 0.0
        self._exists_until = 0.0
        self.single: SingleFlight[Mode] = SingleFlight(clock)

    def known(self) -> Mode | None:
        """Give its mode, as long as what was found out may be believed."""
        if self.mode == "context" and self._clock() >= self._proven_until:
            return None
        return self.mode

    def learned(self, mode: Mode) -> None:
        """Note that it was found out just now."""
        self._proven_until = self._clock() + PROVEN_SECONDS
        self.mode = mode
        self.exists()

    def forget(self) -> None:
        """Believe nothing of it any more."""
        self.mode = None
        self.highest = 0

    def exists(self) -> None:
        """Note that it was there just now."""
        self._exists_until = self._clock() + EXISTS_SECONDS

    @property
    def may_be_gone(self) -> bool:
        """Whether encrypting could make it, and it wasn't seen lately."""
        return self.may_create is not False and self._clock() >= self._exists_until


class Keys:
    """The keys of one section.

    Args:
        session: Asks the server.
        names: The names that the configuration gives.
        mount: Where Transit is mounted.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        session: Session,
        names: tuple[str, ...],
        mount: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._keys = {name: Key(name, mount, clock) for name in names}
        self._lock = threading.Lock()

    def get(self, name: str) -> Key | None:
        """Give a configured key; None for any other name."""
        return self._keys.get(name)

    def mode(self, key: Key, patience: Patience, version: str = "1") -> Mode:
        """Give how a key binds a context, finding it out if need be.

        Args:
            key: The key.
            patience: The caller's bound in time.
            version: A version that it may have: that of the value to open.

        Raises:
            ServiceError: It can't be used, or the server can't be asked.
        """
        known = key.known()
        if known is not None:
            return known
        return key.single.run(key.known, lambda: self._find_out(key, patience, int(version)))

    def make_sure(self, key: Key, patience: Patience) -> None:
        """See to it that encrypting doesn't make the key.

        Raises:
            ServiceError: It isn't there, or the server can't be asked.
        """
        if key.may_create is None:
            key.may_create = self._may_create(key, patience)
        if key.may_be_gone:
            self._look(key, patience, max(1, key.highest))
            key.exists()

    def saw(self, key: Key, version: str) -> bool:
        """Note a version that encrypting gave; False if the key was made anew meanwhile."""
        number = int(version)
        if number < key.highest:
            key.forget()
            return False
        key.highest = number
        return True

    # Finding out

    def _find_out(self, key: Key, patience: Patience, version: int) -> Mode:
        mode = self._look(key, patience, version)
        key.exists()
        self._prove(key, mode, patience)
        key.learned(mode)
        return mode

    def _look(self, key: Key, patience: Patience, version: int) -> Mode:
        """Find the key's mode; by reading it, or where that isn't allowed by a bogus value."""
        try:
            data = self._session.request("GET", key.read, patience=patience).data
        except ServiceError as error:
            if error.kind == "missing":
                raise ServiceError("no-key", status=error.status) from None
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            return self._look_blindly(key, patience, version)
        if data.get("convergent_encryption") is True:
            raise ServiceError("convergent")
        if data.get("type") not in _TYPES:
            raise ServiceError("key-type")
        latest = data.get("latest_version")
        if isinstance(latest, int) and latest < key.highest:
            key.forget()
        return "context" if data.get("derived") is True else "associated_data"

    def _look_blindly(self, key: Key, patience: Patience, version: int) -> Mode:
        """Ask for a bogus value to be opened: the refusal tells, and nothing is ever made."""
        low, high = 1, _LATEST_TRIED
        while low <= high:
            version = min(max(version, low), high)
            kind = self._bogus(key, patience, version)
            if kind == "needs-context":
                return "context"
            if kind == "ciphertext":
                return "associated_data"
            if kind == "too-old":
                low, version = version + 1, version * 2
            else:
                high, version = version - 1, (low + version) // 2
        raise ServiceError("no-version")

    def _bogus(self, key: Key, patience: Patience, version: int) -> str:
        body = {"ciphertext": text_of(str(version), _BODY)}
        try:
            self._session.request("POST", key.decrypt, json=body, patience=patience)
        except ServiceError as error:
            if error.kind in {"needs-context", "ciphertext", "too-old", "no-version"}:
                return error.kind
            raise error.with_traceback(None) from None
        raise ServiceError("answer")  # nobody can open that

    def _prove(self, key: Key, mode: Mode, patience: Patience) -> None:
        """Try whether a value opens under another context than its own."""
        one, other = _CONTEXTS
        plain = [{"plaintext": _PROBE, mode: one}] * 2
        made = self._tried(key.encrypt, plain, patience)
        if made is None:
            return  # it only reads, and couldn't seal anything under a key that ignores contexts
        texts = [item.get("ciphertext") for item in made]
        if not all(parse(text) for text in texts):
            raise ServiceError("answer")
        if texts[0] == texts[1]:
            raise ServiceError("convergent")
        items = [{"ciphertext": texts[0], mode: context} for context in (one, other)]
        opened = self._tried(key.decrypt, items, patience)
        if opened is None:
            return  # it only writes: what it writes is found out by whoever reads
        if decode(opened[0].get("plaintext")) != decode(_PROBE):
            raise ServiceError("answer")
        if classify(400, [opened[1].get("error")]) != "ciphertext" or opened[1].get("plaintext"):
            raise ServiceError("context-ignored")

    def _tried(
        self, path: str, items: list[dict[str, Any]], patience: Patience
    ) -> list[dict[str, Any]] | None:
        """Send a small batch; give its results, or None where the policy forbids it."""
        body = {"batch_input": items, "partial_failure_response_code": 200}
        try:
            answer = self._session.request("POST", path, json=body, patience=patience, accept={400})
        except ServiceError as error:
            if error.kind == "denied":
                return None
            raise error.with_traceback(None) from None
        refuse_ignored(answer)
        results = answer.data.get("batch_results")
        if not isinstance(results, list) or len(results) != len(items):
            if answer.status == 400:
                raise ServiceError(classify(400, answer.errors), status=400)
            raise ServiceError("answer")
        if not all(isinstance(result, dict) for result in results):
            raise ServiceError("answer")
        return results

    def _may_create(self, key: Key, patience: Patience) -> bool:
        """Ask whether the token could make the key by encrypting."""
        body = {"paths": [key.encrypt]}
        path = api_path("sys", "capabilities-self")
        try:
            data = self._session.request("POST", path, json=body, patience=patience).data
        except ServiceError as error:
            if error.kind != "denied":
                raise error.with_traceback(None) from None
            return True
        found = data.get(key.encrypt, data.get("capabilities"))
        return not isinstance(found, list) or not {"create", "root", "sudo"}.isdisjoint(found)


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
