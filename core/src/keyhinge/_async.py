"""KeyManager, with the forms of its operations for callers in an event loop.

What needs no I/O runs at once in the loop; the rest runs in a small pool of threads, with the
caller's context variables. asyncio is imported only here and only when it is used.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from keyhinge._context import Context, check_context
from keyhinge._errors import ClosedError
from keyhinge._hookspecs import CheckReport, Decrypt, Encrypt, KeyRef, Purpose
from keyhinge._manager import CLOSED, BlockingKeyManager
from keyhinge._outcome import Outcome
from keyhinge._value import EncryptedValue

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["KeyManager"]

T = TypeVar("T")

POOL_THREADS = 16
"""How many calls to key services may be in flight for one KeyManager's async callers."""


class Pool:
    """A pool of threads that is made at its first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call in a thread, with the caller's context variables."""
        import asyncio

        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._get(), partial(context.run, call))
        finally:
            del call  # the traceback of an error refers to this frame

    def close(self) -> None:
        """Let the threads end when they are idle; calls in flight finish."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def _get(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._closed:
                raise ClosedError(CLOSED)
            if self._executor is None:
                self._executor = ThreadPoolExecutor(POOL_THREADS, "keyhinge")
            return self._executor


class KeyManager(BlockingKeyManager):
    """Encrypts with the primary section; decrypts with whichever section made the value.

    Safe to use from many threads, and in a forked child: there every section is configured anew
    at its first use. Make one with `KeyManager.open`, and close it or use it in `with`.

    The methods that begin with `a` are the others' async forms. With observers each of them runs
    in the pool: an audit log may have to wait for its disk.
    """

    _pool: Pool

    def _start(self) -> None:
        super()._start()
        self._pool = Pool()

    def close(self) -> None:
        """Close every section. Any later use is a ClosedError; closing again does nothing."""
        super().close()
        self._pool.close()

    async def __aenter__(self) -> KeyManager:  # noqa: PYI034 - Self isn't in Python 3.10
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aencrypt(
        self, plaintext: bytes, *, context: Context, section: str | None = None
    ) -> EncryptedValue:
        """Encrypt as `encrypt` does, without blocking the event loop."""
        try:
            if self._observers is None:
                opened = self._section(section)
                if not opened.capabilities.blocking:
                    return opened.seal(plaintext, check_context(context))
                ready = opened.seal_nowait(plaintext, check_context(context))
                if ready is not None:
                    return ready
            return await self._pool.run(
                partial(self.encrypt, plaintext, context=context, section=section)
            )
        finally:
            del plaintext  # the traceback of an error refers to this frame

    async def adecrypt(self, value: EncryptedValue, *, context: Context) -> bytes:
        """Decrypt as `decrypt` does, without blocking the event loop."""
        if self._observers is None and type(value) is EncryptedValue:
            opened = self._section_of(value)
            if not opened.capabilities.blocking:
                return opened.open(value, check_context(context))
            ready = opened.open_nowait(value, check_context(context))
            if ready is not None:
                return ready
        return await self._pool.run(partial(self.decrypt, value, context=context))

    async def arewrap(self, value: EncryptedValue, *, context: Context) -> EncryptedValue:
        """Rewrap as `rewrap` does, without blocking the event loop."""
        return await self._pool.run(partial(self.rewrap, value, context=context))

    async def aencrypt_many(
        self, items: Sequence[Encrypt], *, section: str | None = None
    ) -> list[Outcome[EncryptedValue]]:
        """Encrypt a batch as `encrypt_many` does, without blocking the event loop."""
        return await self._pool.run(partial(self.encrypt_many, items, section=section))

    async def adecrypt_many(self, items: Sequence[Decrypt]) -> list[Outcome[bytes]]:
        """Decrypt a batch as `decrypt_many` does, without blocking the event loop."""
        return await self._pool.run(partial(self.decrypt_many, items))

    async def arewrap_many(self, items: Sequence[Decrypt]) -> list[Outcome[EncryptedValue]]:
        """Rewrap a batch as `rewrap_many` does, without blocking the event loop."""
        return await self._pool.run(partial(self.rewrap_many, items))

    async def acurrent_key(self, section: str | None = None) -> KeyRef:
        """Tell the current key as `current_key` does, without blocking the event loop."""
        return await self._pool.run(partial(self.current_key, section))

    async def acheck(self, section: str | None = None, *, purpose: Purpose = "app") -> CheckReport:
        """Check a section as `check` does, without blocking the event loop."""
        return await self._pool.run(partial(self.check, section, purpose=purpose))

    async def aclose(self) -> None:
        """Close as `close` does, without blocking the event loop."""
        # Not in the pool that it ends.
        pool = Pool()
        try:
            await pool.run(self.close)
        finally:
            pool.close()
