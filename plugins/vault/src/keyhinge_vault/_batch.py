"""Batches that are as large as the server takes, and answers that are looked at item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar

from keyhinge_vault._answer import Answer
from keyhinge_vault._errors import ServiceError, classify
from keyhinge_vault._probe import refuse_ignored
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._wire import has_ciphertext

__all__ = ["Batches"]

T = TypeVar("T")
Item = dict[str, str]

# OpenBao takes 1,000 strings in a request, names of fields included, if nothing else is configured.
# An item has three values: a text, its context and a reference; 498 of them pass (OpenBao 2.7).
_FIRST_STRINGS = 498
_MOST_STRINGS = 8192
_BYTES = 4 << 20
"""Both servers refuse bodies above 32 MiB by default. Far below that: where a body is much larger
than `max_request_size` the server hangs up instead of saying so, and more gains no time."""
# Failures of a whole request that may be due to what was in it. With any other, the rest of the
# batch would fail in the same way.
_OF_CHUNK = frozenset({"bad-request", "answer", "answer-size", "too-large", "ciphertext", "client"})


class _Limits(NamedTuple):
    """What a request may hold, as far as it is known.

    Attributes:
        strings: So many strings are sent.
        refused: So many were too many.
        bytes: So many bytes are sent.
    """

    strings: int = _FIRST_STRINGS
    refused: int = _MOST_STRINGS + 1
    bytes: int = _BYTES

    def doubled(self, passed: int) -> _Limits:
        """A server that takes so many may take more, if it didn't refuse that many before."""
        if passed + 3 > self.strings and self.strings * 2 < self.refused:
            return self._replace(strings=self.strings * 2)
        return self

    def halved(self, error: _TooLargeError | ServiceError, strings: int, size: int) -> _Limits:
        """Give what is tried after a request of this size was too large."""
        of_bytes = getattr(error, "of_bytes", True)
        limits = self
        if of_bytes is not False:
            limits = limits._replace(bytes=max(1, size // 2))
        if of_bytes is not True:
            refused = min(limits.refused, strings)
            limits = limits._replace(refused=refused, strings=max(1, strings // 2))
        return limits


class Batches:
    """Sends batches to one kind of path; remembers what the server takes.

    Args:
        session: Asks the server.
        partial: Whether the path knows `partial_failure_response_code`.
    """

    def __init__(self, session: Session, *, partial: bool = True) -> None:
        self._session = session
        self._partial = partial
        self._limits = _Limits()

    def send(
        self,
        path: str,
        items: Sequence[Item],
        read: Callable[[dict[str, Any]], T | None],
        patience: Patience,
    ) -> list[T | ServiceError]:
        """Send items, in as many requests as it takes.

        Args:
            path: Where to.
            items: What to send.
            read: Makes a result of one item's answer; None where it makes no sense.
            patience: The bound in time for all of them together.

        Returns:
            A result or an error for each item, in their order.
        """
        results: list[T | ServiceError] = []
        # The server repeats these: an answer to another request, or in another order, is found out.
        tag = token_hex(4)
        before: _Limits | None = None
        while len(results) < len(items):
            start = len(results)
            chunk, strings, size = self._chunk(items, start, tag)
            answer = self._ask(path, chunk, patience)
            if isinstance(answer, Answer):
                results += _results(answer, chunk, read, path)
                self._limits = self._limits.doubled(strings)
            elif answer.kind == "too-large" and len(chunk) > 1:
                before = before or self._limits
                self._limits = self._limits.halved(answer, strings, size)
            elif answer.kind in _OF_CHUNK:
                results += [answer] * len(chunk)
                if answer.kind == "too-large" and before is not None:
                    # It is this one item, in whatever company: nothing was learned of the others.
                    self._limits, before = before, None
            else:
                results += [answer] * (len(items) - start)
        return results

    def _chunk(self, items: Sequence[Item], start: int, tag: str) -> tuple[list[Item], int, int]:
        """Give the next items that go into a request, how many strings they have, and bytes."""
        chunk: list[Item] = []
        strings = size = 0
        limits = self._limits
        for number in range(start, len(items)):
            item = {**items[number], "reference": f"{tag}-{number}"}
            its_size = sum(map(len, item.values())) + 64
            too_many = strings + len(item) > limits.strings or size + its_size > limits.bytes
            if chunk and too_many:
                break
            chunk.append(item)
            strings += len(item)
            size += its_size
        return chunk, strings, size

    def _ask(self, path: str, chunk: list[Item], patience: Patience) -> Answer | ServiceError:
        count = len(chunk)
        body: dict[str, Any] = {"batch_input": chunk}
        if self._partial:
            # Without it the status alone says so if an item fails, and old servers do as well.
            body["partial_failure_response_code"] = 200
        try:
            answer = self._session.request("POST", path, json=body, patience=patience, accept={400})
            refuse_ignored(answer)
        except ServiceError as error:
            return error.copy()
        finally:
            del body, chunk
        if answer.status == 400 and not isinstance(answer.data.get("batch_results"), list):
            # Of several items each has its own error, if it is one of them that doesn't open.
            kind = _kind(answer.errors, opening=has_ciphertext(path) and count == 1)
            if kind == "too-large":
                return _TooLargeError(answer.errors)
            return ServiceError(kind, status=400, request_id=answer.request_id)
        return answer


class _TooLargeError(ServiceError):
    """A request had too much of something.

    Attributes:
        of_bytes: Whether that were bytes, and not strings; None where the server doesn't tell.
    """

    def __init__(self, messages: list[str]) -> None:
        super().__init__("too-large", status=400)
        text = " ".join(messages).lower()
        strings, memory = "number of strings" in text, "memory" in text or "body" in text
        self.of_bytes: bool | None = None if strings == memory else memory


def _results(
    answer: Answer, chunk: list[Item], read: Callable[[dict[str, Any]], T | None], path: str
) -> list[T | ServiceError]:
    """Look at a batch's answer: either it is one to this very request, or nothing of it counts."""
    found = answer.data.get("batch_results")
    if not isinstance(found, list) or len(found) != len(chunk):
        return [ServiceError("answer")] * len(chunk)
    if not all(isinstance(result, dict) for result in found):
        return [ServiceError("answer")] * len(chunk)
    if not any(result.get("reference") for result in found):
        # Vault before 1.13, which knows no associated data either.
        return [ServiceError("unsupported")] * len(chunk)
    if [result.get("reference") for result in found] != [item["reference"] for item in chunk]:
        return [ServiceError("answer")] * len(chunk)
    opening = has_ciphertext(path)
    return [_result(result, read, opening=opening) for result in found]


def _result(
    result: dict[str, Any], read: Callable[[dict[str, Any]], T | None], *, opening: bool
) -> T | ServiceError:
    if result.get("error"):
        return ServiceError(_kind([result["error"]], opening=opening), status=400)
    made = read(result)
    return ServiceError("answer") if made is None else made


def _kind(messages: list[Any], *, opening: bool) -> str:
    """Name what a refusal means; only where values are opened one of them can be the cause."""
    kind = classify(400, messages)
    return "bad-request" if kind == "ciphertext" and not opening else kind
