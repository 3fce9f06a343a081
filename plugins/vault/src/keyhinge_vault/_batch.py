"""Batches that are as large as the server takes, and answers that are looked at item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from secrets import token_hex
from typing import Any, TypeVar

from keyhinge_vault._answer import Answer
from keyhinge_vault._errors import ServiceError, classify
from keyhinge_vault._limits import Limits, TooLargeError
from keyhinge_vault._probe import refuse_ignored
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session
from keyhinge_vault._wire import has_ciphertext

__all__ = ["Batches"]

T = TypeVar("T")
Item = dict[str, str]

# Failures of a whole request that may be due to what was in it. With any other, the rest of the
# batch would fail in the same way.
_OF_CHUNK = frozenset({"bad-request", "answer", "answer-size", "too-large", "ciphertext", "client"})


class Batches:
    """Sends batches to one kind of path; remembers what the server takes.

    Args:
        session: Asks the server.
        partial: Whether the path knows `partial_failure_response_code`.
    """

    def __init__(self, session: Session, *, partial: bool = True) -> None:
        self._session = session
        self._partial = partial
        self._limits = Limits()

    def send(
        self,
        path: str,
        items: Sequence[Item],
        read: Callable[[dict[str, Any]], T | None],
        patience: Patience,
        before: Callable[[], None] = lambda: None,
    ) -> list[T | ServiceError]:
        """Send items, in as many requests as it takes.

        Args:
            path: Where to.
            items: What to send.
            read: Makes a result of one item's answer; None where it makes no sense.
            patience: The bound in time for all of them together.
            before: Called before each attempt to send a request; what it raises, the attempt
                failed with.

        Returns:
            A result or an error for each item, in their order.
        """
        results: list[T | ServiceError] = []
        # The server repeats these: an answer to another request, or in another order, is found out.
        tag = token_hex(4)
        earlier: Limits | None = None
        while len(results) < len(items):
            start = len(results)
            chunk, strings, size = self._chunk(items, start, tag)
            answer = self._ask(path, chunk, patience, before)
            if isinstance(answer, Answer):
                results += _results(answer, chunk, read, path)
                self._limits = self._limits.doubled(strings)
            elif answer.kind == "too-large" and len(chunk) > 1:
                earlier = earlier or self._limits
                self._limits = self._limits.halved(answer, strings, size)
            elif answer.kind in _OF_CHUNK:
                results += [answer] * len(chunk)
                if answer.kind == "too-large" and earlier is not None:
                    # It is this one item, in whatever company: nothing was learned of the others.
                    self._limits, earlier = earlier, None
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

    def _ask(
        self, path: str, chunk: list[Item], patience: Patience, before: Callable[[], None]
    ) -> Answer | ServiceError:
        count = len(chunk)
        body: dict[str, Any] = {"batch_input": chunk}
        if self._partial:
            # Without it the status alone says so if an item fails, and old servers do as well.
            body["partial_failure_response_code"] = 200
        attempt = partial(self._attempt, path, body, patience, before)
        try:
            answer = patience.call(attempt)
            refuse_ignored(answer)
        except ServiceError as error:
            return error.copy()
        finally:
            del body, chunk, attempt
        if answer.status == 400 and not isinstance(answer.data.get("batch_results"), list):
            # Of several items each has its own error, if it is one of them that doesn't open.
            kind = _kind(answer.errors, opening=has_ciphertext(path) and count == 1)
            if kind == "too-large":
                return TooLargeError(answer.errors)
            return ServiceError(kind, status=400, request_id=answer.request_id)
        return answer

    def _attempt(
        self,
        path: str,
        body: dict[str, Any],
        patience: Patience,
        before: Callable[[], None],
        seconds: float | None,
    ) -> Answer:
        try:
            before()
            return self._session.request(
                "POST",
                path,
                json=body,
                patience=patience,
                accept={400},
                again=False,
                timeout=seconds,
            )
        finally:
            del body


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
