"""Answers of the API: what is in them, and which of them are failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from json import loads
from typing import Any, NoReturn

from keyhinge_vault._errors import ServiceError, classify

__all__ = ["Answer", "read_answer"]


class Answer:
    """What the server answered. Its body may hold tokens and plaintexts: it isn't shown or copied.

    Attributes:
        status: The HTTP status.
        body: The whole answer; empty where there was none.
        date: The header `Date`, for the server's clock.
    """

    __slots__ = ("body", "date", "status")

    def __init__(self, status: int, body: dict[str, Any], date: str) -> None:
        self.status = status
        self.body = body
        self.date = date

    @property
    def data(self) -> dict[str, Any]:
        """The answer's `data`; empty where there is none."""
        return _mapping(self.body.get("data"))

    @property
    def auth(self) -> dict[str, Any]:
        """The answer's `auth`, of a login or renewal; empty where there is none."""
        return _mapping(self.body.get("auth"))

    @property
    def warnings(self) -> list[str]:
        """The answer's warnings."""
        return _texts(self.body.get("warnings"))

    @property
    def errors(self) -> list[str]:
        """The answer's errors, where a status of 400 or more was accepted."""
        return _texts(self.body.get("errors"))

    @property
    def request_id(self) -> str:
        """The server's id of the request."""
        return _request_id(self.body)

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Answer may hold tokens and plaintexts and can't be pickled or copied"
        raise TypeError(msg)


def read_answer(
    status: int, content: bytes, headers: Mapping[str, str], accept: Collection[int]
) -> Answer | ServiceError:
    """Tell what an answer means.

    Args:
        status: The HTTP status; not that of a redirect.
        content: The body.
        headers: The headers, without regard to case.
        accept: Statuses of 400 and more that are answers, too.
    """
    body: Any = None
    with suppress(ValueError, RecursionError):
        body = loads(content) if content else {}
    genuine = isinstance(body, dict)
    if not genuine:
        body = {}
    if status < 300 or status in accept:
        if not genuine:
            return ServiceError("answer", status=status)
        return Answer(status, body, headers.get("Date", ""))
    if not genuine and status in {400, 401, 403, 404, 405}:
        kind = "answer"  # a web server, or a proxy before the real one
    else:
        kind = classify(status, _texts(body.get("errors")))
    wait = headers.get("Retry-After", "")
    return ServiceError(
        kind,
        status=status,
        request_id=_request_id(body),
        retry_after=float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 8 else None,
    )


def _mapping(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _texts(found: Any) -> list[str]:
    if not isinstance(found, list):
        return []
    return [text for text in found if isinstance(text, str)]


def _request_id(body: Mapping[str, Any]) -> str:
    found = body.get("request_id")
    plain = isinstance(found, str) and len(found) <= 64 and found.replace("-", "").isalnum()
    return found if plain and isinstance(found, str) else ""
