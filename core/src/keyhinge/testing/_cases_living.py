"""Cases about threads, forks and closing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from keyhinge import ClosedError, EncryptedValue, KeyManager
from keyhinge.testing._base import Bench
from keyhinge.testing._case import bounded, checks, described, expect, refused
from keyhinge.testing._support import in_fork, in_threads, recorded

__all__ = ["LivingCases"]

THREADS = 32
ROUNDS = 3


class LivingCases(Bench):
    """A provider lives in a process with threads and children, and ends once."""

    @checks("R24")
    def test_many_threads(self, keys: KeyManager) -> None:
        """Threads that begin together get their own plaintexts back, each under its context."""
        context = self._context(keys)

        def work(number: int) -> None:
            plaintext = self._plaintext(keys)
            mine = plaintext[: max(0, len(plaintext) - 3)] + b"%03d" % number
            own = {**context, "thread": str(number)} if context else {}
            for _ in range(ROUNDS):
                opened = keys.decrypt(keys.encrypt(mine, context=own), context=own)
                expect(opened == mine, "a thread got another plaintext than its own")

        with _switching_often():
            raised = in_threads(THREADS, work)
        expect(
            not raised,
            f"{len(raised)} of {THREADS} threads failed: {described(raised[0]) if raised else ''}",
        )

    @checks("R25")
    def test_forked_child(self, keys: KeyManager, plaintext: bytes) -> None:
        """A forked child encrypts and decrypts, and its parent goes on."""
        self._only(hasattr(os, "fork"), "this system can't fork")
        context = self._context(keys)
        value = keys.encrypt(plaintext, context=context)

        def child() -> bytes:
            opened = keys.decrypt(value, context=context)
            if opened != plaintext:
                return b"raised nothing, but decrypted to something else"
            made = keys.encrypt(plaintext, context=context).to_bytes()
            keys.close()
            return made

        answer = in_fork(child, self.timeout / 2)
        if answer.startswith(b"raised "):
            msg = f"a forked child {answer.decode()}"
            raise AssertionError(msg)
        for each in (EncryptedValue.from_bytes(answer), value):
            expect(
                keys.decrypt(each, context=context) == plaintext,
                "a value comes back changed after a fork",
            )
        keys.encrypt(plaintext, context=context)

    @checks("R26")
    def test_close(self, keys: KeyManager, plaintext: bytes) -> None:
        """Closing twice is fine, and nothing works afterwards."""
        value = keys.encrypt(plaintext, context={})
        with recorded() as records:
            keys.close()
            keys.close()
        failed = [text for name, text in records if name == "keyhinge" and "close_failed" in text]
        expect(not failed, "closing it raised an error")
        refused(
            lambda: keys.encrypt(plaintext, context={}), ClosedError, "a closed section encrypts"
        )
        refused(lambda: keys.decrypt(value, context={}), ClosedError, "a closed section decrypts")

    @checks("R26")
    def test_provider_closes_twice(self, keys: KeyManager, plaintext: bytes) -> None:
        """The provider's own close can be called again, also before its first use."""
        close = self._hook(keys, "keyhinge_close")
        close()
        close()
        with keys.clone() as again:
            again.encrypt(plaintext, context={})
            close = self._hook(again, "keyhinge_close")
            close()
            close()

    @checks("R27")
    def test_hooks_come_back(self, keys: KeyManager, plaintext: bytes) -> None:
        """No hook blocks for ever; each has the case's time for itself."""
        context = self._context(keys)
        value = bounded(lambda: keys.encrypt(plaintext, context=context), self.timeout)
        bounded(lambda: keys.decrypt(value, context=context), self.timeout)
        bounded(keys.current_key, self.timeout)
        bounded(keys.check, self.timeout)
        bounded(keys.close, self.timeout)


@contextmanager
def _switching_often() -> Iterator[None]:
    # Threads that share what they shouldn't are found out only when they get into each other's way.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
