"""Observers: audit, metrics and tracing around each public call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import attrs

from keyhinge._context import Context
from keyhinge._contract import PluginManager, check_observer
from keyhinge._discovery import import_object
from keyhinge._errors import ConfigError, OperationError, Problem
from keyhinge._hookspecs import Decrypt, Encrypt, KeyRef, Operation, Result, hookimpl
from keyhinge._outcome import unwrap
from keyhinge._section import OpenSection
from keyhinge._value import EncryptedValue

__all__ = ["Observers", "Seen", "load_observers"]

log = logging.getLogger("keyhinge")

A = TypeVar("A")
# Observers see an Operation and a Result. The call itself, with plaintexts, goes past them.
_running: ContextVar[Callable[[], Result]] = ContextVar("keyhinge_running")


@attrs.frozen
class Seen:
    """A call that observers are to see, before it is cut down to what they may see.

    Attributes:
        name: The operation.
        section: The section's name, or None where there are several.
        opened: The section, where there is one and it can be used.
        items: What goes in.
    """

    name: str
    section: str | None
    opened: OpenSection | None
    items: Sequence[Encrypt | Decrypt] = attrs.field(repr=False)

    def counters(self) -> Mapping[str, int]:
        """Give what the section has counted. What is wrong with that isn't the caller's affair."""
        if self.opened is None:
            return {}
        try:
            return self.opened.counters()
        except OperationError as failure:
            log.error(  # noqa: TRY400 - a traceback might show secrets
                "section %s: its counters can't be told: %s",
                self.section,
                failure,
                extra={"event": "keyhinge.counters_failed", "section": self.section},
            )
            return {}

    def operation(self) -> Operation:
        """Make what the observers get: contexts and sizes, no values."""
        contexts = tuple(_shown(item.context) for item in self.items)
        return Operation(self.name, self.section, contexts, tuple(map(_size, self.items)))

    def keys(self) -> list[KeyRef | None]:
        """List the keys that the values to open name."""
        return [_key(item.value) if isinstance(item, Decrypt) else None for item in self.items]


class _Innermost:
    """The implementation that the observers wrap: it makes the call."""

    @hookimpl
    def keyhinge_operation(self, operation: Operation) -> Result:
        return _running.get()()


class Observers:
    """The observers of one KeyManager, in the order in which they were given.

    An observer's own exception is the application's own: it goes to the caller as it is, and the
    call's result is lost. An audit log that can't be written ends the call.
    """

    def __init__(self, observers: Iterable[object]) -> None:
        self._manager = PluginManager()
        self._manager.register(_Innermost())
        # pluggy calls the last registered wrapper first.
        for observer in reversed(list(observers)):
            problem = check_observer(observer)
            if problem:
                msg = f"observer {type(observer).__name__} can't be used: {problem}"
                raise ConfigError(msg)
            self._manager.register(observer)

    def one(self, seen: Seen, call: Callable[[], A]) -> A:
        """Make a call for one item with every observer around it."""
        try:
            return unwrap(self.around(seen, partial(_as_batch, call))[0])
        finally:
            del seen, call  # the traceback of an error refers to this frame

    def around(self, seen: Seen, call: Callable[[], Sequence[A]]) -> list[A | OperationError]:
        """Make a call with every observer around it.

        Args:
            seen: What the call is about.
            call: The call itself; gives an answer for each item.

        Returns:
            What the call gave; if it raised an `OperationError`, that for each item.
        """
        answers: list[A | OperationError] = []

        def run() -> Result:
            started = time.perf_counter()
            try:
                answers.extend(call())
            except OperationError as error:
                answers.extend([error.with_traceback(None)] * len(seen.items))
            duration = time.perf_counter() - started
            errors = tuple(x if isinstance(x, OperationError) else None for x in answers)
            keys = tuple(_key(x) or named for x, named in zip(answers, seen.keys(), strict=True))
            return Result(keys, errors, duration, seen.counters())

        token = _running.set(run)
        try:
            self._manager.hook.keyhinge_operation(operation=seen.operation())
        finally:
            _running.reset(token)
        if len(answers) != len(seen.items):
            msg = "an observer ended without making the call; it must yield once"
            raise RuntimeError(msg)
        return answers


def load_observers(paths: Iterable[str]) -> list[object]:
    """Import the observers that a configuration names.

    Raises:
        ConfigError: One of them can't be imported.
    """
    found, problems = [], []
    for path in paths:
        try:
            found.append(import_object(path))
        except Exception as failure:  # noqa: BLE001 - whatever a module does on import
            message = f"{path!r} can't be imported: {type(failure).__name__}"
            if isinstance(failure, ModuleNotFoundError):
                message += ". Install it beside keyhinge, or name its folder in PYTHONPATH"
            problems.append(Problem("keyManagement.observers", message))
    if problems:
        raise ConfigError(problems)
    return found


def _key(answer: object) -> KeyRef | None:
    return KeyRef(answer.key_id, answer.version) if isinstance(answer, EncryptedValue) else None


def _as_batch(call: Callable[[], A]) -> list[A]:
    return [call()]


def _size(item: Encrypt | Decrypt) -> int:
    data: object = item.plaintext if isinstance(item, Encrypt) else item.value.ciphertext
    return len(data) if isinstance(data, bytes) else 0  # the call will refuse what isn't bytes


def _shown(context: object) -> Context:
    # A copy, that an observer can't change; the call will refuse what isn't a mapping.
    return MappingProxyType(dict(context) if isinstance(context, Mapping) else {})
