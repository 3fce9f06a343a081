"""Batches that are as large as the server takes, and answers that are looked at item by item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from keyhinge_vault._errors import ServiceError, classify
from keyhinge_vault._keys import refuse_ignored
from keyhinge_vault._retry import Patience
from keyhinge_vault._session import Session

__all__ = ["Batches"]

T = TypeVar("T")
Item = dict[str, str]

# OpenBao takes about 500 strings in a request if nothing else is configured; an item that binds a
# context has two. Found with OpenBao 2.7: 249 such items pass, 250 don't.
_FIRST = 249
_LARGEST = 4096
_BODY_BYTES = 24 << 20
"""Both servers refuse bodies above 32 MiB by default (`max_request_size`)."""


class Batches:
    """Sends batches; remembers what the server takes.

    Args:
        session: Asks the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._size = _FIRST
        self._refused = _LARGEST + 1

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
        while len(results) < len(items):
            chunk = self._chunk(items, len(results))
            try:
                results += self._send(path, chunk, read, patience)
            except ServiceError as error:
                if error.kind == "too-large" and len(chunk) > 1:
                    self._refused = min(self._refused, len(chunk))
                    self._size = max(1, len(chunk) // 2)
                    continue
                # The patience is one for all: after an outage used it up, the rest fails at once.
                results += [error.copy() for _ in chunk]
            else:
                if len(chunk) == self._size and self._size * 2 < self._refused:
                    self._size *= 2
        return results

    def _chunk(self, items: Sequence[Item], start: int) -> Sequence[Item]:
        size = 0
        for count, item in enumerate(items[start : start + self._size]):
            size += sum(map(len, item.values())) + 64
            if size > _BODY_BYTES and count:
                return items[start : start + count]
        return items[start : start + self._size]

    def _send(
        self,
        path: str,
        chunk: Sequence[Item],
        read: Callable[[dict[str, Any]], T | None],
        patience: Patience,
    ) -> list[T | ServiceError]:
        # 200 where items fail: without it the status alone says so, and old servers do as well.
        body = {"batch_input": list(chunk), "partial_failure_response_code": 200}
        try:
            answer = self._session.request("POST", path, json=body, patience=patience, accept={400})
            refuse_ignored(answer)
            found = answer.data.get("batch_results")
            if answer.status == 400 and not isinstance(found, list):
                raise ServiceError(classify(400, answer.errors), status=400)
            if not isinstance(found, list) or len(found) != len(chunk):
                raise ServiceError("answer")
            return list(_results(found, read))
        finally:
            # The traceback of an error keeps this frame.
            del body, chunk


def _results(
    found: list[Any], read: Callable[[dict[str, Any]], T | None]
) -> Iterator[T | ServiceError]:
    for result in found:
        if not isinstance(result, dict):
            yield ServiceError("answer")
        elif result.get("error"):
            yield ServiceError(classify(400, [result["error"]]), status=400)
        else:
            made = read(result)
            yield ServiceError("answer") if made is None else made
