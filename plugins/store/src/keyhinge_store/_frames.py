"""Keeping secrets out of tracebacks.

Tools that collect errors record the local variables of every frame that a traceback refers to,
and in those of the store stand the caller's secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from keyhinge import KeyhingeError

__all__ = ["aframeless", "frameless"]

P = ParamSpec("P")
T = TypeVar("T")


def frameless(method: Callable[P, T]) -> Callable[P, T]:
    """Let our errors leave a method without the frames that they were raised in."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except KeyhingeError as error:
            failure = error.with_traceback(None)
        try:
            raise failure
        finally:
            del failure, args, kwargs  # the traceback refers to this frame

    return call


def aframeless(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Do what `frameless` does, for a coroutine."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except KeyhingeError as error:
            failure = error.with_traceback(None)
        try:
            raise failure
        finally:
            del failure, args, kwargs

    return call
